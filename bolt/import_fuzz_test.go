package bolt_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// smallArchive is what a store writes down in which a little of everything has
// happened.
func smallArchive(dir string) (lines []string, err error) {
	path, clock := filepath.Join(dir, "small.db"), storetest.NewClock()
	s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock})
	if err != nil {
		return nil, err
	}
	ctx, id, signer := context.Background(), delivery.DeviceID{User: "alice", Name: "phone"}, mlstest.NewSigner(1, "alice")
	var items []delivery.NewKeyPackage
	for i := range 6 {
		var options []mlstest.Option
		if i == 5 {
			options = append(options, mlstest.LastResort())
		}
		kp, _ := mls.ParseKeyPackage(signer.KeyPackage(options...))
		items = append(items, delivery.Publication(kp))
	}
	_, err = s.Publish(ctx, delivery.Unauthenticated(), id, items)
	post := func(hold bool, size int, refs ...mls.KeyPackageRef) {
		w, _ := mls.ParseWelcome(mlstest.WelcomeSize(size, 1, refs...))
		_, postErr := s.Post(ctx, delivery.Caller{User: "bob"}, delivery.Posting{Welcome: w, Hold: hold, RatchetTree: []byte("a tree")})
		err = errors.Join(err, postErr)
	}
	post(false, 100, items[0].Ref, items[5].Ref)
	_, claimErr := s.Claim(ctx, delivery.Unauthenticated(), id, delivery.ClaimOptions{Max: 1})
	post(true, 5000, items[1].Ref, items[5].Ref, items[0].Ref)
	post(false, 100, items[2].Ref)
	withdrawErr := s.Withdraw(ctx, delivery.Unauthenticated(), id, items[2].Ref)
	_, reserveErr := s.Reserve(ctx, delivery.Caller{User: "bob"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}, IdempotencyKey: "x"})
	_, tokenErr := s.AddToken(ctx, delivery.Token{ID: "one", Owner: delivery.TokenOwner{User: "alice"}, Expires: clock.Now().Add(time.Hour)})
	removeErr := s.RemoveDevice(ctx, delivery.Unauthenticated(), delivery.DeviceID{User: "alice", Name: "tablet"})
	if err := errors.Join(err, claimErr, withdrawErr, reserveErr, tokenErr, removeErr, s.Close()); err != nil {
		return nil, err
	}
	var text strings.Builder
	w := archive.NewWriter(&text, "a test", time.Unix(0, 0))
	err = (&bolt.File{Path: path, Final: true}).Export(ctx, w.Write)
	_, closeErr := w.Close()
	lines = strings.SplitAfter(text.String(), "\n")
	return lines[:len(lines)-2], errors.Join(err, closeErr)
}

// resummed puts an end behind lines that fits them.
func resummed(lines []string) string {
	types := []string{"device", "key_package", "welcome", "data", "recipient", "token", "reservation"}
	var counts []string
	for _, name := range types {
		n := 0
		for _, line := range lines {
			if strings.HasPrefix(line, `{"type":"`+name+`"`) {
				n++
			}
		}
		counts = append(counts, fmt.Sprintf(`"%s":%d`, name, n))
	}
	text := strings.Join(lines, "")
	return text + fmt.Sprintf(`{"type":"end","counts":{%s},"sha256":"%x"}`+"\n", strings.Join(counts, ","), sha256.Sum256([]byte(text)))
}

// edited gives a field of a line another value, or takes it away; ok is false if
// that is no JSON.
func edited(line string, field uint8, value string) (_ string, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(line), &fields) != nil {
		return "", false
	}
	name := fields["type"]
	delete(fields, "type")
	names := slices.Sorted(maps.Keys(fields))
	if chosen := names[int(field)%len(names)]; value == "" {
		delete(fields, chosen)
	} else {
		fields[chosen] = json.RawMessage(value)
	}
	rest, err := json.Marshal(fields)
	if err != nil || len(rest) < 3 {
		return "", false
	}
	return `{"type":` + string(name) + "," + string(rest[1:]) + "\n", true
}

// TestAnImportNamesTheWelcomeThatIsAnother changes each byte string of the first Welcome,
// which waits, and of which all is there. The error names the line at which it is known.
func TestAnImportNamesTheWelcomeThatIsAnother(t *testing.T) {
	lines, err := smallArchive(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	first := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, `{"type":"welcome"`) })
	for n := first; n < first+5; n++ {
		line := lines[n]
		for field, old := range fieldsOf(line) {
			if !slices.Contains([]string{"welcome id", "data bytes", "recipient secret", "welcome ratchet_tree_sha256"}, field) {
				continue
			}
			tried++
			changed := strings.Replace(line, old, other(old), 1)
			text := resummed(slices.Concat(lines[:n], []string{changed}, lines[n+1:]))
			err := imported(filepath.Join(t.TempDir(), "welcomed.db"), text)
			if !errors.Is(err, archive.ErrBroken) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("%s of %.80s: %v", field, line, err)
			}
		}
	}
	if tried != 6 {
		t.Errorf("tried %d changes", tried)
	}
}

// fieldsOf returns the texts of a line, each by the line's type and its name.
func fieldsOf(line string) map[string]string {
	var all map[string]any
	texts := map[string]string{}
	if json.Unmarshal([]byte(line), &all) == nil {
		for name, value := range all {
			if text, ok := value.(string); ok {
				texts[fmt.Sprint(all["type"], " ", name)] = text
			}
		}
	}
	return texts
}

// other changes the first character of a text, in base64 and in hexadecimal.
func other(text string) string {
	if text[0] == 'a' {
		return "b" + text[1:]
	}
	return "a" + text[1:]
}

// FuzzImport edits a field of an archive and makes the sum fit. What comes of it is
// a sentence, or a store that is sound: it opens, answers and lets years pass.
func FuzzImport(f *testing.F) {
	lines, err := smallArchive(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	for n := range lines {
		f.Add(uint8(n), uint8(n), "")
		f.Add(uint8(n), uint8(n+3), `"withdrawn"`)
		f.Add(uint8(n), uint8(n+5), `"2040-01-01T00:00:00Z"`)
		for field := range uint8(strings.Count(lines[n], `":`)) {
			f.Add(uint8(n), field, `"`+strings.Repeat("6f", 32)+`"`)
		}
	}
	for _, value := range []string{`0`, `1`, `-1`, `18446744073709551615`, `"0"`, `true`, `null`, `[]`, `"available"`, `"pending"`, `"0001-01-01T00:00:00Z"`, `"9999-12-31T23:59:59Z"`} {
		f.Add(uint8(2), uint8(4), value)
	}
	f.Fuzz(func(t *testing.T, n, field uint8, value string) {
		at := int(n) % len(lines)
		line, ok := edited(lines[at], field, value)
		if !ok {
			return
		}
		text := resummed(slices.Concat(lines[:at], []string{line}, lines[at+1:]))
		path := filepath.Join(t.TempDir(), "welcomed.db")
		if err := imported(path, text); err != nil {
			if !errors.Is(err, archive.ErrBroken) {
				t.Fatalf("%s: %v", line, err)
			}
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
				t.Fatalf("there is %v", left)
			}
			return
		}
		useAll(t, path, line)
	})
}

func useAll(t *testing.T, path, line string) {
	clock := storetest.NewClock()
	s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock, TrustClock: true})
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	defer s.Close()
	ctx, nobody := t.Context(), delivery.Unauthenticated()
	for range 5 {
		for _, user := range []delivery.UserID{"alice", "bob"} {
			id := delivery.DeviceID{User: user, Name: "phone"}
			_, claimErr := s.Claim(ctx, nobody, id, delivery.ClaimOptions{Max: 2})
			_, devicesErr := s.Devices(ctx, nobody, user)
			_, invErr := s.Inventory(ctx, nobody, id)
			_, listErr := s.List(ctx, nobody, user, delivery.ListOptions{})
			_, reserveErr := s.Reserve(ctx, nobody, delivery.ReserveRequest{Users: []delivery.UserID{user}})
			_, statsErr := s.Stats(ctx)
			_, sweepErr := s.Sweep(ctx)
			if err := errors.Join(claimErr, devicesErr, invErr, listErr, reserveErr, statsErr, sweepErr); err != nil && !errors.Is(err, delivery.ErrClock) {
				t.Fatalf("%s: %v", line, err)
			}
		}
		clock.Advance(40 * 24 * time.Hour)
	}
	if err := errors.Join(s.RemoveUser(ctx, nobody, "alice"), s.Close(), bolt.Check(ctx, path)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

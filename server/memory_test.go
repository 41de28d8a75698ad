package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// allocated is how many bytes f has allocated.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// full are KeyPackages that are full of one thing.
func full() map[string][]byte {
	var extensions, both, certificates []mlstest.Option
	var chain [][]byte
	for i := range 255 {
		of := mls.ExtensionType(0xe000 + i)
		extensions = append(extensions, mlstest.WithExtension(of, nil))
		both = append(both, mlstest.WithExtension(of, nil), mlstest.WithLeafExtension(of, nil))
	}
	for range 64 {
		chain = append(chain, nil)
	}
	certificates = append(certificates, mlstest.WithCertificates(chain...))
	lists := mlstest.WithCapabilities(func(c *mls.Capabilities) { c.Extensions = make([]mls.ExtensionType, 28<<10) })
	of := func(o ...mlstest.Option) []byte { return mlstest.NewSigner(1, "alice").KeyPackage(o...) }
	return map[string][]byte{
		"ordinary":               of(),
		"extensions":             of(extensions...),
		"extensions of the leaf": of(both...),
		"certificates":           of(certificates...),
		"capabilities":           of(lists),
		"credential":             mlstest.NewSigner(1, strings.Repeat("a", 60<<10)).KeyPackage(),
		"zeros":                  make([]byte, 4<<10),
		"half of one":            of()[:200],
	}
}

// TestReadingAPublicationIsOnTheBill: what comes of a body of KeyPackages, whatever
// they are full of, is not more than what was waited for.
func TestReadingAPublicationIsOnTheBill(t *testing.T) {
	s := New(Options{Limits: delivery.DefaultLimits()})
	for name, kp := range full() {
		items := slices.Repeat([]blob{kp}, max(1, min(100, (4<<20)/len(kp))))
		var read []*mls.KeyPackage
		took := allocated(func() {
			for i, item := range items {
				kp, _ := s.readItem(alicesPhone, i, item)
				read = append(read, kp)
			}
		})
		if billed := publishMemory(items); took > billed {
			t.Errorf("%s: %d of %d bytes took %d, billed are %d", name, len(items), len(kp), took, billed)
		}
		runtime.KeepAlive(read)
	}
}

// TestReadingAListIsOnTheBill is the same of lists in JSON.
func TestReadingAListIsOnTheBill(t *testing.T) {
	ref, long := fmt.Sprintf("%064x", 1), fmt.Sprintf("%0128x", 1)
	for name, text := range map[string]string{
		"refs":         `{"refs":["` + strings.Repeat(ref+`","`, 40_000) + ref + `"]}`,
		"longest refs": `{"refs":["` + strings.Repeat(long+`","`, 40_000) + long + `"]}`,
		"nothing":      `{"refs":["` + strings.Repeat(`","`, mostElements-1) + `"]}`,
		"too many":     `{"refs":["` + strings.Repeat(`","`, 10*mostElements) + `"]}`,
		"escaped":      `{"refs":["` + strings.Repeat(`\u0061`, 1_000_000) + `"]}`,
		"devices":      `{"devices":[{"user":"a","device":"b"}` + strings.Repeat(`,{"user":"a","device":"b"}`, 10_000) + `]}`,
		"no devices":   `{"devices":[{}` + strings.Repeat(`,{}`, 100_000) + `]}`,
	} {
		var body struct {
			Refs    []string     `json:"refs"`
			Devices []deviceJSON `json:"devices"`
		}
		billed := parsedMemory([]byte(text))
		took := allocated(func() {
			_ = parseJSON([]byte(text), &body)
			_, _ = parseRefs(body.Refs)
		}) - len(text) // the copy
		if took > billed {
			t.Errorf("%s: %d bytes took %d, billed are %d", name, len(text), took, billed)
		}
	}
}

// TestABodyOfObjectsIsReadWhereItIs: base64 takes nothing besides the body.
func TestABodyOfObjectsIsReadWhereItIs(t *testing.T) {
	object := bytes.Repeat([]byte("welcomed"), 1<<17)
	text := base64.StdEncoding.EncodeToString(object)
	for name, body := range map[string]string{
		"as it is": `{"welcome":"` + text + `","ratchet_tree":"` + text + `"}`,
		"escaped":  `{"welcome":"` + strings.ReplaceAll(text, "d", `\u0064`) + `","ratchet_tree":"` + text + `"}`,
	} {
		var v struct {
			Welcome *blob `json:"welcome"`
			Tree    *blob `json:"ratchet_tree"`
		}
		b := []byte(body)
		var err error
		if took := allocated(func() { err = parseJSON(b, &v) }); err != nil || took > 16<<10 {
			t.Errorf("%s: it took %d bytes, %v", name, took, err)
		}
		if !bytes.Equal(*v.Welcome, object) || !bytes.Equal(*v.Tree, object) {
			t.Errorf("%s: it is not what was sent", name)
		}
	}
}

// TestAWelcomeOfTooManyIsNotRead: 120,000 recipients of 35 bytes would take 16 MB.
func TestAWelcomeOfTooManyIsNotRead(t *testing.T) {
	secret := append(append([]byte{32}, make([]byte, 32)...), 0, 0)
	secrets := bytes.Repeat(secret, 100_000)
	w := []byte{0, 1, byte(0x80 | len(secrets)>>24), byte(len(secrets) >> 16), byte(len(secrets) >> 8), byte(len(secrets))}
	w = append(append(w, secrets...), 0)
	if n := mls.CountRecipients(w); n != 100_000 {
		t.Errorf("counted %d", n)
	}
	if n := mls.CountRecipients(mls.Wrap(mls.WireFormatWelcome, w)); n != 100_000 {
		t.Errorf("counted %d in an MLSMessage", n)
	}
	if took := allocated(func() { mls.CountRecipients(w) }); took > 1<<10 {
		t.Errorf("counting took %d bytes", took)
	}
}

// TestAnswersAreWrittenAsPackageJSONWouldWriteThem: whatever the sizes of their
// objects, with and without a head.
func TestAnswersAreWrittenAsPackageJSONWouldWriteThem(t *testing.T) {
	type plain struct {
		ID     string   `json:"id"`
		Bytes  [][]byte `json:"bytes"`
		Behind string   `json:"behind"`
	}
	for _, f := range []framing{framingBare, framingMessage} {
		for size := range 10 {
			for _, n := range []int{size, 3000 + size, 4096*3 + size} {
				object := mlstest.Random(max(1, n))
				want := plain{"\"<id>", [][]byte{append(f.head(mls.WireFormatWelcome), object...), object}, "é"}
				o := new(objects)
				v := map[string]any{"id": want.ID, "bytes": []any{o.framed(f, mls.WireFormatWelcome, object), o.add(object)}, "behind": want.Behind}
				var text, out bytes.Buffer
				if err := encode(&text, v); err != nil {
					t.Fatal(err)
				}
				o.write(&out, text.Bytes())
				length := text.Len() - len(o.list)*len(placeJSON)
				for _, e := range o.list {
					length += e.length()
				}
				var got plain
				if err := json.Unmarshal(out.Bytes(), &got); err != nil || length != out.Len() {
					t.Fatalf("%d bytes, %s: %v; %d bytes are announced, %d written", n, f, err, length, out.Len())
				}
				if got.ID != want.ID || got.Behind != want.Behind || !slices.EqualFunc(got.Bytes, want.Bytes, bytes.Equal) {
					t.Fatalf("%d bytes, %s: they are others", n, f)
				}
			}
		}
	}
}

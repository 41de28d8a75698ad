package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var noon = time.Date(2030, time.March, 4, 12, 0, 0, 123456789, time.UTC)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// records are one of each type and kind, as a store would emit them.
func records() []Record {
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage())
	if err != nil {
		panic(err)
	}
	item := delivery.Publication(kp)
	init := sha256.Sum256(item.InitKey)
	published := KeyPackage{
		User: "alice", Device: "phone", Ref: Ref(item.Ref), Suite: 1, State: KeyPackageState(delivery.Matched),
		NotBefore: item.Lifetime.NotBefore, NotAfter: item.Lifetime.NotAfter, PublishedAt: noon, ShelfUntil: noon.Add(time.Hour),
		MatchableUntil: noon.Add(2 * time.Hour), ReservedBy: "bob", ReservedAt: noon, Open: 1, InitKey: Start(init[:8]), Bytes: item.Bytes,
	}
	tombstone := KeyPackage{
		User: "alice", Device: "phone", Ref: Ref(strings.Repeat("\x01", 32)), Suite: 2, State: KeyPackageState(delivery.Withdrawn),
		BeforeRestore: true, NotAfter: 1<<64 - 1, PublishedAt: noon, EndedAt: noon, ClosedAt: noon, InitKey: Start{1},
	}
	tree := []byte("a tree")
	id := Hash{1, 2, 3}
	return []Record{
		&Header{SeenAt: noon, DatedAt: noon, Shelves: Retire, RestoredAt: noon, RestoreEpoch: "AN EPOCH", Order: 20},
		&Device{User: "alice", Device: "phone", SeenAt: noon, ClaimOrder: 19, LastResortsOnlySince: noon},
		&published,
		&tombstone,
		&Device{User: "alice", Device: "tablet", SeenAt: noon, Removed: true, RemovedAt: noon},
		&Welcome{ID: id, PostedBy: "bob", Suite: 1, Recipients: 2, Hold: true, PostedAt: noon, ReleasedAt: noon, Context: []byte{0xff},
			GroupInfo: 4, Tree: len(tree), TreeHash: sha256.Sum256(tree)},
		&Data{Welcome: id, Of: GroupInfo, Bytes: []byte("in")},
		&Data{Welcome: id, Of: GroupInfo, Bytes: []byte("fo")},
		&Data{Welcome: id, Of: Tree, Bytes: tree},
		&Recipient{Welcome: id, Index: 0, Ref: published.Ref, Status: delivery.StatusPending, Matched: true, User: "alice", Device: "phone",
			Secret: []byte{0, 1}, Last: true, Size: 100, Order: 20, ReleasedAt: noon, Until: noon.Add(time.Hour)},
		&Recipient{Welcome: id, Index: 1, Ref: "any", Status: delivery.StatusTaken, By: Hash{9}},
		&Token{ID: "abc", Hash: Hash{4}, Service: "app", ReadOnly: true, CreatedBy: "app", CreatedAt: noon, ExpiresAt: noon},
		&Reservation{Key: Key{5}, Request: Hash{6}, ExpiresAt: noon, Suite: 1, Users: []ReservedUser{
			{User: "alice", Status: delivery.UserSuccess, Devices: []ReservedDevice{{Device: "phone", Status: delivery.DeviceReserved, Ref: published.Ref}}},
		}},
	}
}

func write(t testing.TB, records []Record) string {
	t.Helper()
	var text bytes.Buffer
	w := NewWriter(&text, "a test", noon)
	for _, r := range records {
		must(t, w.Write(r))
	}
	_, err := w.Close()
	must(t, err)
	return text.String()
}

// read returns the records, and the error that ended them.
func read(text string) (records []Record, err error) {
	for line, err := range NewReader(strings.NewReader(text)).Lines() {
		if err != nil {
			return records, err
		}
		records = append(records, line.Record)
	}
	return records, nil
}

// summed puts an end behind lines that fits them.
func summed(lines []string) string {
	r := NewReader(strings.NewReader(strings.Join(lines, "")))
	for range r.Lines() {
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "")))
	last, err := encode(&end{Counts: r.Counts(), SHA256: sum})
	if err != nil {
		panic(err)
	}
	return strings.Join(lines, "") + string(last)
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	want := records()
	text := write(t, want)
	got, err := read(text)
	must(t, err)
	h := *want[0].(*Header)
	h.Format, h.Version, h.WrittenAt, h.WrittenBy = formatName, formatVersion, noon, "a test"
	want[0] = &h
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if again := write(t, got); again != text {
		t.Errorf("written again it is\n%s, not\n%s", again, text)
	}
	must(t, want[2].(*KeyPackage).Verify())
}

func TestWhatIsCutOffIsRefused(t *testing.T) {
	text := write(t, records())
	for n := range len(text) {
		if _, err := read(text[:n]); !errors.Is(err, ErrBroken) {
			t.Fatalf("the first %d bytes of %d: %v", n, len(text), err)
		}
	}
}

func TestEveryOtherByteIsRefused(t *testing.T) {
	text := write(t, records())
	for n := range len(text) {
		other := []byte(text)
		other[n] ^= 1
		if _, err := read(string(other)); !errors.Is(err, ErrBroken) {
			t.Fatalf("byte %d of %d is another: %v", n, len(text), err)
		}
	}
}

func TestEveryLineIsMissedAndHasItsPlace(t *testing.T) {
	lines := slices.Collect(strings.Lines(write(t, records())))
	for i := range lines {
		without := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
		if _, err := read(without); !errors.Is(err, ErrBroken) {
			t.Errorf("without line %d: %v", i+1, err)
		}
		twice := strings.Join(slices.Insert(slices.Clone(lines), i, lines[i]), "")
		if _, err := read(twice); !errors.Is(err, ErrBroken) {
			t.Errorf("line %d twice: %v", i+1, err)
		}
		if i == 0 {
			continue
		}
		swapped := slices.Clone(lines)
		swapped[i-1], swapped[i] = swapped[i], swapped[i-1]
		if _, err := read(strings.Join(swapped, "")); !errors.Is(err, ErrBroken) {
			t.Errorf("lines %d and %d the other way round: %v", i, i+1, err)
		}
	}
}

// given is a KeyPackage that was given back, up to the reason.
const given = `"given_back":65536,"given_back_by":"bob","given_back_at":"2030-03-04T12:00:00Z","given_back_reason":`

// A KeyPackage that was given back as of no use is never on the shelf again.
func TestWhatIsOfNoUseIsNotOnTheShelf(t *testing.T) {
	for _, reason := range delivery.GiveBackReasons {
		k := *records()[2].(*KeyPackage)
		k.State, k.Open, k.ReservedBy, k.ReservedAt = KeyPackageState(delivery.Available), 0, "", time.Time{}
		k.GivenBack, k.GivenBackAt, k.GivenBackReason = 1<<16, noon, reason
		if err := k.check(); (err == nil) != (reason == delivery.GivenBackUnused) {
			t.Errorf("%s: %v", reason, err)
		}
	}
}

// Somebody who edits an archive can also make the sum fit. What cannot be is found
// in its line all the same.
func TestWhatCannotBeIsRefusedInItsLine(t *testing.T) {
	for name, c := range map[string]struct {
		line      int
		old, new  string
		wantWords string
	}{
		"another format":                       {1, `"format":"welcomed-archive"`, `"format":"tar"`, "it is no archive of welcomed"},
		"a later version":                      {1, `"version":2`, `"version":3`, "of version 3 and this welcomed knows 2"},
		"shelves that are lent":                {1, `"shelves":"retire"`, `"shelves":"lend"`, "keep or retire"},
		"a field that nobody knows":            {2, `"user"`, `"owner"`, `unknown field "owner"`},
		"a device without a name":              {2, `"phone"`, `""`, "bad identifier"},
		"an order that has not come":           {2, `"claim_order":19`, `"claim_order":21`, "above the header's, 20"},
		"upper-case hex":                       {4, `"ref":"0101`, `"ref":"0A01`, "no lower-case hex"},
		"a KeyPackage of another device":       {3, `"device":"phone"`, `"device":"tablet"`, "not behind its device"},
		"a ref that is too short":              {3, `"cipher_suite":1`, `"cipher_suite":7`, "not as long"},
		"a suite that nobody knows":            {3, `"cipher_suite":1`, `"cipher_suite":9`, "cipher suite is unknown"},
		"a state that nobody knows":            {3, `"state":"matched"`, `"state":"lent"`, `"lent" is no state`},
		"matched by nothing":                   {3, `"open":1`, `"open":0`, "has a Welcome"},
		"a last resort that is used up":        {3, `"state":`, `"last_resort":true,"state":`, "never matched"},
		"a tombstone that has not ended":       {4, `"state":"withdrawn"`, `"state":"available"`, "do not go together"},
		"a restore that has not come":          {1, `"order":20`, `"order":20,"restored_order":21`, "restored_order is above order"},
		"a replacement that has not come":      {2, `"claim_order":19`, `"claim_order":19,"replaced":[0,21]`, "above the header's, 20"},
		"a reservation that nobody made":       {4, `"before_restore":true`, `"before_restore":true,"reservation":65536`, "has reserved_at"},
		"a reservation that has not come":      {3, `"reserved_at"`, `"reservation":1376256,"reserved_at"`, "an order of 21 is above the header's, 20"},
		"an answer that has not come":          {13, `"key"`, `"reservation":1376256,"key"`, "an order of 21 is above the header's, 20"},
		"given back by no reservation":         {4, `"before_restore":true`, `"given_back_reason":"unused"`, "given_back is missing"},
		"given back at no time":                {4, `"before_restore":true`, `"given_back":65536,"given_back_reason":"unused"`, "given_back_at is missing"},
		"given back for a reason of its own":   {4, `"before_restore":true`, given + `"mood"`, `"mood" is no reason`},
		"given back by who has not come":       {4, `"before_restore":true`, strings.Replace(given, "65536", "1376256", 1) + `"unused"`, "an order of 21"},
		"a last resort that is given back":     {4, `"before_restore":true`, `"last_resort":true,` + given + `"unused"`, "a last resort is not given back"},
		"held by what has given it back":       {3, `"reserved_at"`, `"reservation":65536,` + given + `"unused","reserved_at"`, "it does not hold"},
		"given back, and whole":                {3, `"reserved_at"`, `"reservation":131072,` + given + `"unused","reserved_at"`, ""},
		"a number that is none":                {3, `"open":1`, `"open":"1"`, "json:"},
		"a time that is none":                  {3, `"published_at":"2030-03-04`, `"published_at":"2030-02-30`, "day out of range"},
		"a Welcome with another suite":         {6, `"cipher_suite":1`, `"cipher_suite":0`, "cipher suite is unknown"},
		"a Welcome that has fewer recipients":  {11, `"index":1`, `"index":2`, "recipient 2 of Welcome"},
		"data of another Welcome":              {7, `"welcome":"010203`, `"welcome":"010204`, "that is not behind it"},
		"data that is too long":                {8, `"Zm8="`, `"Zm9v"`, "longer than it says"},
		"another tree":                         {9, `"YSB0cmVl"`, `"YSB0cmVm"`, "ratchet_tree of Welcome"},
		"a tree before its group":              {7, `"encrypted_group_info"`, `"ratchet_tree"`, "before all of its"},
		"a recipient that waits for ever":      {10, `"until"`, `"ended_at"`, "until is missing"},
		"a recipient that waits for nothing":   {10, `"secret":"AAE=",`, ``, "its secret is missing"},
		"a state that no recipient has":        {10, `"status":"pending"`, `"status":"taken"`, "no state of a recipient"},
		"a mismatch with a state":              {11, `"status":"taken"`, `"status":"taken","size":1`, "has no state"},
		"a token of a service and of a user":   {12, `"service"`, `"user":"alice","service"`, "bad identifier"},
		"a reservation that is kept for ever":  {13, `"expires_at":"2030-03-04T12:00:00.123456789Z",`, ``, "expires_at is missing"},
		"something behind an object":           {13, "}\n", "} {}\n", "something behind the reservation"},
		"an object that does not end":          {13, "}\n", "\n", "reservation: "},
		"a type that nobody knows":             {13, `{"type":"reservation"`, `{"type":"loan"`, `no type "loan"`},
		"a line that does not say what it is":  {13, `{"type":"reservation",`, `{`, "does not begin with"},
		"a header in the middle":               {13, `{"type":"reservation"`, `{"type":"header"`, "unknown field"},
		"a token behind the reservations":      {13, "}\n", "}\n" + `{"type":"token","id":"a","sha256":"` + strings.Repeat("00", 32) + `"}` + "\n", "stands behind what it has to stand before"},
		"nothing":                              {11, `"index":1`, `"index":1`, ""},
		"base64 that is none":                  {9, `"YSB0cmVl"`, `"YSB0cm*l"`, "illegal base64"},
		"a Welcome that was put away too soon": {6, `"encrypted_group_info_size":4,`, ``, "longer than it says"},
	} {
		t.Run(name, func(t *testing.T) {
			lines := slices.Collect(strings.Lines(write(t, records())))
			lines = lines[:len(lines)-1]
			if strings.Count(lines[c.line-1], c.old) == 0 {
				t.Fatalf("line %d has no %s: %s", c.line, c.old, lines[c.line-1])
			}
			lines[c.line-1] = strings.Replace(lines[c.line-1], c.old, c.new, 1)
			_, err := read(summed(lines))
			if c.wantWords == "" {
				must(t, err)
				return
			}
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), c.wantWords) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(err.Error(), "at line ") {
				t.Errorf("the line is missing: %v", err)
			}
		})
	}
}

func TestBytesOfAnotherKeyPackageAreFound(t *testing.T) {
	for name, change := range map[string]func(*KeyPackage){
		"other bytes":          func(k *KeyPackage) { k.Bytes = mlstest.NewSigner(1, "alice").KeyPackage() },
		"no KeyPackage":        func(k *KeyPackage) { k.Bytes = k.Bytes[:9] },
		"a last resort":        func(k *KeyPackage) { k.LastResort = true },
		"another lifetime":     func(k *KeyPackage) { k.NotAfter-- },
		"another init_key":     func(k *KeyPackage) { k.InitKey[0]++ },
		"another cipher suite": func(k *KeyPackage) { k.Suite = 3 },
	} {
		k := *records()[2].(*KeyPackage)
		must(t, k.Verify())
		change(&k)
		if k.Verify() == nil {
			t.Errorf("%s is not found", name)
		}
	}
}

// An archive of a year has millions of lines, and none of them is kept.
func TestLinesAreNotKept(t *testing.T) {
	const most = 2 << 20
	lines, before := 0, inUse()
	r, w := io.Pipe()
	go func() {
		to := NewWriter(w, "a test", noon)
		_ = to.Write(&Header{SeenAt: noon, Shelves: Keep, Order: 1})
		for n := range 40_000 {
			_ = to.Write(&Device{User: "alice", Device: fmt.Sprint(n), SeenAt: noon})
		}
		_, err := to.Close()
		w.CloseWithError(err)
	}()
	for _, err := range NewReader(r).Lines() {
		must(t, err)
		if lines++; lines%10_000 == 0 && inUse() > before+most {
			t.Fatalf("after %d lines %d bytes are in use, before there were %d", lines, inUse(), before)
		}
	}
	if lines != 40_001 {
		t.Errorf("%d lines", lines)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAWriterRefusesWhatAReaderWould(t *testing.T) {
	w := NewWriter(io.Discard, "a test", noon)
	if err := w.Write(records()[1]); err == nil {
		t.Error("a device before the header was written")
	}
	if _, err := w.Close(); err == nil {
		t.Error("an archive of nothing was written")
	}
	must(t, w.Write(records()[0]))
	if err := w.Write(&Device{}); err == nil {
		t.Error("a device without a name was written")
	}
}

// FuzzReader reads what strangers write, and what it takes for good is written down
// and read again as the same.
func FuzzReader(f *testing.F) {
	text := write(f, records())
	f.Add([]byte(text))
	lines := slices.Collect(strings.Lines(text))
	for i := range lines {
		f.Add([]byte(strings.Join(lines[:i], "")))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		// The sum keeps most of what is tried from getting anywhere.
		lines := slices.Collect(strings.Lines(string(text)))
		if n := len(lines); n > 0 && strings.HasPrefix(lines[n-1], `{"type":"end"`) {
			lines = lines[:n-1]
		}
		got, err := read(summed(lines))
		if err != nil {
			if !errors.Is(err, ErrBroken) {
				t.Fatal(err)
			}
			return
		}
		for _, r := range got {
			if k, ok := r.(*KeyPackage); ok {
				_ = k.Verify()
			}
		}
		first := write(t, got)
		again, err := read(first)
		must(t, err)
		if second := write(t, again); second != first {
			t.Errorf("%s is not %s", hex.EncodeToString([]byte(second)), first)
		}
	})
}

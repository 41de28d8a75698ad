package bolt_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
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

// export returns the archive of a file.
func export(t *testing.T, path string, final bool) string {
	t.Helper()
	var text bytes.Buffer
	w := archive.NewWriter(&text, "a test", time.Unix(0, 0))
	must(t, (&bolt.File{Path: path, Final: final}).Export(t.Context(), w.Write))
	_, err := w.Close()
	must(t, err)
	return text.String()
}

func imported(path, text string) error {
	f := &bolt.File{Path: path, Limits: delivery.DefaultLimits()}
	return f.Import(context.Background(), archive.NewReader(strings.NewReader(text)).Lines())
}

func twinOf(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	to := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(to, b, 0o600))
	return to
}

// A life is what has happened to a store, and what is to be done again.
type life struct {
	storetest.SampleMaker
	s     *bolt.Store
	path  string
	spent delivery.NewKeyPackage
	init  []byte // an init_key that was used
	later delivery.NewKeyPackage
}

// lived returns a store, closed, to which everything has happened.
func lived(t *testing.T) *life {
	l := &life{SampleMaker: storetest.SampleMaker{T: t, Clock: storetest.NewClock()}, path: filepath.Join(t.TempDir(), "welcomed.db")}
	l.reopen()
	l.Make()
	l.restore()
	l.removed(delivery.DeviceID{User: "frank", Name: "phone"})
	l.grow()
	l.damaged(delivery.DeviceID{User: "heidi", Name: "phone"})
	must(t, l.s.Close())
	return l
}

func (l *life) openAt(path string) *bolt.Store {
	return open(l.T, path, bolt.Options{Clock: l.Clock, LogSize: 8 << 10})
}

// reopen opens the store to which things happen.
func (l *life) reopen() {
	l.s = l.openAt(l.path)
	l.Store = l.s
}

// restore puts the store back, and a device publishes what it may have published
// before.
func (l *life) restore() {
	must(l.T, errors.Join(l.s.Close(), bolt.MarkRestored(l.T.Context(), l.path)))
	l.reopen()
	l.later = newKeyPackage(l.T, mlstest.NewSigner(1, "alice"))
	grace := delivery.DeviceID{User: "grace", Name: "phone"} // who leaves no tombstones
	l.Publish(grace, mlstest.LastResort())
	old := newKeyPackage(l.T, mlstest.NewSigner(1, "grace"))
	p, err := l.s.Publish(l.T.Context(), delivery.Unauthenticated(), grace, []delivery.NewKeyPackage{old})
	must(l.T, err)
	if p.Items[0].Status != delivery.NotAfterRestore {
		l.T.Fatalf("an old one is %s", p.Items[0].Status)
	}
}

// removed leaves a device of which nothing is known but when it was removed.
func (l *life) removed(id delivery.DeviceID) {
	l.Publish(id, mlstest.WithLifetime(0, uint64(l.Clock.Now().AddDate(0, 0, 2).Unix())))
	must(l.T, l.s.RemoveDevice(l.T.Context(), delivery.Unauthenticated(), id))
	l.Clock.Advance(31 * 24 * time.Hour)
	must(l.T, l.s.RemoveDevice(l.T.Context(), delivery.Unauthenticated(), id))
	l.sweep(l.s)
}

// damaged leaves a device with a Welcome that has ended because bits have flipped, and a
// KeyPackage that has lost its bytes.
func (l *life) damaged(id delivery.DeviceID) {
	ctx := l.T.Context()
	k := l.Publish(id)
	ended := l.Post(false, l.Publish(id))
	must(l.T, l.s.Close())
	bolt.FlipPart(l.T, l.path, storetest.Damage{Part: storetest.PartKeyPackage, Ref: k.Ref})
	bolt.FlipPart(l.T, l.path, storetest.Damage{Part: storetest.PartGroupInfo, Welcome: ended})
	l.reopen()
	must(l.T, ignoreDeliveries(l.s.Claim(ctx, delivery.Unauthenticated(), id, delivery.ClaimOptions{})))
	if r, err := l.s.List(ctx, delivery.Unauthenticated(), id.User, delivery.ListOptions{}); err != nil || len(r.Devices) > 0 {
		l.T.Fatal(r, err)
	}
}

// grow does what live does not.
func (l *life) grow() {
	t, ctx, id := l.T, l.T.Context(), storetest.SampleDevices[0]
	self := delivery.Caller{User: id.User, Device: id.Name}
	last := l.Publish(id, mlstest.LastResort())
	for range 3 {
		l.postLarge(last)
	}
	l.Claim(id)
	rejected := l.Post(false, l.Publish(id))
	lapsed := l.Post(false, l.Publish(id))
	must(t, ignoreDeliveries(l.s.Claim(ctx, self, id, delivery.ClaimOptions{})))
	_, err := l.s.Reject(ctx, self, id, rejected, "", delivery.ReasonOther, "no <key> for “it”")
	must(t, err)
	l.Clock.Advance(15 * 24 * time.Hour) // and lapsed is
	l.sweep(l.s)
	must(t, l.s.Acknowledge(ctx, self, id, lapsed, ""))

	l.spent = l.Publish(id)
	l.init = l.spent.InitKey
	l.Post(false, l.spent)
	must(t, l.s.Withdraw(ctx, self, id, l.spent.Ref))
	l.Publish(id, mlstest.WithLifetime(0, uint64(l.Clock.Now().Add(2*time.Hour).Unix())))
	l.Post(true, l.Publish(id))
	l.Publish(id)
	must(t, ignoreReservation(l.s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{id}})))
	l.Clock.Advance(25 * time.Hour)
	l.sweep(l.s)
	l.Post(false, l.Publish(id))
	must(t, ignoreDeliveries(l.s.Claim(ctx, self, id, delivery.ClaimOptions{Refs: []mls.KeyPackageRef{}}))) // withheld, overdue
	_, err = l.s.Post(ctx, delivery.Caller{User: "eve"}, l.posting(l.Publish(id), l.spent))                 // a mismatch
	must(t, err)
	must(t, ignoreReservation(l.s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{storetest.SampleDevices[2]}, IdempotencyKey: "again"})))
	l.waits(storetest.SampleDevices[1])
	for _, o := range []delivery.TokenOwner{{User: "alice"}, {Service: "app"}} {
		_, err = l.s.AddToken(ctx, delivery.Token{ID: "of-" + strings.ReplaceAll(o.String(), " ", "-"), Hash: [32]byte{1}, Owner: o, ReadOnly: o.Service != ""})
		must(t, err)
	}
}

// waits leaves a device with Welcomes in every state that has not ended, and with
// one that was cancelled.
func (l *life) waits(id delivery.DeviceID) {
	l.Publish(id, mlstest.LastResort()) // retired by the next
	last := l.Publish(id, mlstest.LastResort())
	l.postLarge(last)
	l.Post(false, last, l.Publish(id))
	l.Post(false, l.Publish(id))
	l.Claim(id)
	_, err := l.s.Cancel(l.T.Context(), delivery.Caller{User: "ann"}, l.Post(true, l.Publish(id)))
	must(l.T, err)
	l.Post(true, l.Publish(id)) // which is not overdue yet
}

func ignoreDeliveries(_ delivery.ClaimResult, err error) error  { return err }
func ignoreReservation(_ delivery.Reservation, err error) error { return err }

func (l *life) posting(items ...delivery.NewKeyPackage) delivery.Posting {
	var refs []mls.KeyPackageRef
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	w, err := mls.ParseWelcome(mlstest.Welcome(items[0].Suite, refs...))
	must(l.T, err)
	return delivery.Posting{Welcome: w, RatchetTree: []byte("a tree")}
}

// postLarge posts a Welcome whose payloads are larger than a piece.
func (l *life) postLarge(item delivery.NewKeyPackage) {
	w, err := mls.ParseWelcome(mlstest.WelcomeSize(300<<10, item.Suite, item.Ref))
	must(l.T, err)
	o, err := l.s.Post(l.T.Context(), delivery.Caller{Service: "app"}, delivery.Posting{Welcome: w, RatchetTree: mlstest.Random(archive.PieceBytes + 1)})
	must(l.T, err)
	l.Welcomes = append(l.Welcomes, o.ID.String())
	l.Clock.Advance(time.Minute)
}

func (l *life) sweep(s *bolt.Store) delivery.SweepResult {
	swept, err := s.Sweep(l.T.Context())
	must(l.T, err)
	return swept
}

// goOn asks for everything, repeats what was done before and lets time pass, and
// says what is answered.
func (l *life) goOn(s *bolt.Store) (answers []string) {
	ctx, id := l.T.Context(), storetest.SampleDevices[0]
	self := delivery.Caller{User: id.User, Device: id.Name}
	say := func(format string, args ...any) { answers = append(answers, fmt.Sprintf(format, args...)) }
	_, err := s.Publish(ctx, self, id, []delivery.NewKeyPackage{l.spent})
	say("published again: %v", err)
	reused := newKeyPackage(l.T, mlstest.NewSigner(l.spent.Suite, "alice"), mlstest.WithInitKey(l.init))
	_, err = s.Publish(ctx, self, id, []delivery.NewKeyPackage{reused})
	say("the same init_key: %v", err)
	p, err := s.Publish(ctx, delivery.Unauthenticated(), storetest.SampleDevices[1], []delivery.NewKeyPackage{l.later})
	must(l.T, err)
	k, err := s.KeyPackage(ctx, delivery.Unauthenticated(), l.later.Ref)
	say("not after the restore: %v %v %v", p.Items[0].Status, k.State, err)
	_, err = s.Publish(ctx, delivery.Caller{User: "dave", Device: "gone", Bound: storetest.NewClock().Now()}, storetest.SampleDevices[4], []delivery.NewKeyPackage{l.later})
	say("credentials that were outlived: %v", err)
	for _, key := range []string{"again", "other"} {
		r, err := s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Devices: []delivery.DeviceID{storetest.SampleDevices[2]}, IdempotencyKey: key})
		say("reserved: %v %v %v", r.Repeated, r.Users[0].Status, err)
	}
	_, err = s.Reserve(ctx, delivery.Caller{User: "ann"}, delivery.ReserveRequest{Users: []delivery.UserID{"bob"}, IdempotencyKey: "again"})
	say("another request: %v", err)
	for _, token := range []string{"one", "of-alice", "of-service-app", "none"} {
		token, err := s.Token(ctx, token)
		say("token: %v %v", token, err)
	}
	answers = append(answers, l.Ask(l.T, s)...)
	return answers
}

// goOnAt is goOn of the store at path, and what is written down of it while years
// pass.
func (l *life) goOnAt(path string) (answers []string) {
	start := l.Clock.Now()
	defer func(clock *storetest.Clock) { l.Clock = clock }(l.Clock)
	l.Clock = storetest.NewClock()
	l.Clock.Advance(start.Sub(l.Clock.Now()))
	s := l.openAt(path)
	answers = l.goOn(s)
	for _, d := range []int{0, 1, 2, 10, 16, 31, 32, 50, 62, 95, 130, 400, 500} {
		l.Clock.Advance(start.AddDate(0, 0, d).Sub(l.Clock.Now()))
		swept := l.sweep(s)
		swept.ForgottenEvents = 0 // an archive has no events
		answers = append(answers, fmt.Sprintf("swept after %d days: %+v", d, swept))
		stats, err := s.Stats(l.T.Context())
		must(l.T, err)
		answers = append(answers, fmt.Sprint(stats.KeyPackages, stats.Welcomes, stats.Shelves, stats.Overdue, stats.HoldsOverdue, stats.RestoredAt))
		if d%5 == 0 {
			must(l.T, s.Close())
			answers = append(answers, strings.Split(export(l.T, path, false), "\n")...)
			s = l.openAt(path)
		}
	}
	must(l.T, s.Close())
	return answers
}

func TestAStoreThatHasMovedGoesOnWhereItWas(t *testing.T) {
	l := lived(t)
	twin, moved := twinOf(t, l.path), filepath.Join(t.TempDir(), "welcomed.db")
	text := export(t, l.path, true)
	must(t, imported(moved, text))
	must(t, bolt.Check(t.Context(), moved))
	if again := export(t, twinOf(t, moved), true); again != text {
		storetest.SameAnswers(t, strings.Split(again, "\n"), strings.Split(text, "\n"))
	}
	want := l.goOnAt(twin)
	storetest.SameAnswers(t, l.goOnAt(moved), want)
}

// An archive that is not final is what a restored backup is.
func TestAnImportIsLikeARestoredBackup(t *testing.T) {
	l := lived(t)
	text := export(t, l.path, false)
	copied, moved := twinOf(t, l.path), filepath.Join(t.TempDir(), "welcomed.db")
	must(t, bolt.MarkRestored(t.Context(), copied))
	must(t, imported(moved, text))
	want := l.goOnAt(copied)
	storetest.SameAnswers(t, withoutEpoch(l.goOnAt(moved)), withoutEpoch(want))
	if again := export(t, l.path, true); !strings.Contains(again, `"shelves":"keep"`) {
		t.Error("an export that is not final has changed the store")
	}
}

// withoutEpoch leaves out what is another text after each restore, and the sum of it.
func withoutEpoch(lines []string) []string {
	for i, line := range lines {
		lines[i] = regexp.MustCompile(`"restore_epoch":"[A-Z0-9]*",|"sha256":"[0-9a-f]*"}$`).ReplaceAllString(line, "")
	}
	return lines
}

// A copy that nobody has opened since is one, however it is exported.
func TestACopyStaysOne(t *testing.T) {
	l := lived(t)
	must(t, bolt.MarkRestored(t.Context(), l.path))
	if text := export(t, l.path, true); !strings.Contains(text, `"shelves":"retire"`) {
		t.Error("the shelves of a copy are kept")
	}
}

// The tests above prove nothing of what has not happened.
func TestALifeHasEverything(t *testing.T) {
	text := export(t, lived(t).path, false)
	var want []string
	for _, s := range delivery.KeyPackageStates {
		want = append(want, `"state":"`+s.String()+`"`)
	}
	for _, s := range delivery.WelcomeStates {
		if s != delivery.Lapsed && s != delivery.WelcomeExpired { // which a sweep makes later
			want = append(want, `"status":"`+s.String()+`","matched":true`)
		}
	}
	want = append(want, `"status":"(withdrawn|wrong_suite)"}`, `"state":"retired"[^}]*"init_key":"[0-9a-f]*"}`, `"detail":"no`, `"withheld_at":`, `"last_resort":true.*"open":[2-9]`, `"removed":true`,
		`"before_restore":true`, `"restored_at":`, `"restore_epoch":"`, `"hold_overdue":true`, `"abandoned":true`, `"handed_out_at":`, `"type":"token".*"service":"app","read_only":true`,
		`"type":"token".*"expires_at"`, `"type":"reservation"`, `"ratchet_tree_size":5000,"ratchet_tree_sha256"`, `"context":`,
		`"type":"welcome".*"posted_at":"[^"]*","ended_at"[^}]*,"ratchet_tree_size"`, `"closed_at":"[^"]*","init_key":"[0-9a-f]*"}`, `"claim_order":`)
	for _, words := range want {
		if !regexp.MustCompile(words).MatchString(text) {
			t.Errorf("there is no %s", words)
		}
	}
}

func TestAnImportIsWholeOrNotThere(t *testing.T) {
	l := lived(t)
	lines := strings.SplitAfter(export(t, l.path, true), "\n")
	path := filepath.Join(t.TempDir(), "welcomed.db")
	broken := strings.Join(lines[:len(lines)-2], "")
	if err := imported(path, broken); !errors.Is(err, archive.ErrBroken) {
		t.Errorf("without its end: %v", err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("there is %v", left)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	if err := imported(path, strings.Join(lines, "")); err == nil || !strings.Contains(err.Error(), "only imported into a new database") {
		t.Errorf("into one that is there: %v", err)
	}
}

// A database that was exported for good is opened by nobody, unless it is made a
// copy.
func TestWhatHasMovedIsNotServed(t *testing.T) {
	l := lived(t)
	export(t, l.path, true)
	s, err := bolt.Open(l.path, bolt.Options{Limits: delivery.DefaultLimits(), Clock: l.Clock})
	if err == nil {
		_ = s.Close()
		t.Fatal("it is served")
	}
	if !strings.Contains(err.Error(), "moved away") {
		t.Error(err)
	}
	must(t, bolt.Check(t.Context(), l.path))
	must(t, bolt.MarkRestored(t.Context(), l.path))
	s = l.openAt(l.path)
	if !s.Restored() {
		t.Error("its shelves are as they were")
	}
}

// What fails half-way is not marked: the archive has no end, and the store goes on.
func TestAnExportThatFailsMarksNothing(t *testing.T) {
	l := lived(t)
	n, full := 0, errors.New("no room")
	err := (&bolt.File{Path: l.path, Final: true}).Export(t.Context(), func(archive.Record) error {
		if n++; n == 100 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) {
		t.Fatal(err)
	}
	if l.openAt(l.path).Restored() {
		t.Error("it is a copy now")
	}
}

// A file of an older format is exported as it is, but not for good: a server of that
// time would not know the mark.
func TestAFileOfFormat3IsExported(t *testing.T) {
	path, v := oldSample(t, 3)
	text := export(t, path, false)
	err := (&bolt.File{Path: path, Final: true}).Export(t.Context(), func(archive.Record) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "would not see that it has moved") {
		t.Errorf("for good: %v", err)
	}
	moved := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, imported(moved, text))
	must(t, bolt.MarkRestored(t.Context(), path))
	storetest.SameAnswers(t, v.Ask(t, v.open(t, moved)), v.Ask(t, v.open(t, path)))
}

package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

var nobody = delivery.Unauthenticated()

// A revoking is a store of which tokens are revoked and devices removed.
type revoking struct {
	t     *testing.T
	path  string
	clock *storetest.Clock
	trust bool // the operator says that the clock is right
	// forget is after what time a device is forgotten; 0: never
	forget time.Duration
	s      *Store
}

func newRevoking(t *testing.T) *revoking {
	r := &revoking{t: t, path: filepath.Join(t.TempDir(), "welcomed.db"), clock: storetest.NewClock()}
	r.open()
	t.Cleanup(func() { _ = r.s.Close() })
	return r
}

func (r *revoking) open() {
	r.t.Helper()
	limits := delivery.DefaultLimits()
	limits.ForgetDevicesAfter = r.forget
	s, err := Open(r.path, Options{Limits: limits, Clock: r.clock, TrustClock: r.trust})
	must(r.t, err)
	r.s = s
}

func (r *revoking) close() { r.t.Helper(); must(r.t, r.s.Close()) }

// saved returns what a backup of the file would be, of a store that is closed and
// opened again.
func (r *revoking) saved() []byte {
	r.t.Helper()
	r.close()
	b, err := os.ReadFile(r.path)
	must(r.t, err)
	r.open()
	return b
}

// put puts a state in the place of the file; restored, if it counts as a backup.
func (r *revoking) put(state []byte, restored bool) {
	r.t.Helper()
	r.close()
	must(r.t, os.WriteFile(r.path, state, 0o600))
	if restored {
		must(r.t, MarkRestored(r.t.Context(), r.path))
	}
	r.open()
}

func (r *revoking) token(id string, owner delivery.TokenOwner) {
	r.t.Helper()
	_, err := r.s.AddToken(r.t.Context(), delivery.Token{ID: id, Hash: [32]byte{1}, Owner: owner})
	must(r.t, err)
}

func (r *revoking) publish(id delivery.DeviceID, caller delivery.Caller) error {
	r.t.Helper()
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, string(id.User)).KeyPackage())
	must(r.t, err)
	_, err = r.s.Publish(r.t.Context(), caller, id, []delivery.NewKeyPackage{delivery.Publication(kp)})
	return err
}

func (r *revoking) made(id delivery.DeviceID) { r.t.Helper(); must(r.t, r.publish(id, nobody)) }

func (r *revoking) remove(id delivery.DeviceID) {
	r.t.Helper()
	r.clock.Advance(time.Second)
	must(r.t, r.s.RemoveDevice(r.t.Context(), nobody, id))
}

// is compares which tokens are valid and which devices there are.
func (r *revoking) is(when string, want ...string) {
	r.t.Helper()
	tokens, err := r.s.Tokens(r.t.Context(), delivery.TokenOwner{})
	must(r.t, err)
	got := []string{}
	for _, token := range tokens {
		got = append(got, token.ID)
	}
	for _, user := range []delivery.UserID{"alice", "bob"} {
		devices, err := r.s.Devices(r.t.Context(), nobody, user)
		must(r.t, err)
		for _, d := range devices {
			got = append(got, string(user)+"/"+d.Device)
		}
	}
	slices.Sort(got)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		r.t.Errorf("%s there are %v, want %v", when, got, want)
	}
}

func (r *revoking) lines() (lines []string) {
	r.t.Helper()
	v, err := r.s.RevokedNow()
	must(r.t, err)
	for _, line := range v.lines {
		lines = append(lines, lineOf(line))
	}
	return lines
}

var (
	alicePhone  = delivery.DeviceID{User: "alice", Name: "phone"}
	aliceTablet = delivery.DeviceID{User: "alice", Name: "tablet"}
	bobPhone    = delivery.DeviceID{User: "bob", Name: "phone"}
)

// A crash between the line and its commit leaves the line, and it holds. So does one
// whose database is an older state that nobody has marked.
func TestWhatIsWrittenDownHolds(t *testing.T) {
	r := newRevoking(t)
	r.token("stolen", delivery.TokenOwner{User: "alice"})
	r.token("of-phone", delivery.TokenOwner{User: "alice", Device: "phone"})
	r.token("left", delivery.TokenOwner{User: "bob"})
	r.made(alicePhone)
	r.made(aliceTablet)
	r.made(bobPhone)
	before := r.saved()
	must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "stolen"))
	r.remove(alicePhone)
	if want := 3; len(r.lines()) != want {
		t.Fatalf("the lines are %q, want %d", r.lines(), want)
	}
	r.put(before, false)
	r.is("after a crash", "alice/tablet", "bob/phone", "left")
	if got := r.s.Revoked(); got != (RevokedReport{Tokens: 2, Devices: 1}) {
		t.Errorf("the report is %+v", got)
	}
	commits := r.s.Commits()
	r.close()
	r.open()
	if r.s.Commits() != 0 || commits == 0 {
		t.Errorf("%d commits carry it out, and %d do so again", commits, r.s.Commits())
	}
	r.is("after another opening", "alice/tablet", "bob/phone", "left")
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	r.put(before, true)
	r.is("after a restore", "bob/phone", "left")
	r.put(before, true)
	r.is("after another", "bob/phone", "left")
	must(t, r.s.Close())
	must(t, Check(t.Context(), r.path))
}

// A device that has come back since its removal stays, whatever is opened how often.
func TestADeviceThatCameBackIsNotRemovedAgain(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	first := r.saved()
	r.remove(alicePhone)
	r.made(alicePhone)
	second := r.saved()
	r.is("after it came back", "alice/phone")
	for _, state := range [][]byte{second, second} {
		r.put(state, true)
		r.is("after a restore of the second one", "alice/phone")
	}
	r.put(first, true)
	r.is("after a restore of the first one")
	r.made(alicePhone) // with a number that the lost one may have had
	r.close()
	r.open()
	r.is("after it came back again", "alice/phone")
	third := r.saved()
	r.remove(alicePhone)
	r.put(third, true)
	r.is("after its third removal")
}

// What is made after a restore without the file is not taken for what was removed before,
// when the lines turn up, whatever the clock said.
func TestLinesThatWereLostRemoveNothingThatIsNewer(t *testing.T) {
	for _, passes := range []time.Duration{time.Hour, -2 * time.Hour} {
		r := newRevoking(t)
		before := r.saved()
		r.made(bobPhone)
		r.made(alicePhone)
		r.made(aliceTablet)
		r.remove(alicePhone)
		lost, err := r.s.RevokedNow()
		must(t, err)
		r.clock.Jump(passes)
		r.trust = true
		must(t, os.Remove(r.s.revoked.path))
		r.put(before, true)
		if !r.s.Revoked().Lost {
			t.Error("it does not say that the file was lost")
		}
		r.made(alicePhone)
		r.close()
		mine, err := ReadRevokedOf(r.path)
		must(t, err)
		mine.Merge(lost)
		must(t, mine.WriteBeside(r.path))
		r.open()
		r.is(fmt.Sprintf("after the lines turned up, and %v had passed,", passes), "alice/phone")
	}
}

// An older backup is put back after a newer one, and then the newer one again: what was
// removed in between is removed in that, too, although nothing had been removed since the
// newer one, and more had been made. It holds as well if only copies are left.
func TestARemovalAfterAnOlderBackupWasPutBack(t *testing.T) {
	for _, lost := range []bool{false, true} {
		r := newRevoking(t)
		copies := map[string][]byte{}
		put := func(state []byte) {
			if lost {
				v, err := r.s.RevokedNow()
				must(t, err)
				copies[v.Branch] = v.Copy(r.clock.Now())
				all := &Revoked{Database: v.Database}
				for _, text := range copies {
					v, err := ReadRevoked(bytes.NewReader(text))
					must(t, err)
					all.Merge(v)
				}
				r.close()
				must(t, all.WriteBeside(r.path))
			}
			r.put(state, true)
		}
		older := r.saved()
		put(older)
		r.made(bobPhone)
		r.made(aliceTablet)
		r.made(alicePhone)
		newer := r.saved()
		put(older)
		r.made(alicePhone)
		r.remove(alicePhone)
		put(newer)
		r.is("after the newer one was put back again", "alice/tablet", "bob/phone")
		r.made(alicePhone)
		newest := r.saved()
		put(older)
		put(newest)
		r.is("after it came back", "alice/phone", "alice/tablet", "bob/phone")
	}
}

// Credentials of a device that the backup does not know are refused as before.
func TestCredentialsOfADeviceThatTheBackupDoesNotKnow(t *testing.T) {
	r := newRevoking(t)
	before := r.saved()
	issued := r.clock.Now()
	r.made(alicePhone)
	r.remove(alicePhone)
	bound := delivery.Caller{User: "alice", Device: "phone", Bound: issued}
	for _, when := range []string{"before the restore", "after it"} {
		if err := r.publish(alicePhone, bound); !errors.Is(err, delivery.ErrDeviceRemoved) {
			t.Errorf("%s: %v", when, err)
		}
		r.put(before, true)
	}
	bound.Bound = r.clock.Now().Add(time.Second)
	must(t, r.publish(alicePhone, bound))
	r.remove(alicePhone)
	r.clock.Advance(r.s.opts.Limits.TombstoneKept + 48*time.Hour)
	for range 3 {
		_, err := r.s.Sweep(t.Context())
		must(t, err)
		r.clock.Advance(24 * time.Hour)
	}
	r.close()
	r.open()
	if n := r.s.Commits(); n != 0 {
		t.Errorf("what is forgotten is written down again: %d commits", n)
	}
}

// A device was made again and removed again, and all that was known of it is forgotten, but
// not of the one before it, whose KeyPackages never end. Then its removal is not carried
// out again, which would end a token that was issued since.
func TestARemovalThatIsForgottenBeforeTheOneBefore(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	r.remove(alicePhone)
	ends := uint64(r.clock.Now().Add(31 * 24 * time.Hour).Unix())
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage(mlstest.WithLifetime(0, ends)))
	must(t, err)
	_, err = r.s.Publish(t.Context(), nobody, alicePhone, []delivery.NewKeyPackage{delivery.Publication(kp)})
	must(t, err)
	r.remove(alicePhone)
	for range 8 {
		r.clock.Advance(10 * 24 * time.Hour)
		_, err := r.s.Sweep(t.Context())
		must(t, err)
	}
	r.token("new", delivery.TokenOwner{User: "alice", Device: "phone"})
	r.close()
	r.open()
	r.is("after another opening", "new")
	if n := r.s.Commits(); n != 0 {
		t.Errorf("what is forgotten is carried out again: %d commits", n)
	}
}

// The removal of a user counts from when it was, also of a device that was removed
// before it and after the backup.
func TestARemovedUserIsRemovedAfterItsDevices(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	before := r.saved()
	r.remove(alicePhone)
	r.clock.Advance(time.Hour)
	bound := delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}
	r.clock.Advance(time.Hour)
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	for _, when := range []string{"before the restore", "after it"} {
		if err := r.publish(alicePhone, bound); !errors.Is(err, delivery.ErrDeviceRemoved) {
			t.Errorf("%s: %v", when, err)
		}
		r.put(before, true)
	}
}

// A token that has expired before its device was removed has no line. A restored store
// whose clock is not trusted does not know that it has expired: it ends with the device.
func TestTokensOfARemovedDeviceEndWithItAgain(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	owner := delivery.TokenOwner{User: "alice", Device: "phone"}
	_, err := r.s.AddToken(t.Context(), delivery.Token{ID: "old", Owner: owner, Expires: r.clock.Now().Add(time.Hour)})
	must(t, err)
	before := r.saved()
	r.clock.Advance(120 * 24 * time.Hour)
	_, err = r.s.Sweep(t.Context())
	must(t, err)
	r.remove(alicePhone)
	r.put(before, true)
	if r.s.Time().Sweep {
		t.Fatal("the clock is trusted")
	}
	r.is("after the restore")
}

// A device that was forgotten, which writes no line, and whose user was removed then, is
// there in the restored file: the user's line removes it.
func TestARemovedUserHasNoDeviceThatWasForgotten(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	r.token("phone", delivery.TokenOwner{User: "alice", Device: "phone"})
	before := r.saved()
	r.forgotten(alicePhone)
	r.clock.Advance(time.Hour)
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	r.put(before, true)
	r.is("after the restore")
	if report := r.s.Revoked(); report.Devices != 1 {
		t.Errorf("it says %+v", report)
	}
}

// forgotten has a sweep remove a device that does not come back, which writes no line.
func (r *revoking) forgotten(id delivery.DeviceID) {
	r.t.Helper()
	lines := len(r.lines())
	r.forget = time.Hour
	r.close()
	r.open()
	inventory, err := r.s.Inventory(r.t.Context(), nobody, id)
	must(r.t, err)
	for _, ref := range inventory.Refs {
		must(r.t, r.s.Withdraw(r.t.Context(), nobody, id, ref))
	}
	_, err = r.s.Sweep(r.t.Context())
	must(r.t, err)
	r.clock.Advance(12 * time.Hour) // so long sweeps have to have seen the time pass
	swept, err := r.s.Sweep(r.t.Context())
	must(r.t, err)
	if forgotten := swept.ForgottenDevices; forgotten != 1 || len(r.lines()) != lines {
		r.t.Fatalf("%d devices were forgotten, and the lines are %q", forgotten, r.lines())
	}
	r.forget = 0
	r.close()
	r.open()
}

// A device that was made after the backup, and was forgotten, has no line. Its user's
// keeps its credentials out of the restored file, also once it has been made again and
// that file is opened again.
func TestARemovedUserIsRemovedWithDevicesThatTheBackupDoesNotKnow(t *testing.T) {
	r := newRevoking(t)
	before := r.saved()
	r.made(alicePhone)
	old := delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}
	r.forgotten(alicePhone)
	r.clock.Advance(time.Hour)
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	r.put(before, true)
	if err := r.publish(alicePhone, old); !errors.Is(err, delivery.ErrDeviceRemoved) {
		t.Errorf("after the restore: %v", err)
	}
	r.clock.Advance(time.Hour)
	must(t, r.publish(alicePhone, delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}))
	r.close()
	must(t, Check(t.Context(), r.path))
	r.open()
	if n := r.s.Commits(); n != 0 {
		t.Errorf("what was carried out is carried out again: %d commits", n)
	}
	if err := r.publish(alicePhone, old); !errors.Is(err, delivery.ErrDeviceRemoved) {
		t.Errorf("once it was made again: %v", err)
	}
	r.is("then", "alice/phone")
}

// What is known of a device by its user's removal alone is known as long as that of others.
func TestARemovedUserIsNotForgottenWithItsDevices(t *testing.T) {
	r := newRevoking(t)
	before := r.saved()
	r.made(alicePhone)
	old := delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}
	r.made(aliceTablet)
	r.forgotten(alicePhone)
	r.clock.Advance(time.Hour)
	r.remove(aliceTablet)
	r.clock.Advance(2*time.Hour - time.Second)
	removed := r.clock.Now()
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	r.put(before, true)
	for r.clock.Advance(time.Hour - time.Second); ; r.clock.Advance(24 * time.Hour) {
		_, err := r.s.Sweep(t.Context())
		must(t, err)
		if !r.clock.Now().Before(removed.Add(delivery.DefaultLimits().TombstoneKept)) {
			break
		}
		if err := r.publish(alicePhone, old); !errors.Is(err, delivery.ErrDeviceRemoved) {
			t.Fatalf("at %v: %v", r.clock.Now(), err)
		}
	}
}

// A device that is made and removed at the very time of a restore stays removed.
func TestARemovalAtTheTimeOfARestore(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	r.put(r.saved(), true)
	r.made(aliceTablet)
	before := r.saved()
	must(t, r.s.RemoveDevice(t.Context(), nobody, aliceTablet))
	r.put(before, true)
	r.is("after the second restore", "alice/phone")
}

// A clock that was ahead at a restore dates it after a removal that came later. The
// removal holds in a backup from before the clock was put right, whether the clock is
// believed when it is put back or not, and whether it has passed that time or not.
func TestARemovalAfterTheClockOfARestoreWasPutRight(t *testing.T) {
	for _, c := range []struct {
		trust  bool
		passes time.Duration
	}{{false, 10 * time.Minute}, {true, 10 * time.Minute}, {true, 3 * time.Hour}} {
		r := newRevoking(t)
		r.put(r.saved(), true)
		r.made(alicePhone)
		r.made(bobPhone)
		before := r.saved()
		r.clock.Jump(-2 * time.Hour)
		r.trust = true
		r.close()
		r.open()
		r.remove(alicePhone)
		must(t, r.s.RemoveUser(t.Context(), nobody, "bob"))
		r.clock.Advance(c.passes)
		r.trust = c.trust
		r.put(before, true)
		r.is(fmt.Sprintf("after the second restore, %+v,", c))
		if n := r.s.Revoked().Devices; n != 2 {
			t.Errorf("%+v: %d devices were removed, want 2", c, n)
		}
	}
}

// A removal was dated by a clock that was ahead and was put right. Credentials that were
// issued since the removal are taken, whatever backup is put back after that: none of them
// knows that the clock was put right, but the file does.
func TestARemovalByAClockThatWasPutRight(t *testing.T) {
	for name, backup := range map[string]int{"from before the removal": 0, "from after it": 1} {
		r := newRevoking(t)
		r.trust = true
		r.made(alicePhone)
		before := r.saved()
		old := delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}
		r.clock.Jump(time.Hour)
		r.remove(alicePhone)
		after := r.saved()
		r.clock.Jump(-time.Hour)
		r.made(bobPhone)
		r.clock.Advance(10 * time.Minute)
		since := delivery.Caller{User: "alice", Device: "phone", Bound: r.clock.Now()}
		r.put([][]byte{before, after}[backup], true)
		r.clock.Advance(2 * time.Hour)
		r.put([][]byte{before, after}[backup], true)
		if err := r.publish(alicePhone, old); !errors.Is(err, delivery.ErrDeviceRemoved) {
			t.Errorf("a backup %s: %v", name, err)
		}
		if err := r.publish(alicePhone, since); err != nil {
			t.Errorf("a backup %s, by credentials that were issued since the removal: %v", name, err)
		}
	}
}

// The file learns from the database that a clock was put right, if there was no room for it.
func TestThatAClockWasPutRightIsWrittenDownLater(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	r.clock.Jump(time.Hour)
	r.remove(alicePhone)
	r.clock.Jump(-time.Hour)
	r.s.revoked.fault = func() error { return errors.New("write: no space left on device") }
	r.made(bobPhone)
	if v, err := r.s.RevokedNow(); err != nil || len(v.backs) != 0 {
		t.Errorf("on a full disk it says %+v, %v", v, err)
	}
	r.close()
	r.open()
	v, err := r.s.RevokedNow()
	must(t, err)
	if len(v.backs) != 1 || !v.revocations()[0].At.Equal(v.backs[0].At) || !v.lines[0].At.After(v.backs[0].At) {
		t.Errorf("it says %+v", v)
	}
	again, err := ReadRevoked(bytes.NewReader(v.Copy(r.clock.Now())))
	must(t, err)
	if again.Damaged != 0 || fmt.Sprint(again.backs) != fmt.Sprint(v.backs) {
		t.Errorf("a copy says %+v", again)
	}
	again.Merge(v)
	if len(again.backs) != 1 || len(again.lines) != 1 {
		t.Errorf("both say %+v", again)
	}
}

// What changes nothing writes nothing.
func TestNothingIsWrittenDownThatChangesNothing(t *testing.T) {
	r := newRevoking(t)
	r.token("one", delivery.TokenOwner{User: "alice"})
	r.made(alicePhone)
	must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
	before := len(r.lines())
	if before != 2 {
		t.Errorf("the lines are %q", r.lines())
	}
	for range 3 {
		must(t, r.s.RemoveUser(t.Context(), nobody, "alice"))
		must(t, r.s.RemoveDevice(t.Context(), nobody, alicePhone))
		must(t, r.s.RemoveDevice(t.Context(), nobody, bobPhone))
		if err := r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "one"); !errors.Is(err, delivery.ErrNotFound) {
			t.Error(err)
		}
	}
	if lines := r.lines(); len(lines) != before {
		t.Errorf("the lines are %q", lines)
	}
}

// On a full disk a revocation fails, and nothing was revoked; with room it is repeated.
func TestAFullDiskRevokesNothing(t *testing.T) {
	r := newRevoking(t)
	r.token("stolen", delivery.TokenOwner{User: "alice"})
	r.made(alicePhone)
	for what, revoke := range map[string]func() error{
		"a token":  func() error { return r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "stolen") },
		"a device": func() error { return r.s.RemoveDevice(t.Context(), nobody, alicePhone) },
		"a user":   func() error { return r.s.RemoveUser(t.Context(), nobody, "alice") },
	} {
		r.s.revoked.fault = func() error { return errors.New("write: no space left on device") }
		if err := revoke(); !errors.Is(err, delivery.ErrDiskFull) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.is("on a full disk", "alice/phone", "stolen")
	r.close()
	r.open()
	r.is("after another opening", "alice/phone", "stolen")
	must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "stolen"))
	r.is("with room", "alice/phone")
}

// A disk that fails ends the store: nobody knows whether the line is there.
func TestADiskThatFailsEndsTheStore(t *testing.T) {
	r := newRevoking(t)
	r.token("stolen", delivery.TokenOwner{User: "alice"})
	r.s.revoked.fault = func() error { return errors.New("input/output error") }
	if err := r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "stolen"); !errors.Is(err, delivery.ErrOutcomeUnknown) {
		t.Error(err)
	}
	<-r.s.Failed()
	if err := r.s.Close(); err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), r.s.revoked.path) {
		t.Errorf("it ends with %v", err)
	}
}

// A line whose commit was refused is taken back, also behind another's.
func TestALineIsTakenBack(t *testing.T) {
	r := newRevoking(t)
	f := r.s.revoked
	line := func(id string) []store.Revocation {
		return []store.Revocation{{Kind: store.TokenRevoked, At: r.clock.Now(), ID: id}}
	}
	one, err := f.write(line("one"))
	must(t, err)
	must(t, f.takeBack(one, line("one")))
	if info, err := os.Stat(f.path); err != nil || info.Size() != one.start {
		t.Errorf("the file has %d bytes, want %d, %v", info.Size(), one.start, err)
	}
	two, err := f.write(line("two"))
	must(t, err)
	_, err = f.write(line("three"))
	must(t, err)
	must(t, f.takeBack(two, line("two")))
	if lines := r.lines(); len(lines) != 1 || !strings.HasSuffix(lines[0], " three") {
		t.Errorf("the lines are %q", lines)
	}
}

// A refusal after the line takes it back: the file of the database is gone by then.
func TestAnEventThatIsRefusedAfterItsLine(t *testing.T) {
	r := newRevoking(t)
	r.token("stolen", delivery.TokenOwner{User: "alice"})
	r.s.revoked.written = func() { must(t, os.Rename(r.path, r.path+".gone")) }
	err := r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "stolen")
	r.s.revoked.written = nil
	must(t, os.Rename(r.path+".gone", r.path))
	if !errors.Is(err, delivery.ErrUnavailable) {
		t.Error(err)
	}
	if lines := r.lines(); len(lines) != 0 {
		t.Errorf("the lines are %q", lines)
	}
	r.is("after the refusal", "stolen")
}

// A caller that is gone after the line was written has revoked all the same, and one
// that is gone before has not.
func TestACallerThatIsGone(t *testing.T) {
	r := newRevoking(t)
	r.token("one", delivery.TokenOwner{User: "alice"})
	r.token("two", delivery.TokenOwner{User: "alice"})
	ctx, cancel := context.WithCancel(t.Context())
	r.s.revoked.written = cancel
	must(t, r.s.RevokeToken(ctx, delivery.TokenOwner{}, "one"))
	r.s.revoked.written = nil
	if err := r.s.RevokeToken(ctx, delivery.TokenOwner{}, "two"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	r.is("then", "two")
	if lines := r.lines(); len(lines) != 1 {
		t.Errorf("the lines are %q", lines)
	}
}

// What changes between the look and the commit is written down too.
func TestWhatIsMadeBetweenTheLookAndTheCommit(t *testing.T) {
	r := newRevoking(t)
	r.made(alicePhone)
	before := r.saved()
	n := 0
	r.s.revoked.written = func() {
		if n++; n < 4 { // the fourth look is in the writer
			r.token(fmt.Sprint("new", n), delivery.TokenOwner{User: "alice", Device: "phone"})
		}
	}
	r.remove(alicePhone)
	r.s.revoked.written = nil
	r.is("after the removal")
	after := r.saved()
	r.put(before, false)
	r.is("after a crash")
	r.put(after, true)
	r.is("after a restore")
}

// Many at once share syncs, and each is written down before it has happened.
func TestManyRevokeAtOnce(t *testing.T) {
	r := newRevoking(t)
	before := r.saved()
	const n = 40
	for i := range n {
		r.token(fmt.Sprint("t", i), delivery.TokenOwner{User: delivery.UserID(fmt.Sprint("u", i))})
	}
	state := r.saved()
	var together sync.WaitGroup
	for i := range n {
		together.Go(func() {
			if err := r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, fmt.Sprint("t", i)); err != nil {
				t.Error(err)
			}
		})
	}
	together.Wait()
	if lines := r.lines(); len(lines) != n {
		t.Errorf("%d lines for %d tokens", len(lines), n)
	}
	r.put(state, false)
	r.is("after a crash")
	r.put(before, true)
	r.is("after a restore")
}

// What is torn is cut off, and what is damaged is told; the rest counts.
func TestATornAndADamagedFile(t *testing.T) {
	r := newRevoking(t)
	for i := range 3 {
		r.token(fmt.Sprint("t", i), delivery.TokenOwner{User: "alice"})
	}
	state := r.saved()
	for i := range 3 {
		must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, fmt.Sprint("t", i)))
	}
	path := r.s.revoked.path
	whole, err := os.ReadFile(path)
	must(t, err)
	start := len(whole) - len(bytes.SplitAfter(whole, []byte("\n"))[3])
	for cut := start; cut < len(whole); cut++ {
		v, err := ReadRevoked(bytes.NewReader(whole[:cut]))
		must(t, err)
		if len(v.lines) != 2 || v.Damaged != 0 || v.size != int64(start) {
			t.Fatalf("cut after %d of %d: %+v", cut, len(whole), v)
		}
	}
	r.close()
	must(t, os.WriteFile(path, append(slices.Clone(whole[:start]), make([]byte, 300)...), 0o600))
	must(t, os.WriteFile(r.path, state, 0o600))
	r.open()
	r.is("with two whole lines", "t2")
	must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "t2"))
	if lines := r.lines(); len(lines) != 3 {
		t.Errorf("the lines are %q", lines)
	}
	r.close()
	damaged := slices.Clone(whole)
	damaged[start-12] ^= 1 // in the second line
	must(t, os.WriteFile(path, damaged, 0o600))
	must(t, os.WriteFile(r.path, state, 0o600))
	r.open()
	r.is("with a line that is damaged", "t1")
	if got := r.s.Revoked(); got.Damaged != 1 || got.Tokens != 2 {
		t.Errorf("the report is %+v", got)
	}
}

// A file that somebody has removed or replaced is made again with all its lines.
func TestARemovedFileComesBack(t *testing.T) {
	r := newRevoking(t)
	r.token("one", delivery.TokenOwner{User: "alice"})
	r.token("two", delivery.TokenOwner{User: "alice"})
	state := r.saved()
	must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "one"))
	must(t, os.Remove(r.s.revoked.path))
	must(t, os.Symlink("elsewhere", r.s.revoked.path))
	must(t, r.s.RevokeToken(t.Context(), delivery.TokenOwner{}, "two"))
	if info, err := os.Lstat(r.s.revoked.path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file is %v, %v", info, err)
	}
	r.put(state, true)
	r.is("after a restore")
}

// A long file is made shorter, and loses nothing that is needed.
func TestALongFileIsMadeShorter(t *testing.T) {
	now := storetest.NewClock().Now()
	v := &Revoked{Database: "D", Branch: "B"}
	for i := range revokedMost { // the later ones first, as copies may be merged
		v.lines = append(v.lines, store.Revocation{Kind: store.DeviceRemoved, At: now.AddDate(-2, 0, 0), Order: uint64(revokedMost - i), ID: fmt.Sprint("u/", i%100)})
	}
	v.shorten(now)
	if len(v.lines) != revokedMost {
		t.Errorf("%d lines are made %d", revokedMost, len(v.lines))
	}
	v.lines = append(v.lines, store.Revocation{Kind: store.TokenRevoked, At: now, ID: "new"})
	v.shorten(now)
	if len(v.lines) != 101 || v.lines[0].Order != revokedMost {
		t.Errorf("%d lines are left, from %v on", len(v.lines), v.lines[0])
	}
	for i := range 2 * revokedMost {
		v.lines = append(v.lines, store.Revocation{Kind: store.TokenRevoked, At: now.AddDate(0, 0, -i/40), ID: fmt.Sprint("t", i)})
	}
	v.shorten(now)
	for _, r := range v.lines {
		if now.Sub(r.At) > revokedKept {
			t.Fatalf("%v is left", r)
		}
	}
	if len(v.lines) < 400*40 {
		t.Errorf("%d lines are left", len(v.lines))
	}
}

// Whatever the file is, reading it ends, and what was read is written alike.
func FuzzRevoked(f *testing.F) {
	at := storetest.NewClock().Now()
	v := &Revoked{Database: "D", Branch: "B", Begins: 5, lines: []store.Revocation{
		{Kind: store.TokenRevoked, At: at, ID: "abc"},
		{Kind: store.DeviceRemoved, At: at, Order: 7, ID: "alice/phone"},
		{Kind: store.UserRemoved, At: at, Order: 8, ID: "alice"},
	}}
	f.Add(v.text())
	f.Add(v.Copy(at))
	f.Add(appendRevoked(v.text(), voidLine+" "+lineOf(v.lines[0])))
	f.Add(bytes.Repeat([]byte("x"), 5000))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ReadRevoked(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := ReadRevoked(bytes.NewReader(v.text()))
		if err != nil || again.Begins != v.Begins || len(again.lines) != len(v.lines) || again.Damaged != 0 {
			t.Errorf("%v: %d lines are %d", err, len(v.lines), len(again.lines))
		}
	})
}

package bolt_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

var historyPhone = delivery.DeviceID{User: "alice", Name: "phone"}

// waited returns a file of a store that is closed, in which Bob's Welcome waits for
// the second of three KeyPackages.
func waited(t *testing.T, clock delivery.Clock) (path string, refs []mls.KeyPackageRef) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "welcomed.db")
	s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock})
	must(t, err)
	signer := mlstest.NewSigner(1, "alice")
	for range 3 {
		kp, err := mls.ParseKeyPackage(signer.KeyPackage())
		must(t, err)
		_, err = s.Publish(t.Context(), delivery.Unauthenticated(), historyPhone, []delivery.NewKeyPackage{delivery.Publication(kp)})
		must(t, err)
		refs = append(refs, kp.Ref())
	}
	welcome, err := mls.ParseWelcome(mlstest.Welcome(1, refs[1]))
	must(t, err)
	_, err = s.Post(t.Context(), delivery.Caller{User: "bob"}, delivery.Posting{Welcome: welcome})
	must(t, err)
	must(t, s.Close())
	return path, refs
}

func TestAFileTellsWhatItsStoreWouldAndIsLeftAsItIs(t *testing.T) {
	clock := storetest.NewClock()
	path, refs := waited(t, clock)
	before := digestOfFile(t, path)
	clock.Advance(31 * 24 * time.Hour)
	opts := bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock}
	tell := func(from delivery.Histories) string {
		t.Helper()
		u, err := from.UserHistory(t.Context(), "alice", 10)
		must(t, err)
		d, err := from.DeviceHistory(t.Context(), historyPhone, 10)
		must(t, err)
		k, err := from.KeyPackageHistory(t.Context(), refs[1], 10)
		must(t, err)
		w, err := from.WelcomeHistory(t.Context(), k.Welcomes[0].ID, 10)
		must(t, err)
		w.Recipients[0].Device = nil
		return fmt.Sprint(u, d, k, w)
	}
	h, err := bolt.OpenHistory(path, opts)
	must(t, err)
	read := tell(h)
	if _, err := bolt.Open(path, opts); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("a server opened the file that is being read: %v", err)
	}
	must(t, h.Close())
	if digestOfFile(t, path) != before {
		t.Error("reading has changed the file")
	}
	s, err := bolt.Open(path, opts)
	must(t, err)
	defer s.Close()
	if served := tell(s); served != read {
		t.Errorf("the file tells\n%s\nand its store\n%s", read, served)
	}
	if !strings.Contains(read, " bob ") {
		t.Error("nothing is told of the poster")
	}
	if _, err := bolt.OpenHistory(path, opts); !errors.Is(err, bolt.ErrInUse) {
		t.Errorf("a file in use was read: %v", err)
	}
}

func TestAFileThatIsACopyIsNotTakenForItsOriginal(t *testing.T) {
	clock := storetest.NewClock()
	path, _ := waited(t, clock)
	must(t, bolt.MarkRestored(t.Context(), path))
	opts := bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock}
	h, err := bolt.OpenHistory(path, opts)
	must(t, err)
	at, err := h.RestoredAt(t.Context())
	must(t, err)
	if !h.Restored || !at.IsZero() {
		t.Errorf("a copy that was never opened: %v, %v", h.Restored, at)
	}
	must(t, h.Close())
	s, err := bolt.Open(path, opts)
	must(t, err)
	must(t, s.Close())
	h, err = bolt.OpenHistory(path, opts)
	must(t, err)
	defer h.Close()
	at, err = h.RestoredAt(t.Context())
	must(t, err)
	if h.Restored || !at.Equal(clock.Now()) {
		t.Errorf("a copy that was opened: %v, %v", h.Restored, at)
	}
}

func TestWhatCannotBeReadIsToldInASentence(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat("no database\n", 1000)), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
	path, _ := waited(t, storetest.NewClock())
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "cut"), whole[:3*4096], 0o600))
	for name, says := range map[string]string{"none": "there is no database", "empty": "is an empty file", "text": "corrupt", "cut": "corrupt"} {
		_, err := bolt.OpenHistory(filepath.Join(dir, name), bolt.Options{Limits: delivery.DefaultLimits()})
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
	}
}

func digestOfFile(t *testing.T, path string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return sha256.Sum256(b)
}

// A file of an older format can be read, and is not brought to this one by that.
func TestAFileOfFormat3IsReadAsItIs(t *testing.T) {
	path, _ := oldSample(t, 3)
	before := digestOfFile(t, path)
	h, err := bolt.OpenHistory(path, bolt.Options{Limits: delivery.DefaultLimits()})
	must(t, err)
	defer h.Close()
	u, err := h.UserHistory(t.Context(), "alice", 10)
	must(t, err)
	for _, d := range u.Devices {
		_, err := h.DeviceHistory(t.Context(), delivery.DeviceID{User: "alice", Name: d.Name}, 10)
		must(t, err)
	}
	if len(u.Devices) == 0 || digestOfFile(t, path) != before {
		t.Errorf("%d devices, changed: %v", len(u.Devices), digestOfFile(t, path) != before)
	}
}

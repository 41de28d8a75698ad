package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"context"

	"filippo.io/age"
)

// A copyist counts copies and says what they are of.
type copyist struct {
	made, failed atomic.Int64
	revoked      atomic.Int64 // how much there is to copy
}

func (c *copyist) ObserveRevokedCopy(_ string, err error) {
	if err != nil {
		c.failed.Add(1)
	} else {
		c.made.Add(1)
	}
}

// keeping runs a keeper of a directory while do changes things.
func keeping(t *testing.T, path string, to Recipients, do func(c *copyist, changed chan struct{}, log *bytes.Buffer)) {
	t.Helper()
	c, changed, log := &copyist{}, make(chan struct{}, 1), &bytes.Buffer{}
	k := &RevokedKeeper{
		Dir: ExistingDir(path), To: to, Changed: changed, Observer: c, Log: slog.New(slog.NewTextHandler(log, nil)),
		Copy: func() (string, []byte, error) {
			return RevokedName("DB", "EPOCH"), fmt.Appendf(nil, "%d revoked", c.revoked.Load()), nil
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	do(c, changed, log)
	stop()
	<-done
}

func (c *copyist) revoke(changed chan struct{}) {
	c.revoked.Add(1)
	select {
	case changed <- struct{}{}:
	default:
	}
}

func requireCopy(t *testing.T, path, when, want string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path, "welcomed-DB-EPOCH.revoked"))
	must(t, err)
	if string(b) != want {
		t.Errorf("%s the copy says %q, want %q", when, b, want)
	}
}

// A copy is made at the start, a second after a change however many there are, every
// quarter of an hour, and once more by a server that stops.
func TestWhatWasRevokedIsCopiedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir()
		keeping(t, path, nil, func(c *copyist, changed chan struct{}, _ *bytes.Buffer) {
			pass(1100 * time.Millisecond)
			requireCopy(t, path, "at the start", "0 revoked")
			for range 50 {
				c.revoke(changed)
				pass(10 * time.Millisecond)
			}
			pass(time.Second)
			requireCopy(t, path, "after a second", "50 revoked")
			if n := c.made.Load(); n > 3 {
				t.Errorf("%d copies were made of 50 revocations in half a second", n)
			}
			before := c.made.Load()
			pass(time.Hour)
			if n := c.made.Load() - before; n != 4 {
				t.Errorf("%d copies were made in an hour in which nothing was revoked", n)
			}
			c.revoke(changed)
		})
		requireCopy(t, path, "after a stop", "51 revoked")
	})
}

// A place that takes nothing is tried again at least every minute, and is said to.
func TestACopyThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "later")
		keeping(t, path, nil, func(c *copyist, changed chan struct{}, log *bytes.Buffer) {
			pass(10 * time.Minute)
			if n := c.failed.Load(); n < 10 || n > 20 || c.made.Load() != 0 || !strings.Contains(log.String(), "cannot copy the file of revocations") {
				t.Errorf("%d attempts in ten minutes, %d were good: %s", n, c.made.Load(), log)
			}
			must(t, os.Mkdir(path, 0o700))
			pass(time.Minute + time.Second)
			if c.made.Load() != 1 {
				t.Errorf("%d copies were made within a minute", c.made.Load())
			}
			requireCopy(t, path, "then", "0 revoked")
		})
	})
}

// Copies are encrypted as backups are, found by the database that they are of, and are
// no backups.
func TestCopiesAreFoundByTheirDatabase(t *testing.T) {
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	path := t.TempDir()
	dir, err := OpenDir(path)
	must(t, err)
	for _, of := range []struct {
		name string
		to   Recipients
	}{{RevokedName("MINE", "A"), nil}, {RevokedName("MINE", "B"), Recipients{identity.Recipient()}}, {RevokedName("OTHER", "A"), nil}} {
		must(t, PutRevoked(t.Context(), dir, of.name, []byte("of "+of.name), of.to))
	}
	must(t, os.WriteFile(filepath.Join(path, RevokedName("MINE", "C")+suffixPart), nil, 0o600)) // killed
	var got []string
	read := func(r io.Reader) error {
		b, err := io.ReadAll(r)
		got = append(got, string(b))
		return err
	}
	must(t, ReadRevoked(t.Context(), dir, "MINE", Identities{identity}, read))
	if fmt.Sprint(got) != "[of welcomed-MINE-A.revoked of welcomed-MINE-B.revoked]" {
		t.Errorf("found %q", got)
	}
	if got = nil; !errors.Is(ReadRevoked(t.Context(), dir, "MINE", nil, read), ErrEncrypted) || len(got) != 1 {
		t.Errorf("without the key: %q", got)
	}
	if all, err := dir.List(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("the backups are %v, %v", all, err)
	}
	_, err = OpenDir(path)
	must(t, err)
	if left, _ := filepath.Glob(filepath.Join(path, "*"+suffixPart)); len(left) > 0 {
		t.Errorf("left behind by a killed process: %v", left)
	}
	must(t, ReadRevoked(t.Context(), ExistingDir(filepath.Join(path, "none")), "MINE", nil, read))
}

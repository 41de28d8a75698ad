package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A rig is a schedule to a real directory, on a clock that the test owns.
type rig struct {
	t        *testing.T
	database string
	schedule *Schedule
	log      *strings.Builder

	mu      sync.Mutex
	jump    time.Duration // of the clock
	copyErr error
	copies  int
	kept    int
	failed  int
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, database: filepath.Join(t.TempDir(), "welcomed.db"), log: &strings.Builder{}}
	must(t, os.WriteFile(r.database, make([]byte, 8192), 0o600))
	dir, err := OpenDir(t.TempDir())
	must(t, err)
	r.schedule = &Schedule{
		Every: 6 * time.Hour, Keep: Retention{Newest: 100}, Dir: dir, Database: r.database,
		Copy: r.copy, Observer: r, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		Kept: func(context.Context) error { r.kept++; return nil },
		now:  func() time.Time { return time.Now().Add(r.jumped()) },
	}
	return r
}

func (r *rig) jumped() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.jump
}

func (r *rig) tries() (n int) {
	r.now(func() { n = r.copies })
	return n
}

func (r *rig) failures() (n int) {
	r.now(func() { n = r.failed })
	return n
}

// now changes or reads something while the schedule runs.
func (r *rig) now(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *rig) copy(context.Context) (*os.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.copies++
	if r.copyErr != nil {
		return nil, r.copyErr
	}
	return os.Open(r.database)
}

func (r *rig) ObserveScheduledBackup(string, int64, time.Duration) {}
func (r *rig) ObserveBackupFailure(string)                         { r.now(func() { r.failed++ }) }
func (r *rig) ObserveNewestBackup(string, time.Time)               {}

// names are those in the directory, in the order of time.
func (r *rig) names() (names []string) {
	r.t.Helper()
	all, err := r.schedule.Dir.List(r.t.Context())
	must(r.t, err)
	for _, b := range all {
		names = append(names, b.Name)
	}
	return names
}

// during runs the schedule while do waits, and stops it.
func (r *rig) during(do func()) {
	ctx, stop := context.WithCancel(r.t.Context())
	ended := make(chan struct{})
	r.schedule.keepers = nil
	go func() {
		defer close(ended)
		r.schedule.Run(ctx)
	}()
	do()
	stop()
	<-ended
}

// pass lets time pass.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) count(want int, when string) {
	r.t.Helper()
	if got := len(r.names()); got != want {
		r.t.Errorf("%s: %d backups, want %d\n%s", when, got, want, r.log)
	}
}

func TestTheFirstBackupIsMadeSoonAndTheNextByTheNewestThatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.during(func() {
			pass(settle + time.Second)
			r.count(1, "soon after the start")
			pass(5 * time.Hour)
			r.count(1, "before the next is due")
		})
		for range 3 { // restarts change nothing
			r.during(func() { pass(time.Minute) })
		}
		r.count(1, "after restarts")
		r.during(func() {
			pass(time.Hour + longestJitter)
			r.count(2, "when the next is due")
			pass(23 * time.Hour)
			r.count(5, "most of a day later")
		})
		pass(10 * 24 * time.Hour) // off
		r.during(func() {
			pass(settle + time.Second)
			r.count(6, "what was missed is made up for")
			pass(5 * time.Hour)
			r.count(6, "once")
		})
		if r.kept != 6 {
			t.Errorf("noted %d times, want 6", r.kept)
		}
	})
}

func TestAClockThatJumpsDoesNoHarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.schedule.Keep = Retention{Newest: 3}
		r.during(func() {
			pass(settle + time.Second)
			r.now(func() { r.jump = 365 * 24 * time.Hour })
			pass(2 * look)
			r.count(2, "after a jump ahead")
			future := r.names()[1]
			r.now(func() { r.jump = 0 })
			pass(2 * look)
			r.count(3, "after it was put right")
			pass(3 * 24 * time.Hour)
			r.count(4, "three of now, and the one of the future")
			if names := r.names(); names[3] != future {
				t.Errorf("the one of the future is gone: %v", names)
			}
			r.now(func() { r.jump = -50 * 365 * 24 * time.Hour })
			pass(2 * look)
			r.count(5, "a clock without a battery")
			pass(time.Hour)
			r.count(5, "and it is not made again and again")
		})
	})
}

func TestAFailureIsTriedAgainLaterAndLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.now(func() { r.copyErr = errors.New("no") })
		r.during(func() {
			pass(settle + time.Second)
			for _, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
				before := r.tries()
				pass(wait*time.Minute - 2*time.Second)
				if r.tries() != before {
					t.Errorf("tried again before %d minutes", wait)
				}
				pass(2 * time.Second)
				if r.tries() != before+1 {
					t.Errorf("tried %d times after %d minutes", r.tries()-before, wait)
				}
			}
			if said := strings.Count(r.log.String(), "backup failed"); said != r.failures() || said != r.tries() {
				t.Errorf("%d failures are said %d times and counted %d times", r.tries(), said, r.failures())
			}
			r.count(0, "while it fails")
			r.now(func() { r.copyErr = nil })
			pass(time.Hour + time.Second)
			r.count(1, "when it works again")
			pass(5 * time.Hour)
			r.count(1, "and as always then")
		})
	})
}

func TestABackupThatDoesNotFitIsNotBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		free, err := freeBytes(filepath.Dir(r.database))
		must(t, err)
		must(t, os.Truncate(r.database, free-reserve+1<<30)) // it has no blocks
		r.now(func() { r.copyErr = errors.New("a copy was begun") })
		r.during(func() { pass(settle + time.Second) })
		if !strings.Contains(r.log.String(), "too little room") || r.tries() != 0 {
			t.Errorf("%d copies were begun: %s", r.tries(), r.log)
		}
		database, err := os.Open(r.database)
		must(t, err)
		defer database.Close()
		ctx, stop := context.WithCancel(t.Context())
		stop() // so that it is not written if it is begun
		if _, err := r.schedule.Dir.write(ctx, time.Now(), database, nil); !errors.Is(err, ErrNoRoom) {
			t.Errorf("a copy that does not fit: %v", err)
		}
	})
}

func TestWhatNobodyWantsAnyMoreLeavesNothing(t *testing.T) {
	dir, err := OpenDir(t.TempDir())
	must(t, err)
	database, err := os.Create(filepath.Join(t.TempDir(), "welcomed.db"))
	must(t, err)
	defer database.Close()
	must(t, database.Truncate(1<<20))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := dir.write(ctx, time.Now(), database, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if left, _ := os.ReadDir(dir.path); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	must(t, os.WriteFile(filepath.Join(dir.path, newName(time.Now(), false)+suffixPart), nil, 0o600)) // killed
	must(t, os.WriteFile(filepath.Join(dir.path, "mine.part"), nil, 0o600))
	_, err = OpenDir(dir.path)
	must(t, err)
	if left, _ := os.ReadDir(dir.path); len(left) != 1 || left[0].Name() != "mine.part" {
		t.Errorf("left behind by a killed process: %v", left)
	}
}

func TestABackupIsTheDatabaseAndForItsOwnerOnly(t *testing.T) {
	dir, err := OpenDir(t.TempDir())
	must(t, err)
	content := strings.Repeat("a database ", 1e5)
	path := filepath.Join(t.TempDir(), "welcomed.db")
	must(t, os.WriteFile(path, []byte(content), 0o600))
	database, err := os.Open(path)
	must(t, err)
	defer database.Close()
	at := time.Date(2026, 11, 26, 2, 3, 4, 5, time.UTC)
	for i, want := range []string{"welcomed-20261126T020304Z.db.zst", "welcomed-20261126T020305Z.db.zst"} { // the clock was put back
		b, err := dir.write(t.Context(), at, database, nil)
		must(t, err)
		if b.Name != want {
			t.Errorf("backup %d is called %s", i, b.Name)
		}
		info, err := os.Stat(filepath.Join(dir.path, b.Name))
		must(t, err)
		if info.Mode().Perm() != 0o600 || info.Size() != b.Size || b.Size > int64(len(content)/10) {
			t.Errorf("%v, %d bytes", info.Mode(), info.Size())
		}
		r, _, err := dir.Open(t.Context(), b.Name)
		must(t, err)
		plain, err := Plain(r, nil)
		must(t, err)
		got, err := io.ReadAll(plain)
		must(t, err)
		if string(got) != content {
			t.Error("it is something else")
		}
		r.Close()
	}
}

func TestWhatMayGo(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var all []Backup
	for hours := 30 * 24; hours >= 0; hours -= 6 {
		all = append(all, Backup{At: now.Add(-time.Duration(hours) * time.Hour)})
	}
	future := Backup{Name: "future", At: now.Add(time.Hour)}
	for _, row := range []struct {
		keep Retention
		all  []Backup
		stay string // hours ago
	}{
		{Retention{Newest: 1}, all, "0"},
		{Retention{}, all, "0"}, // never none
		{Retention{Newest: 3}, all, "0 6 12"},
		{Retention{Newest: 3, Days: 3}, all, "0 6 12 18 42"},
		{Retention{Newest: 1, Days: 1}, all, "0"},
		{Retention{Newest: 5, Days: 3}, all[:3], "708 714 720"},
		{Retention{Newest: 1, Days: 2}, []Backup{all[0], all[1], all[60], all[61]}, "354 714"}, // days without one do not count
		{Retention{Newest: 1}, []Backup{all[0], future}, "-1 720"},
		{Retention{Newest: 1}, nil, ""},
	} {
		gone := map[time.Time]bool{}
		for _, b := range row.keep.expired(row.all, now) {
			gone[b.At] = true
		}
		var stay []string
		for i := len(row.all) - 1; i >= 0; i-- {
			if at := row.all[i].At; !gone[at] {
				stay = append(stay, fmt.Sprint(now.Sub(at).Hours()))
			}
		}
		if got := strings.Join(stay, " "); got != row.stay {
			t.Errorf("%+v of %d: %s stay, want %s", row.keep, len(row.all), got, row.stay)
		}
	}
}

func TestOnlyItsOwnNamesAreSeen(t *testing.T) {
	dir, err := OpenDir(t.TempDir())
	must(t, err)
	for _, name := range []string{"welcomed.db", "welcomed-20261126T020304Z.db.part", "welcomed-2026.db", "welcomed-20261126T020304Z.db.bak",
		"my-welcomed-20261126T020304Z.db", "welcomed-20261126T020304Z", "welcomed-20261126T020304Z.db.age.zst"} {
		must(t, os.WriteFile(filepath.Join(dir.path, name), nil, 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir.path, "welcomed-20261126T020304Z.db"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir.path, "welcomed-20261126T020305Z.db"), nil, 0o600))
	must(t, os.WriteFile(filepath.Join(dir.path, "welcomed-20251126T020305Z.db.zst.age"), nil, 0o600))
	all, err := dir.List(t.Context())
	must(t, err)
	if len(all) != 2 || all[0].Name != "welcomed-20251126T020305Z.db.zst.age" || all[1].Name != "welcomed-20261126T020305Z.db" {
		t.Errorf("%+v", all)
	}
}

//go:build linux && (amd64 || arm64)

package disk_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/trials/disk"
)

// every is how many operations apart faults are; make disk-test leaves out none.
var every = flag.Int("every", 29, "break only every `N`th operation")

func TestMain(m *testing.M) {
	disk.Serve()
	flag.Parse()
	os.Exit(m.Run())
}

// mount mounts an empty disk, or skips the test.
func mount(t *testing.T) *disk.Disk {
	t.Helper()
	d, err := disk.Mount(t.TempDir())
	if err != nil {
		t.Skipf("a file system cannot be served with FUSE here: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d
}

const fileName = "welcomed.db"

// A run is a store on a disk with the workload.
type run struct {
	clock *storetest.Clock
	plays []*play
	opts  bolt.Options
	marks []mark // what was acknowledged when
	ops   func() int
}

// A mark is a step that was acknowledged, and the operations before it.
type mark struct {
	play *play
	ops  int
}

// maxSize has the file grow in small steps.
const maxSize = 8 << 20

func newRun(ops func() int) *run {
	clock := storetest.NewClock()
	return &run{clock: clock, plays: newPlays(), ops: ops,
		opts: bolt.Options{Limits: delivery.DefaultLimits(), Clock: clock, TrustClock: true, LogSize: 1, MaxSize: maxSize}}
}

// workload lets all plays take their steps, those of a round at the same time,
// while the time passes. It ends early when the store does.
func (r *run) workload(store delivery.Store) error {
	var mu sync.Mutex
	for round := range 10 {
		var together sync.WaitGroup
		for _, p := range r.plays {
			p.store = store
			step := func() {
				before := p.done
				p.next()
				if p.done != before && r.ops != nil {
					mu.Lock()
					defer mu.Unlock()
					r.marks = append(r.marks, mark{p, r.ops()})
				}
			}
			if round%2 == 0 {
				together.Go(step)
			} else {
				step()
			}
		}
		together.Wait()
		r.clock.Advance(2 * time.Hour)
		if _, err := store.Sweep(context.Background()); err != nil && !answered(err) {
			return fmt.Errorf("sweep: %w", err)
		}
		if failed(store) {
			break
		}
	}
	for _, p := range r.plays {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

func answered(err error) bool {
	return errors.Is(err, delivery.ErrFull) || errors.Is(err, delivery.ErrOutcomeUnknown)
}

func failed(store delivery.Store) bool {
	select {
	case <-store.Failed():
		return true
	default:
		return false
	}
}

// A remnant is what is left of the store's files.
type remnant struct{ file, revoked []byte }

// leave asks for each of the files what is left of it.
func leave(of func(name string) []byte) remnant {
	return remnant{of(fileName), of(fileName + bolt.RevokedSuffix)}
}

// check opens what was left and compares it with what was acknowledged.
func (r *run) check(t *testing.T, left remnant) error {
	path := filepath.Join(shared(t), fileName)
	defer os.Remove(path)
	_, _ = os.Remove(path), os.Remove(path+bolt.RevokedSuffix)
	for name, b := range map[string][]byte{path: left.file, path + bolt.RevokedSuffix: left.revoked} {
		if b == nil {
			continue
		}
		if err := os.WriteFile(name, b, 0o600); err != nil {
			return err
		}
	}
	return r.checkFile(path)
}

func (r *run) checkFile(path string) error {
	clock := storetest.NewClock()
	clock.Advance(r.clock.Elapsed())
	opts := r.opts
	opts.Clock = clock
	store, err := bolt.Open(path, opts)
	if err != nil {
		return fmt.Errorf("open what was left: %w", err)
	}
	defer store.Close()
	for _, p := range r.plays {
		p.store = store
		if err := p.check(); err != nil {
			return err
		}
	}
	if err := checkTakers(store, r.plays); err != nil {
		return err
	}
	if err := forget(store, clock.Advance); err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	return checkPages(path)
}

// checkPages has bbolt go through all pages of a file.
func checkPages(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		var errs []error
		for err := range tx.Check() {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// shared is a directory in memory, where syncs cost nothing.
func shared(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "welcomed-"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onDisk runs the workload on the disk with a fault and returns what it did.
func onDisk(t *testing.T, d *disk.Disk, fault disk.Fault) (r *run, ops []disk.Op, hasFailed bool, err error) {
	t.Helper()
	path := filepath.Join(d.Dir, fileName)
	must(t, d.Mend()) // a store that did not open has left it broken
	for _, old := range []string{path, path + ".new.part", path + bolt.RevokedSuffix} {
		if err := os.Remove(old); !errors.Is(err, fs.ErrNotExist) {
			must(t, err)
		}
	}
	must(t, d.Break(fault))
	r = newRun(func() int { n, err := d.Ops(); must(t, err); return n })
	store, err := bolt.Open(path, r.opts)
	if err != nil {
		if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), path) {
			return r, nil, true, fmt.Errorf("Open says %q, want one line with the path", err)
		}
		ops, err = d.Journal()
		return r, ops, fault.Failure == disk.Dies || fault.Failure == disk.ErrorOnce, err
	}
	err = r.workload(store)
	hasFailed = failed(store)
	must(t, d.Mend())
	closeErr := store.Close()
	switch {
	case err != nil:
	case hasFailed && (!errors.Is(closeErr, delivery.ErrOutcomeUnknown) || strings.Contains(closeErr.Error(), "\n")):
		err = fmt.Errorf("a store that failed says %v when it is closed", closeErr)
	case !hasFailed && closeErr != nil:
		err = fmt.Errorf("close: %w", closeErr)
	}
	must(t, err)
	ops, err = d.Journal()
	return r, ops, hasFailed, err
}

func replay(ops []disk.Op, random *rand.Rand) *disk.Platter {
	p := disk.NewPlatter(random)
	for _, op := range ops {
		p.Apply(op)
	}
	return p
}

func TestTheWorkloadOnADiskThatWorks(t *testing.T) {
	d := mount(t)
	r, ops, _, err := onDisk(t, d, disk.Fault{})
	must(t, err)
	kinds := map[disk.Kind]int{}
	for _, op := range ops {
		kinds[op.Kind]++
	}
	t.Logf("%d operations: %v", len(ops), kinds)
	for _, p := range r.plays {
		if p.done != len(p.steps) {
			t.Errorf("%s: only %d steps", p.name, p.done)
		}
	}
	must(t, r.check(t, leave(replay(ops, rand.New(rand.NewPCG(1, 1))).Seen)))
}

// Each fault at each operation: what was acknowledged is there afterwards, on the
// disk as the program left it and after a power cut.
func TestWhateverFailsNothingAcknowledgedIsLost(t *testing.T) {
	d := mount(t)
	_, clean, _, err := onDisk(t, d, disk.Fault{})
	must(t, err)
	random := rand.New(rand.NewPCG(1, uint64(*every)))
	for _, failure := range disk.Failures {
		t.Run(strings.ReplaceAll(failure.String(), " ", "-"), func(t *testing.T) {
			faults, stopped, full := 0, 0, 0
			for at := 1 + random.IntN(*every); at <= len(clean); at += *every {
				fault := disk.Fault{Failure: failure, At: at}
				r, ops, hasFailed, err := onDisk(t, d, fault)
				if err == nil {
					err = r.survives(t, ops, random)
				}
				if err == nil && at <= len(ops) {
					err = reaction(failure, ops[at-1:], hasFailed)
				}
				if err != nil {
					t.Errorf("%s at operation %d of %d (%s): %v", failure, at, len(ops), opAt(ops, at), err)
				}
				faults++
				if hasFailed {
					stopped++
				}
				full += r.unfinished()
			}
			t.Logf("%d faults of %d operations injected: the store stopped %d times; %d plays had to wait for the restart", faults, len(clean), stopped, full)
		})
	}
}

func opAt(ops []disk.Op, at int) string {
	if at > len(ops) {
		return "none"
	}
	return ops[at-1].Kind.String()
}

// reaction judges whether the store had to stop. It may where a meta page was
// refused: FUSE shows in the memory that is mapped what was not written.
func reaction(failure disk.Failure, ops []disk.Op, hasFailed bool) error {
	switch failure {
	case disk.NoSpace, disk.Full:
		refusedMeta := slices.ContainsFunc(ops, func(op disk.Op) bool {
			return op.Kind == disk.Write && op.Err != 0 && op.Off < 2*4096
		})
		if hasFailed && !refusedMeta {
			return errors.New("it stopped because there is no space")
		}
	case disk.Dies, disk.ErrorOnce:
		if !hasFailed {
			return fmt.Errorf("it went on after an I/O error of a %s", ops[0].Kind)
		}
	}
	return nil
}

func (r *run) unfinished() (n int) {
	for _, p := range r.plays {
		if p.done < len(p.steps) {
			n++
		}
	}
	return n
}

// survives checks what is on the disk, and what may be there after a power cut.
func (r *run) survives(t *testing.T, ops []disk.Op, random *rand.Rand) error {
	platter := replay(ops, random)
	original := r.plays
	for i, left := range []remnant{leave(platter.Seen), leave(platter.PowerCut), leave(platter.PowerCut)} {
		r.plays = nil
		for _, p := range original {
			q := *p
			q.given = append([]bool(nil), p.given...)
			r.plays = append(r.plays, &q)
		}
		if err := r.check(t, left); err != nil {
			return fmt.Errorf("%s: %w", [...]string{"as it was left", "after a power cut", "after another"}[i], err)
		}
	}
	r.plays = original
	return nil
}

// A power cut after each operation of a run, and several times what it may leave.
func TestAPowerCutLosesNothingAcknowledged(t *testing.T) {
	d := mount(t)
	r, ops, _, err := onDisk(t, d, disk.Fault{})
	must(t, err)
	random := rand.New(rand.NewPCG(2, uint64(*every)))
	platter, plays, cuts := disk.NewPlatter(random), r.plays, 0
	for i, op := range ops {
		platter.Apply(op)
		if i%max(1, *every/7) != 0 {
			continue
		}
		for range max(1, 7 / *every) {
			r.plays = nil
			for _, p := range plays {
				r.plays = append(r.plays, p.at(r.doneAt(p, i+1)))
			}
			cuts++
			if err := r.check(t, leave(platter.PowerCut)); err != nil {
				t.Errorf("a power cut after operation %d of %d (%s): %v", i+1, len(ops), op.Kind, err)
			}
		}
	}
	t.Logf("%d power cuts in a run of %d operations", cuts, len(ops))
}

// doneAt returns how many steps of p were acknowledged before ops operations.
func (r *run) doneAt(p *play, ops int) (n int) {
	for _, m := range r.marks {
		if m.play == p && m.ops <= ops {
			n++
		}
	}
	return n
}

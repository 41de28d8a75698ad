//go:build linux && (amd64 || arm64)

package disk_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"welcomed/trials/harness"
)

// A small is a file system that is soon full.
type small struct {
	name  string
	mount func(t *testing.T, dir string) error
}

var smalls = []small{
	{"tmpfs", func(t *testing.T, dir string) error {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
			return err
		}
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		return nil
	}},
	{"ext4", func(t *testing.T, dir string) error {
		image := filepath.Join(shared(t), "ext4")
		if err := os.WriteFile(image, nil, 0o600); err != nil {
			return err
		}
		return errors.Join(os.Truncate(image, 64<<20), command("mkfs.ext4", "-q", image), mountImage(t, image, dir))
	}},
}

func mountImage(t *testing.T, image, dir string) error {
	t.Cleanup(func() { _ = command("umount", dir) })
	return command("mount", "-o", "loop", image, dir)
}

func command(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return errors.New(name + ": " + err.Error() + ": " + strings.TrimSpace(string(out)))
	}
	return nil
}

// On a disk that is full to the last block, listing, claiming, acknowledging and
// sweeping go on and make room; then, and when the disk has room again, there is
// room for payload without a restart.
func TestTheProgramOnAFullDisk(t *testing.T) {
	for _, fs := range smalls {
		t.Run(fs.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := fs.mount(t, dir); err != nil {
				t.Skipf("a small file system cannot be mounted here: %v", err)
			}
			s := start(t, filepath.Join(dir, fileName))
			errands := fillUp(t, s)
			takeTheRest(t, dir)
			makeRoom(t, s, errands)
			must(t, os.Remove(filepath.Join(dir, "ballast")))
			accepted(t, s, "with room on the disk again")
			stop(t, s)
		})
	}
}

// The same for --max-size, on a disk that has room.
func TestTheProgramAtItsSizeLimit(t *testing.T) {
	s := start(t, filepath.Join(shared(t), fileName), "--max-size", "64MiB")
	errands := fillUp(t, s)
	makeRoom(t, s, errands)
	stop(t, s)
}

// fillUp publishes and posts until both are refused, and returns those who wait
// for their Welcome.
func fillUp(t *testing.T, s *harness.Server) (waiting []*errand) {
	t.Helper()
	for len(waiting) < 2000 {
		refused := 0
		for _, e := range newErrands(10, 30<<10, 200<<10) {
			for e.done < 2 {
				status := e.next(s)
				if status == http.StatusInsufficientStorage {
					refused++
					break
				}
				if e.unknown || status < 200 {
					t.Fatalf("step %d is answered %d", e.done, status)
				}
			}
			if e.done == 2 {
				waiting = append(waiting, e)
			}
		}
		if refused == 10 {
			t.Logf("full after %d Welcomes", len(waiting))
			return waiting
		}
	}
	t.Fatal("never full")
	return nil
}

// takeTheRest fills the disk with something else.
func takeTheRest(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	must(t, err)
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			size /= 2
		}
	}
}

// makeRoom has all claim and acknowledge what waits, most of them at the same
// time, and expects that payload is then taken again.
func makeRoom(t *testing.T, s *harness.Server, waiting []*errand) {
	t.Helper()
	if a := ask(s, "GET", harness.ListPath(waiting[0].device().User), nil); !a.Good() {
		t.Errorf("listing is answered %d %s", a.Status, a.Body)
	}
	for _, e := range newErrands(1, 30<<10, 0) {
		if status := e.next(s); status != http.StatusInsufficientStorage {
			t.Errorf("publishing is answered %d on a full disk", status)
		}
	}
	queue := make(chan *errand, len(waiting))
	for _, e := range waiting {
		queue <- e
	}
	close(queue)
	var together sync.WaitGroup
	for range 8 {
		together.Go(func() {
			for e := range queue {
				for e.done < len(errandSteps) {
					if status := e.next(s); status < 200 || status >= 300 {
						t.Errorf("step %d is answered %d on a full disk", e.done, status)
						return
					}
				}
			}
		})
	}
	together.Wait()
	accepted(t, s, "after all claimed and acknowledged")
}

// accepted waits until a KeyPackage is taken: the payload of what has ended goes
// with the next sweep.
func accepted(t *testing.T, s *harness.Server, when string) {
	t.Helper()
	for range 200 {
		if newErrands(1, 30<<10, 0)[0].next(s) == http.StatusCreated {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s publishing is still refused", when)
}

// A file that cannot be written is refused in one sentence.
func TestTheProgramOnAReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	if err := smalls[0].mount(t, dir); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	path := filepath.Join(dir, fileName)
	stop(t, start(t, path))
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	s := start(t, path)
	if !stop(t, s) || !strings.Contains(s.Log.LastLine(), "mounted read-only") {
		t.Errorf("it says %q", s.Log.LastLine())
	}
}

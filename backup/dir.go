package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"welcomed/safefile"
)

// reserve is how many bytes a backup leaves free on a disk: the database may live
// on it.
const reserve = 64 << 20

// A Dir is a directory with backups.
type Dir struct {
	path string
}

// OpenDir sees whether a file can be made in a directory. What an earlier process had
// begun is removed. The directory is not made: its disk may only not be mounted.
func OpenDir(path string) (*Dir, error) {
	d := &Dir{path}
	if err := d.removeParts(); err != nil {
		return nil, err
	}
	probe := filepath.Join(path, namePrefix+"writable"+suffixPart)
	f, err := safefile.Create(probe, safefile.Private)
	if err != nil {
		return nil, err
	}
	err = os.Remove(probe)
	if errors.Is(err, fs.ErrNotExist) { // another process has tried the same
		err = nil
	}
	return d, errors.Join(err, f.Close())
}

// ExistingDir is one whose backups are only read.
func ExistingDir(path string) *Dir { return &Dir{path} }

func (d *Dir) String() string { return d.path }

func (d *Dir) removeParts() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name, part := strings.CutSuffix(e.Name(), suffixPart)
		_, ours := parseName(name)
		if ours = ours || isCopy(name); part && ours {
			if err := os.Remove(filepath.Join(d.path, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// List implements Place.
func (d *Dir) List(context.Context) ([]Backup, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var all []Backup
	for _, e := range entries {
		at, ours := parseName(e.Name())
		if !ours || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // somebody has just removed it
		}
		if err != nil {
			return nil, err
		}
		all = append(all, Backup{e.Name(), at, info.Size()})
	}
	sortByTime(all)
	return all, nil
}

// Open implements Place.
func (d *Dir) Open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// Remove implements Place.
func (d *Dir) Remove(_ context.Context, name string) error {
	err := os.Remove(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w", ErrKept, err)
	}
	return err
}

// write makes a backup of a sound database. When it returns nil the backup is on
// the disk under its name, and has been read from there; else nothing is left.
func (d *Dir) write(ctx context.Context, at time.Time, database *os.File, to Recipients) (_ Backup, err error) {
	b, err := d.free(at, len(to) > 0)
	if err != nil {
		return Backup{}, err
	}
	b.Size, err = WriteFile(ctx, filepath.Join(d.path, b.Name), database, to)
	return b, err
}

// free returns a backup under a name that nothing has: a clock that was put back
// may give one twice.
func (d *Dir) free(at time.Time, encrypted bool) (Backup, error) {
	for at = at.UTC().Truncate(time.Second); ; at = at.Add(time.Second) {
		name := newName(at, encrypted)
		switch _, err := os.Lstat(filepath.Join(d.path, name)); {
		case errors.Is(err, fs.ErrNotExist):
			return Backup{Name: name, At: at}, nil
		case err != nil:
			return Backup{}, err
		}
	}
}

// roomBeside refuses a backup of database at path for which there is no room.
func roomBeside(path string, database *os.File) error {
	info, err := database.Stat()
	if err != nil {
		return err
	}
	return roomFor(filepath.Dir(path), info.Size())
}

// roomFor refuses what would not leave the reserve free.
func roomFor(dir string, size int64) error {
	free, err := freeBytes(dir)
	if err != nil || free >= size+reserve {
		return err
	}
	return fmt.Errorf("%w: %s has %d MiB free, and %d MiB are wanted for the backup and %d MiB to stay free",
		ErrNoRoom, dir, free>>20, (size+1<<20-1)>>20, reserve>>20)
}

// seal fills f with a backup, durably, and compares what is on the disk then with
// the database, or where only others can read it with what was written. It returns
// how long f is.
func seal(ctx context.Context, f, database *os.File, to Recipients) (size int64, err error) {
	plain, sealed := sha256.New(), sha256.New()
	w, err := Compress(io.MultiWriter(f, sealed), to)
	if err != nil {
		return 0, err
	}
	if _, err := database.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.MultiWriter(w, plain), whileWanted{ctx, database})
	if err := errors.Join(err, w.Close()); err != nil {
		return 0, plainly(err)
	}
	if err := f.Sync(); err != nil {
		return 0, plainly(err)
	}
	forget(f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	want, read := plain, io.ReadCloser(f)
	if len(to) > 0 {
		want = sealed
	} else if read, err = Plain(f, nil); err != nil {
		return 0, err
	}
	got := sha256.New()
	if _, err := io.Copy(got, whileWanted{ctx, read}); err != nil {
		return 0, fmt.Errorf("read the backup again: %w", err)
	}
	if !bytes.Equal(got.Sum(nil), want.Sum(nil)) {
		return 0, errors.New("the disk returns something else than was written to it")
	}
	return f.Seek(0, io.SeekEnd)
}

// whileWanted is a reader that fails when nobody wants the result any more.
type whileWanted struct {
	ctx  context.Context
	from io.Reader
}

func (w whileWanted) Read(b []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.from.Read(b)
}

// plainly says of a full disk that it is one.
func plainly(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: the disk is full: %w", ErrNoRoom, err)
	}
	return err
}

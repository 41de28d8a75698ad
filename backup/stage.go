package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"time"

	"welcomed/safefile"
)

const stagedSuffix = ".backup" + safefile.PartSuffix

// A Staged is a backup in a file that is on its way to another place.
type Staged struct {
	*os.File
	Backup
}

// Name is what the backup is to be called.
func (s *Staged) Name() string { return s.Backup.Name }

// Stage writes a backup of a sound database into a file beside path, reads it
// again and takes its name away: it is gone when it is closed.
func Stage(ctx context.Context, path string, at time.Time, database *os.File, to Recipients) (*Staged, error) {
	if err := roomBeside(path, database); err != nil {
		return nil, err
	}
	name := path + stagedSuffix
	f, err := safefile.Create(name, safefile.Private)
	if err != nil {
		return nil, err
	}
	defer os.Remove(name)
	size, err := seal(ctx, f, database, to)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	at = at.UTC().Truncate(time.Second)
	return &Staged{f, Backup{newName(at, len(to) > 0), at, size}}, nil
}

// WriteFile writes a backup of a sound database: it is there whole or not at all,
// on the disk and read from there when WriteFile returns.
func WriteFile(ctx context.Context, path string, database *os.File, to Recipients) (size int64, err error) {
	if err := roomBeside(path, database); err != nil {
		return 0, err
	}
	err = safefile.Write(path, safefile.Private, func(part *os.File) error {
		size, err = seal(ctx, part, database, to)
		return err
	})
	return size, err
}

// Upload puts a staged backup into the bucket, and tells sent how many more bytes
// of it are on their way.
func (b *Bucket) Upload(ctx context.Context, s *Staged, sent func(int64)) error {
	sum := sha256.New()
	if _, err := io.Copy(sum, whileWanted{ctx, s.File}); err != nil {
		return err
	}
	if _, err := s.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return b.put(ctx, s.Backup, told{s.File, sent}, sum.Sum(nil))
}

// A told reader tells what is read of it.
type told struct {
	io.Reader
	read func(int64)
}

func (t told) Read(b []byte) (int, error) {
	n, err := t.Reader.Read(b)
	t.read(int64(n))
	return n, err
}

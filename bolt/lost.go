package bolt

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"go.etcd.io/bbolt"

	"welcomed/progress"
	"welcomed/safefile"
	"welcomed/store"
)

// Some disks report that data is written before it is. After a power cut such a disk may have
// the meta page of the last commit, but not all of its other pages: in their place are zeros,
// or old content, which may be pages of an older state. The other meta page still has the state
// before that commit. The commit has not touched the pages of that state.

// keyCommit is the number of the last transaction(8), and the number of the piece behind the
// last one of the log(8). Every commit writes it, so it lies on a page of that commit. A file
// of format 4 has none.
var keyCommit = []byte("commit")

// errLostCommit: the last commit is not on the disk as a whole.
var errLostCommit = errors.New("the last commit is not on the disk as a whole, as after a power cut with a disk that says too early that it has written")

func encodeCommit(tx *bbolt.Tx, next uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(tx.ID())), next)
}

// numberCommit writes keyCommit in a transaction that does not change the log.
func numberCommit(tx *bbolt.Tx) error {
	meta := tx.Bucket(bucketMeta.name)
	if row := meta.Get(keyCommit); len(row) == 16 {
		return meta.Put(keyCommit, encodeCommit(tx, readU64(row[8:])))
	}
	return nil
}

// change changes rows of the meta bucket in a file that is not served.
func change(tx *bbolt.Tx, fn func(store.Rows)) error {
	err := store.Recovering(func() error { fn(&fileRows{tx: tx}); return nil })
	return errors.Join(err, numberCommit(tx))
}

// wholeCommit returns errLostCommit if the transaction that was found is not the one that the
// meta page names.
func wholeCommit(tx *bbolt.Tx) error {
	row := tx.Bucket(bucketMeta.name).Get(keyCommit)
	if len(row) == 16 && readU64(row) != uint64(tx.ID()) {
		return errLostCommit
	}
	return nil
}

// wholeLog reports whether the log ends with the last commit.
func wholeLog(tx *bbolt.Tx, log *changeLog) bool {
	row := tx.Bucket(bucketMeta.name).Get(keyCommit)
	return len(row) != 16 || readU64(row[8:]) == log.next()
}

// soundBehind reports whether the file at path has all pages of the state before the last
// commit.
func soundBehind(path string) bool {
	_, err := treeOf(path, nil, true)
	return err == nil
}

// stepBack replaces the file at path by the state before its last commit, as a restored backup.
// It returns the name that the old file has now. It checks that state first; if it is not
// sound, nothing changes.
func stepBack(ctx context.Context, path string, p *progress.Progress) (kept string, err error) {
	if !soundBehind(path) {
		return "", fmt.Errorf("%w, and nor is the state before it", errLostCommit)
	}
	part := path + ".before" + safefile.PartSuffix
	defer os.Remove(part)
	if err := copyBehind(path, part); err != nil {
		return "", fmt.Errorf("a copy could not be kept, and nothing was changed: %w", full(err))
	}
	if err := MarkRestored(ctx, part); err != nil {
		return "", fmt.Errorf("the state before the last commit: %w", err)
	}
	if kept, err = freeName(path + ".before-repair"); err != nil {
		return "", err
	}
	if err := os.Link(path, kept); err != nil { // a file system on which a file has one name
		if err := safefile.Rename(path, kept); err != nil {
			return "", err
		}
	}
	return kept, safefile.Rename(part, path)
}

// copyBehind copies the file without the meta page of its last commit.
func copyBehind(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	newest, _, err := newestMeta(source)
	if err != nil {
		return err
	}
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := safefile.Create(to, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if err == nil {
		// It stays a meta page, and its checksum is wrong.
		_, err = target.WriteAt(make([]byte, metaSize-metaChecksum), int64(newest)*pageSize+metaHeader+metaChecksum)
	}
	return errors.Join(err, target.Sync(), target.Close())
}

// freeName returns path, or path with a number behind it if a file has that name.
func freeName(path string) (string, error) {
	for name, n := path, 2; ; name, n = fmt.Sprintf("%s.%d", path, n), n+1 {
		if _, err := os.Lstat(name); errors.Is(err, os.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

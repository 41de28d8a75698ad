package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"

	"welcomed/safefile"
)

// What was revoked in a database lies beside its backups, under a name of its own after
// each restore: what a server writes down then does not replace what the one before it
// had.
const suffixRevoked = ".revoked"

// RevokedName is what the copy is called that a branch of a database has.
func RevokedName(database, branch string) string {
	return namePrefix + database + "-" + branch + suffixRevoked
}

// isRevoked reports whether it is a name of a copy of any branch of the database.
func isRevoked(name, database string) bool {
	rest, ours := strings.CutPrefix(name, namePrefix+database+"-")
	rest = strings.TrimSuffix(rest, suffixEncrypted)
	return ours && database != "" && strings.HasSuffix(rest, suffixRevoked)
}

// isCopy reports whether it is such a name of any database.
func isCopy(name string) bool {
	name = strings.TrimSuffix(name, suffixEncrypted)
	return strings.HasPrefix(name, namePrefix) && strings.HasSuffix(name, suffixRevoked)
}

// A RevokedPlace also keeps what was revoked.
type RevokedPlace interface {
	Place

	// ListRevoked returns the names of what is there of a database.
	ListRevoked(ctx context.Context, database string) ([]string, error)
	// putRevoked puts it there, in the place of what has that name.
	putRevoked(ctx context.Context, name string, text []byte) error
}

var _, _ RevokedPlace = (*Dir)(nil), (*Bucket)(nil)

// ListRevoked implements RevokedPlace.
func (d *Dir) ListRevoked(_ context.Context, database string) (names []string, err error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if isRevoked(e.Name(), database) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (d *Dir) putRevoked(_ context.Context, name string, text []byte) error {
	return plainly(safefile.Write(filepath.Join(d.path, name), safefile.Private, func(part *os.File) error {
		_, err := part.Write(text)
		return err
	}))
}

// ListRevoked implements RevokedPlace.
func (b *Bucket) ListRevoked(ctx context.Context, database string) (names []string, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for o := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + namePrefix + database + "-"}) {
		if o.Err != nil {
			return nil, b.explain("list", o.Err)
		}
		if name := strings.TrimPrefix(o.Key, b.prefix); isRevoked(name, database) {
			names = append(names, name)
		}
	}
	return names, ctx.Err()
}

func (b *Bucket) putRevoked(ctx context.Context, name string, text []byte) error {
	sum := sha256.Sum256(text)
	_, err := b.client.PutObject(ctx, b.bucket, b.prefix+name, bytes.NewReader(text), int64(len(text)), minio.PutObjectOptions{
		ContentType:    "application/octet-stream",
		SendContentMd5: true,
		UserMetadata:   map[string]string{sumKey: hex.EncodeToString(sum[:])},
	})
	if err != nil {
		return b.explain("write to", err)
	}
	return nil
}

// PutRevoked puts what was revoked into a place, encrypted as its backups are.
func PutRevoked(ctx context.Context, place RevokedPlace, name string, text []byte, to Recipients) error {
	if len(to) > 0 {
		var sealed bytes.Buffer
		w, err := Encrypt(&sealed, to)
		if err == nil {
			_, err = w.Write(text)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return err
		}
		name, text = name+suffixEncrypted, sealed.Bytes()
	}
	return place.putRevoked(ctx, name, text)
}

// ReadRevoked has read look at each of the copies that a place has of a database. The
// error is of all that could not be read.
func ReadRevoked(ctx context.Context, place RevokedPlace, database string, with Identities, read func(io.Reader) error) error {
	names, err := place.ListRevoked(ctx, database)
	errs := []error{err}
	for _, name := range names {
		errs = append(errs, readCopy(ctx, place, name, with, read))
	}
	return errors.Join(errs...)
}

func readCopy(ctx context.Context, place RevokedPlace, name string, with Identities, read func(io.Reader) error) error {
	source, _, err := place.Open(ctx, name)
	if err != nil {
		return err
	}
	defer source.Close()
	plain, err := Plain(source, with)
	if err == nil {
		defer plain.Close()
		err = read(plain)
	}
	if err != nil {
		return fmt.Errorf("%s/%s: %w", place, name, err)
	}
	return nil
}

const (
	// gather is how long a copy waits for more to be revoked.
	gather = time.Second
	// refresh is how often a copy is made although nothing was revoked: it says until
	// when it knows everything.
	refresh = 15 * time.Minute
	// A failure is tried again after firstRevokedRetry, and then after twice as long, but
	// not longer than lastRevokedRetry.
	firstRevokedRetry = 2 * time.Second
	lastRevokedRetry  = time.Minute
	// lastCopy is how long a server that stops waits for a copy that it owes.
	lastCopy = 2 * time.Second
)

// A RevokedObserver is told of each attempt to make a copy.
type RevokedObserver interface {
	ObserveRevokedCopy(to string, err error)
}

// A RevokedKeeper keeps copies of what was revoked beside the backups. Whoever revokes
// something does not wait for it.
type RevokedKeeper struct {
	Dir    *Dir    // may be nil
	Bucket *Bucket // may be nil
	To     Recipients
	// Copy returns what is known now, and what that is called.
	Copy func() (name string, text []byte, err error)
	// Changed gets a value after something was revoked.
	Changed  <-chan struct{}
	Observer RevokedObserver
	Log      *slog.Logger
}

// Run keeps copies until ctx is done.
func (k *RevokedKeeper) Run(ctx context.Context) {
	places := map[Kind]RevokedPlace{}
	if k.Dir != nil {
		places[ToDirectory] = k.Dir
	}
	if k.Bucket != nil {
		places[ToS3] = k.Bucket
	}
	var running sync.WaitGroup
	var changed []chan struct{}
	ended := make(chan struct{})
	for kind, place := range places {
		one := make(chan struct{}, 1)
		one <- struct{}{} // at the start
		changed = append(changed, one)
		running.Go(func() { k.keep(ctx, kind, place, one, ended) })
	}
	tell := func() {
		for _, one := range changed {
			select {
			case one <- struct{}{}:
			default:
			}
		}
	}
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-k.Changed:
			tell()
		}
	}
	select {
	case <-k.Changed:
		tell()
	default:
	}
	close(ended)
	running.Wait()
}

// keep makes the copies of a place until it has ended.
func (k *RevokedKeeper) keep(ctx context.Context, kind Kind, place RevokedPlace, changed, ended <-chan struct{}) {
	owed, failures := false, 0
	for wait := refresh; ; {
		select {
		case <-ended:
			if owed || len(changed) > 0 {
				ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), lastCopy)
				k.observe(kind, place, k.copy(ctx, place), 0)
				stop()
			}
			return
		case <-changed:
			sleep(ctx, gather)
			select {
			case <-changed: // is copied too
			default:
			}
		case <-time.After(wait):
		}
		owed = true
		if ctx.Err() != nil {
			<-ended
			continue
		}
		err := k.copy(ctx, place)
		if ctx.Err() != nil {
			continue
		}
		owed, wait = err != nil, refresh
		if err != nil {
			wait = min(lastRevokedRetry, firstRevokedRetry<<min(failures, 10))
			failures++
		} else {
			failures = 0
		}
		k.observe(kind, place, err, wait)
	}
}

func (k *RevokedKeeper) copy(ctx context.Context, place RevokedPlace) error {
	name, text, err := k.Copy()
	if err != nil {
		return err
	}
	return PutRevoked(ctx, place, name, text, k.To)
}

func (k *RevokedKeeper) observe(kind Kind, place RevokedPlace, err error, again time.Duration) {
	k.Observer.ObserveRevokedCopy(string(kind), err)
	if err != nil {
		k.Log.Error("cannot copy the file of revocations to a place of backups", "to", place.String(), "error", err, "again_in", again.String())
	}
}

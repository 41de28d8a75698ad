// Package backup keeps copies of a database where they outlive it: in a directory
// and in a bucket of an S3 server. It promises that a file with the name of a
// backup is whole, that two are never made at once, that nothing is removed that
// it did not make, and never the newest. What is in a database it does not know.
package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Names sort by time.
const (
	namePrefix = "welcomed-"
	nameTime   = "20060102T150405Z"

	suffixDatabase   = ".db"
	suffixCompressed = ".zst"
	suffixEncrypted  = ".age"
	suffixPart       = ".part"
)

// A Backup is one that lies in a place.
type Backup struct {
	Name string
	At   time.Time // when it was begun, to the second
	Size int64     // in bytes, as it lies there
}

func newName(at time.Time, encrypted bool) string {
	name := namePrefix + at.UTC().Format(nameTime) + suffixDatabase + suffixCompressed
	if encrypted {
		name += suffixEncrypted
	}
	return name
}

// parseName returns when a backup was begun, and false if this is none of ours.
func parseName(name string) (time.Time, bool) {
	rest, ours := strings.CutPrefix(name, namePrefix)
	stamp, kind, _ := strings.Cut(rest, ".")
	switch "." + kind {
	case suffixDatabase, suffixDatabase + suffixCompressed, suffixDatabase + suffixCompressed + suffixEncrypted:
	default:
		return time.Time{}, false
	}
	at, err := time.Parse(nameTime, stamp)
	return at, ours && err == nil
}

// A Place is where backups are kept. Only names that this package gives are seen
// and removed there.
type Place interface {
	fmt.Stringer

	// List returns the backups that are there, the oldest first.
	List(ctx context.Context) ([]Backup, error)
	// Open returns what is in one of them.
	Open(ctx context.Context, name string) (io.ReadCloser, int64, error)
	// Remove removes one; ErrKept if it may not.
	Remove(ctx context.Context, name string) error
}

var (
	// ErrKept: whoever asked may not remove backups there.
	ErrKept = errors.New("backups may not be removed there")
	// ErrNone: there is no such backup, or none at all.
	ErrNone = errors.New("there is no such backup")
	// ErrNoRoom: a backup does not fit, or would leave too little.
	ErrNoRoom = errors.New("there is too little room")
)

// Latest stands for the name of the newest backup of a place.
const Latest = "latest"

// Find returns the backup of that name, or the newest one.
func Find(ctx context.Context, place Place, name string) (Backup, error) {
	all, err := place.List(ctx)
	if err != nil {
		return Backup{}, err
	}
	if name == Latest && len(all) > 0 {
		return all[len(all)-1], nil
	}
	if i := slices.IndexFunc(all, func(b Backup) bool { return b.Name == name }); i >= 0 {
		return all[i], nil
	}
	if name == Latest {
		return Backup{}, fmt.Errorf("%w: %s has none", ErrNone, place)
	}
	return Backup{}, fmt.Errorf("%w: %s has no %s", ErrNone, place, name)
}

func sortByTime(all []Backup) {
	slices.SortFunc(all, func(a, b Backup) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name))
	})
}

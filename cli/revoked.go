package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"welcomed/backup"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/safefile"
)

// sayRevoked says what opening a database has carried out of its file of revocations.
func sayRevoked(r bolt.RevokedReport, say func(text string, about ...any)) {
	if r.Lost {
		say(revokedLostText)
	}
	if r.Tokens+r.Devices > 0 {
		say(revokedAgainText, "tokens", r.Tokens, "devices", r.Devices)
	}
	if r.Damaged > 0 {
		say("what was revoked or removed cannot be read as a whole: the file beside the database is damaged", "lines", r.Damaged)
	}
}

// copyRevoked returns the file of revocations as it is kept beside backups.
func copyRevoked(read func() (*bolt.Revoked, error), now time.Time) (name string, text []byte, err error) {
	v, err := read()
	if err != nil {
		return "", nil, err
	}
	return backup.RevokedName(v.Database, v.Branch), v.Copy(now), nil
}

// A gathered has what is known of revocations in the database of a backup.
type gathered struct {
	*bolt.Revoked           // nil: nothing
	partly        bool      // what was revoked last may be missing
	until         time.Time // and then after this
	notRead       error     // of places that could not be looked at
}

// gatherRevoked reads the files of revocations beside db and in the places. The file beside a
// database that is only marked is as old as that database. Otherwise the file beside it has
// everything until the database was lost, unless a place has more.
func gatherRevoked(ctx context.Context, db, id string, marked bool, places []backup.RevokedPlace, with backup.Identities) (g gathered, err error) {
	if g.Revoked, err = bolt.ReadRevokedOf(db); err != nil {
		return g, err
	}
	var copies []*bolt.Revoked
	var notRead []error
	for _, place := range places {
		notRead = append(notRead, backup.ReadRevoked(ctx, place, id, with, func(r io.Reader) error {
			v, err := bolt.ReadRevoked(r)
			if err == nil && v.Database == id {
				copies = append(copies, v)
			}
			return err
		}))
	}
	g.notRead, g.partly = errors.Join(notRead...), marked || g.Revoked == nil
	for _, v := range copies {
		g.partly = g.partly || v.Without(g.Revoked) > 0
		if v.Until.After(g.until) {
			g.until = v.Until
		}
	}
	if g.Revoked == nil && len(copies) > 0 {
		g.Revoked = &bolt.Revoked{Database: id}
	}
	if g.Revoked != nil {
		g.Merge(copies...)
	}
	return g, nil
}

// placesTime is how long to wait for places from which only revocations are read.
const placesTime = 30 * time.Second

// revokedPlaces returns where the backup is, if that is known, and where the settings of the
// service put backups.
func (r *restore) revokedPlaces() ([]backup.RevokedPlace, error) {
	var places []backup.RevokedPlace
	add := func(p backup.RevokedPlace) {
		if !slices.ContainsFunc(places, func(other backup.RevokedPlace) bool { return other.String() == p.String() }) {
			places = append(places, p)
		}
	}
	if r.from != nil {
		add(r.from)
	}
	c, err := settingsOfServe(r.env)
	if err != nil {
		return nil, err
	}
	if dir := c.backups.dir; dir != "" {
		add(backup.ExistingDir(filepath.Clean(dir)))
	}
	if c.backups.to != "" {
		bucket, err := r.bucket(c.backups.to)
		if err != nil {
			return nil, fmt.Errorf("--backup-to: %w", err)
		}
		add(bucket)
	}
	return places, nil
}

// keepRevoked puts the revocations beside the database db, of which part is an older state. It
// returns what to say about them.
func (r *restore) keepRevoked(ctx context.Context, part, db string, identities backup.Identities) (say func(), err error) {
	limits := delivery.DefaultLimits()
	found, err := bolt.Preview(part, limits, nil)
	if err != nil {
		return nil, err
	}
	if err := r.putRevokedAside(db, found.Database); err != nil {
		return nil, err
	}
	places, err := r.revokedPlaces()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithTimeout(ctx, placesTime)
	defer stop()
	g, err := gatherRevoked(ctx, db, found.Database, r.mark != "", places, identities)
	if err != nil {
		return nil, err
	}
	if found, err = bolt.Preview(part, limits, g.Revoked); err != nil {
		return nil, err
	}
	if g.Revoked != nil {
		if err := g.WriteBeside(db); err != nil {
			return nil, plainly(err)
		}
	}
	return func() { g.say(r.env, found) }, nil
}

// putRevokedAside renames the file of revocations beside db if it belongs to another database.
func (r *restore) putRevokedAside(db, id string) error {
	beside, err := bolt.ReadRevokedOf(db)
	path := bolt.RevokedPath(db)
	switch {
	case err == nil && (beside == nil || id == "" || beside.Database == id):
		return nil
	case err == nil:
		err = fmt.Errorf("%s says what was revoked in another database", path)
	}
	if !r.force {
		return fmt.Errorf("%w; --force puts it aside", err)
	}
	return safefile.Rename(path, path+asideAt(time.Now()))
}

// say says what stays revoked, and from when on nothing is known.
func (g gathered) say(env environment, found bolt.RevokedPreview) {
	if g.notRead != nil {
		fmt.Fprintf(env.stderr, "what was revoked could not be read everywhere: %s\n", strings.ReplaceAll(g.notRead.Error(), "\n", "; "))
	}
	since := found.SeenAt
	if g.until.After(since) {
		since = g.until
	}
	unknown := fmt.Sprintf("what was revoked or removed after %s is not known: look at welcomed token list, and remove devices again",
		since.UTC().Format(time.RFC3339))
	if g.Revoked == nil {
		fmt.Fprintln(env.stdout, unknown)
		return
	}
	if g.Damaged > 0 {
		fmt.Fprintf(env.stderr, "what was revoked could not be read as a whole: %s damaged\n", counted(g.Damaged, "line"))
	}
	stay := fmt.Sprintf("%s and %s that were revoked or removed since the backup stay so", counted(found.Tokens, "token"), counted(found.Devices, "device"))
	if found.Tokens+found.Devices == 0 {
		stay = "nothing that is valid in the backup is known to be revoked or removed since"
	}
	if g.partly {
		stay += "; " + unknown
	}
	fmt.Fprintln(env.stdout, stay)
}

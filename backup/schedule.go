package backup

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

const (
	// look is how often the clock is looked at: what is due depends on the time of
	// day, which may be put right while the schedule waits.
	look = time.Minute
	// settle is how long the first backup waits after a start.
	settle = 10 * time.Second
	// A failure is tried again after firstRetry, and then after twice as long, but
	// not longer than lastRetry or the interval of the schedule.
	firstRetry = time.Minute
	lastRetry  = time.Hour
	// longestJitter keeps servers apart that were started at the same time.
	longestJitter = 5 * time.Minute
	// slack is by how much a backup may be newer than now.
	slack = time.Minute
	// abortTime is how long the end of an upload may take that nobody wants.
	abortTime = 5 * time.Second
)

// A Kind says what a place is, in metrics.
type Kind string

const (
	ToDirectory Kind = "directory"
	ToS3        Kind = "s3"
)

// Kinds are all of them.
var Kinds = []Kind{ToDirectory, ToS3}

// An Observer is told what the schedule does.
type Observer interface {
	// ObserveScheduledBackup: a place has a new backup of that many bytes.
	ObserveScheduledBackup(to string, bytes int64, took time.Duration)
	// ObserveBackupFailure: an attempt has failed.
	ObserveBackupFailure(to string)
	// ObserveNewestBackup: the newest backup of a place is of that time.
	ObserveNewestBackup(to string, at time.Time)
}

// A Schedule makes backups. To may be empty, and one of Dir and Bucket nil.
type Schedule struct {
	Every  time.Duration
	Keep   Retention
	Dir    *Dir
	Bucket *Bucket
	To     Recipients
	// Database is the path of the file, beside which copies are made.
	Database string
	// Copy returns a sound copy without a name.
	Copy func(context.Context) (*os.File, error)
	// Kept is told when every place has a new backup.
	Kept     func(context.Context) error
	Observer Observer
	Log      *slog.Logger

	now     func() time.Time // the machine's clock, but in tests
	keepers []*keeper
}

// A keeper is what the schedule knows of a place.
type keeper struct {
	Place
	kind   Kind
	backUp func(ctx context.Context, k *keeper) (Backup, error)

	looked   bool
	newest   time.Time // zero: there is none
	jitter   time.Duration
	failures int       // since the last success
	retry    time.Time // not before, if there are failures
	stay     bool      // it was said that old ones stay
}

// Run makes backups until ctx is done; one that is under way is given up then.
func (s *Schedule) Run(ctx context.Context) {
	s.begin()
	for wait := min(settle, s.Every/2); sleep(ctx, wait); wait = s.wait() {
		s.round(ctx)
	}
}

func (s *Schedule) begin() {
	if s.now == nil {
		s.now = time.Now
	}
	if s.Dir != nil {
		s.keepers = append(s.keepers, &keeper{Place: s.Dir, kind: ToDirectory, backUp: s.intoDir})
	}
	if s.Bucket != nil {
		s.keepers = append(s.keepers, &keeper{Place: s.Bucket, kind: ToS3, backUp: s.intoBucket})
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return ctx.Err() == nil
	}
}

// wait is how long nothing is due, or until the clock is to be looked at.
func (s *Schedule) wait() time.Duration {
	wait := look
	for _, k := range s.keepers {
		wait = min(wait, s.until(k))
	}
	return max(wait, 0)
}

// until is how long a place can wait. The newest backup that is there decides, so
// that a restart changes nothing, and what was missed is made up for once.
func (s *Schedule) until(k *keeper) time.Duration {
	if k.failures > 0 {
		return time.Until(k.retry)
	}
	return s.untilNext(k)
}

// untilNext is until, of a place where nothing has failed.
func (s *Schedule) untilNext(k *keeper) time.Duration {
	switch now := s.now(); {
	case !k.looked, k.newest.IsZero(), k.newest.After(now.Add(slack)):
		return 0
	default:
		return k.newest.Add(s.Every + k.jitter).Sub(now)
	}
}

// round makes the backups that are due.
func (s *Schedule) round(ctx context.Context) {
	made := false
	for _, k := range s.keepers {
		if s.until(k) > 0 {
			continue
		}
		did, err := s.attempt(ctx, k)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			s.failed(k, err)
		}
		made = made || did
	}
	if !made || !s.upToDate() {
		return
	}
	if err := s.Kept(ctx); err != nil && ctx.Err() == nil {
		s.Log.Error("cannot note that there is a new backup", "error", err)
	}
}

func (s *Schedule) upToDate() bool {
	for _, k := range s.keepers {
		if k.failures > 0 || s.until(k) <= 0 {
			return false
		}
	}
	return true
}

// attempt makes a backup if the place still wants one after a look at it.
func (s *Schedule) attempt(ctx context.Context, k *keeper) (made bool, err error) {
	if !k.looked || k.failures > 0 {
		if _, err := s.look(ctx, k); err != nil {
			return false, err
		}
		if s.untilNext(k) > 0 {
			k.failures = 0
			return false, nil
		}
	}
	start := time.Now()
	b, err := k.backUp(ctx, k)
	if err != nil {
		return false, err
	}
	took := time.Since(start)
	k.newest, k.failures, k.jitter = b.At, 0, rand.N(min(longestJitter, s.Every/20)+1)
	s.Observer.ObserveScheduledBackup(string(k.kind), b.Size, took)
	s.Observer.ObserveNewestBackup(string(k.kind), b.At)
	s.Log.Info("backed up", "to", k.String(), "name", b.Name, "bytes", b.Size, "took", took.Round(time.Millisecond).String())
	s.prune(ctx, k)
	return true, nil
}

// look finds the newest backup of a place.
func (s *Schedule) look(ctx context.Context, k *keeper) ([]Backup, error) {
	all, err := k.List(ctx)
	if err != nil {
		return nil, err
	}
	k.looked, k.newest = true, newest(all, s.now())
	s.Observer.ObserveNewestBackup(string(k.kind), k.newest)
	return all, nil
}

// newest is when the newest backup was made that is not of the future; zero if
// there is none.
func newest(all []Backup, now time.Time) time.Time {
	for i := len(all) - 1; i >= 0; i-- {
		if !all[i].At.After(now.Add(slack)) {
			return all[i].At
		}
	}
	return time.Time{}
}

func (s *Schedule) failed(k *keeper, err error) {
	again := backoff(k.failures, s.Every)
	k.failures++
	k.retry = time.Now().Add(again)
	s.Observer.ObserveBackupFailure(string(k.kind))
	s.Log.Error("backup failed", "to", k.String(), "error", err, "again_in", again.String())
}

func backoff(failures int, every time.Duration) time.Duration {
	most := min(lastRetry, every)
	if failures > 10 {
		return most
	}
	return min(firstRetry<<failures, most)
}

// prune removes what nobody needs any more. A backup has just been made, so a
// failure is no failure of that.
func (s *Schedule) prune(ctx context.Context, k *keeper) {
	all, err := k.List(ctx)
	for _, b := range s.Keep.expired(all, s.now().Add(slack)) {
		if err == nil {
			err = k.Remove(ctx, b.Name)
		}
	}
	if s.Bucket == k.Place {
		s.Bucket.removeAbandoned(ctx, s.now())
	}
	switch {
	case err == nil:
		k.stay = false
	case ctx.Err() == nil && !k.stay:
		k.stay = true
		s.Log.Warn("old backups stay, because they cannot be deleted; this is logged once", "in", k.String(), "error", err)
	}
}

func (s *Schedule) intoDir(ctx context.Context, _ *keeper) (Backup, error) {
	at := s.now()
	database, err := s.copy(ctx)
	if err != nil {
		return Backup{}, err
	}
	defer database.Close()
	return s.Dir.write(ctx, at, database, s.To)
}

// intoBucket copies the newest backup of the directory, or makes one.
func (s *Schedule) intoBucket(ctx context.Context, k *keeper) (Backup, error) {
	f, err := s.fresh(ctx, k.newest)
	if err == nil && f == nil {
		f, err = s.staged(ctx)
	}
	if err != nil {
		return Backup{}, err
	}
	defer f.Close()
	return f.Backup, s.Bucket.Upload(ctx, f, func(int64) {})
}

// fresh opens a backup of the directory that is newer than since and not yet to
// be followed by another; nil if there is none.
func (s *Schedule) fresh(ctx context.Context, since time.Time) (*Staged, error) {
	if s.Dir == nil {
		return nil, nil
	}
	all, err := s.Dir.List(ctx)
	if err != nil {
		return nil, nil // the directory has an error of its own
	}
	at := newest(all, s.now())
	if !at.After(since) || s.now().Sub(at) >= s.Every {
		return nil, nil
	}
	for _, b := range all {
		if b.Name == newName(at, len(s.To) > 0) {
			f, err := os.Open(filepath.Join(s.Dir.path, b.Name))
			return &Staged{f, b}, err
		}
	}
	return nil, nil
}

// staged makes a backup in a file beside the database that has no name any more.
func (s *Schedule) staged(ctx context.Context) (*Staged, error) {
	at := s.now()
	database, err := s.copy(ctx)
	if err != nil {
		return nil, err
	}
	defer database.Close()
	return Stage(ctx, s.Database, at, database, s.To)
}

// copy makes a copy if there is room for it where the database is.
func (s *Schedule) copy(ctx context.Context) (*os.File, error) {
	info, err := os.Stat(s.Database)
	if err != nil {
		return nil, err
	}
	if err := roomFor(filepath.Dir(s.Database), info.Size()); err != nil {
		return nil, err
	}
	return s.Copy(ctx)
}

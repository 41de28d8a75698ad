package delivery

import "time"

// A Restore is the last time at which a store was put back to a backup. What the
// store knew between the backup and then is lost, above all which KeyPackages were
// published and to whom they were handed out. Clients may publish them again at any
// time, also years later, so this holds until the next restore.
type Restore struct {
	// At is when that was; zero if never.
	At time.Time
	// Epoch is an opaque text that every restore replaces by another. A store that
	// was never restored has one too. A device that names it when it publishes says
	// that it made the KeyPackages after it had read it.
	Epoch string
}

// Forgot reports whether kp, which the store does not know, may have been published
// and handed out before the restore. It was not if it names the epoch, or if its
// lifetime began after the restore: it would have lain on the shelf unseen.
func (r Restore) Forgot(kp NewKeyPackage) bool {
	named := kp.RestoreEpoch != "" && kp.RestoreEpoch == r.Epoch
	return !r.At.IsZero() && !named && !lifetimeTime(kp.Lifetime.NotBefore).After(r.At)
}

// AcrossRestore notes at now that a restore may have forgotten who was handed the
// KeyPackage. An available one is retired: no adder is given it, and every Welcome
// for it is matched. A last-resort one stays, as it is handed out any number of times.
func (r *KeyPackageRecord) AcrossRestore(l Limits, now time.Time) {
	r.BeforeRestore = true
	if !r.LastResort && r.State == Available {
		r.Retire(l, now)
	}
}

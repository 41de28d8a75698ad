package main

import (
	"maps"
	"os"
	"path/filepath"
	"slices"

	"welcomed/delivery"
)

// A backup is a copy of the file from a time at which nothing was under way, with
// what everything was in then.
type backup struct {
	path        string
	keyPackages map[*life[state]]state
	welcomes    map[*welcome]welcomeState
	devices     map[*device]bool
	reserved    map[string]*keptReservation
}

// backups keeps a backup, or puts one back. It is called after an audit, when the
// server has ended and every life is in one state. Some backups are put back later
// than at the next audit, and some twice.
func (r *run) backups() error {
	switch {
	case r.backup == nil:
		return r.keepBackup()
	case r.rng.IntN(100) < 40:
		return nil
	}
	if err := r.restore(); err != nil {
		return err
	}
	if r.rng.IntN(100) < 70 {
		err := os.Remove(r.backup.path)
		r.backup = nil
		return err
	}
	return nil
}

func (r *run) keepBackup() error {
	b := &backup{
		path:        filepath.Join(filepath.Dir(r.host.how.DB), "backup.db"),
		keyPackages: make(map[*life[state]]state), welcomes: make(map[*welcome]welcomeState), devices: make(map[*device]bool),
		reserved: maps.Clone(r.books.reserved),
	}
	for _, d := range r.devices {
		b.devices[d], d.removed = d.life.states[0], false
		for _, kp := range d.keyPackages {
			for _, l := range kp.lives() {
				b.keyPackages[l] = l.states[0]
			}
		}
	}
	for _, w := range r.books.byNumber {
		b.welcomes[w] = w.life.states[0]
	}
	r.backup = b
	return r.host.command(r.ctx, "backup", "--db", r.host.how.DB, "--output", b.path)
}

// restore puts the backup in the place of the file, and what everything was in then
// in the books: the server has forgotten what came after, but for removals of devices,
// which stay.
func (r *run) restore() error {
	if err := r.host.command(r.ctx, "restore", "--db", r.host.how.DB, "--force", r.backup.path); err != nil {
		return err
	}
	aside, _ := filepath.Glob(r.host.how.DB + ".before-*")
	for _, name := range aside {
		if err := os.Remove(name); err != nil {
			return err
		}
	}
	r.restores++
	r.books.restore(r.backup)
	return r.readEpoch()
}

// readEpoch asks the server for the epoch of the restore, as devices learn it.
func (r *run) readEpoch() error {
	if err := r.host.start(); err != nil {
		return err
	}
	if err := r.host.server.Ready(r.ctx); err != nil {
		return err
	}
	o := &owner{client: r.auditor, device: r.devices[0]}
	if _, _, err := o.inventory(); err != nil {
		return err
	}
	if err := r.checker.look(); err != nil {
		return err
	}
	if o.epoch == "" || o.epoch == r.books.epoch {
		return differ("after a restore the restore epoch is %q, and it was %q before", o.epoch, r.books.epoch)
	}
	r.books.epoch = o.epoch
	_, err := r.host.stop()
	return err
}

// restore puts all lives back to where they were when the backup was kept.
func (b *books) restore(from *backup) {
	b.restored, b.reserved = true, maps.Clone(from.reserved)
	tick := b.tick()
	marker := &record{what: "restore", client: "the operator", attempts: []attempt{{call: tick, ret: tick}}}
	for _, d := range b.devices {
		d.life.back(from.devices[d] && !d.removed, marker)
		d.warm = slices.Clone(d.keyPackages)
		for _, kp := range d.keyPackages {
			for _, l := range kp.lives() {
				s, ok := from.keyPackages[l]
				if !ok && l != &kp.life {
					s.kp = ofLastResort // for which no Welcome had come
				}
				l.back(restored(kp, s, d.removed), marker)
			}
		}
	}
	for _, w := range b.byNumber {
		f, ok := from.welcomes[w]
		if !ok {
			f = absent
		}
		w.life.back(f, marker)
	}
}

// back puts an object into the state in which a restore has left it.
func (l *life[S]) back(to S, marker *record) {
	l.states, l.records = []S{to}, append(l.records, marker)
}

// restored is what a restore makes of a state: an available KeyPackage is retired, as
// it may have been handed out since, and what a removed device had stays taken back.
func restored(kp *keyPackage, s state, removed bool) state {
	if s.kp == delivery.Available && !kp.lastResort {
		s.kp = delivery.Retired
	}
	if removed {
		s = removeAll(s)[0]
	}
	return s
}

// shelved reports whether a KeyPackage that the server does not know reaches the
// shelf if its publication names that epoch: real clients backdate lifetimes, and so
// do ours, so after a restore only the epoch says that it was made later.
func (b *books) shelved(epoch string) bool {
	return !b.restored || epoch != "" && epoch == b.epoch
}

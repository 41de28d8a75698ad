package model

import (
	"time"

	"welcomed/delivery"
)

// idleSince is the day at which a device was seen last, if it is told.
func (b *book) idleSince(seen time.Time) (day time.Time) {
	if since := seen.Truncate(24 * time.Hour); come(since.Add(30*24*time.Hour), b.sure) {
		day = since
	}
	return day
}

// leftOut reports whether a device was not seen for longer than whoever reserves wants.
func (b *book) leftOut(id delivery.DeviceID, req delivery.ReserveRequest) bool {
	d := b.devices[id]
	if d == nil || req.MaxIdle == 0 {
		return false
	}
	since := b.idleSince(d.told)
	return !since.IsZero() && come(since.Add(req.MaxIdle), b.sure)
}

// sweepIdle is the part of a sweep that looks for devices that have not been seen for
// long, and returns how many it has removed.
func (b *book) sweepIdle() (forgotten int) {
	if passed := b.sure.Sub(b.lastSweep); b.lastSweep.IsZero() || passed < 0 || passed > 7*day {
		b.watched = b.sure
	}
	b.lastSweep = b.sure
	for _, id := range devices {
		d := b.devices[id]
		if d == nil {
			continue
		}
		d.idle = come(d.told.Add(90*day), b.sure)
		after := b.limits.ForgetDevicesAfter
		if after > 0 && come(d.told.Add(after), b.sure) && come(b.watched.Add(12*time.Hour), b.sure) && b.unneeded(id) {
			now := b.now
			b.now = now.Add(-time.Millisecond) // a removal at this time is another one
			b.removeDevice(id)
			b.now = now
			forgotten++
		}
	}
	return forgotten
}

// unneeded reports whether a device needs no private key, and nothing waits for its word.
func (b *book) unneeded(id delivery.DeviceID) bool {
	for _, k := range b.of(id) {
		if b.needed(k) {
			return false
		}
	}
	return true
}

// tells notes when a device was seen, as the store says. One that was seen is not idle.
func (d *device) tells(seen time.Time) {
	d.idle = d.idle && seen.Equal(d.told)
	d.told = seen
}

// quiet lets much time pass in which nobody does anything, and sweeps see it pass.
func (w *world) quiet() {
	w.move(func() {
		w.clock.Advance(pick(w, "time", []time.Duration{day, 30 * day, 90 * day, 120 * day, 400 * day}))
	})
	w.sweep()
	for range w.upTo(3, "sweeps") {
		w.check(w.t)
		w.move(func() {
			w.clock.Advance(pick(w, "and", []time.Duration{time.Hour, 12*time.Hour - time.Millisecond, 12 * time.Hour, 8 * day}))
		})
		w.sweep()
	}
}

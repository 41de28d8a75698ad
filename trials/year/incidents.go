package main

import (
	"context"
	"crypto/sha256"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// sync tells the store which private keys the device still has. What was
// delivered for the others is rejected when the device claims.
func (y *year) sync(ctx context.Context, d *device, held []mls.KeyPackageRef, now time.Time) error {
	needed := d.needed(now)
	h := sha256.New()
	for _, ref := range needed {
		h.Write([]byte(ref))
	}
	r, err := y.store.Sync(ctx, d.self, d.id, delivery.Digest(h.Sum(nil)), held)
	if err != nil {
		return disagree("%s syncs: %v", d.id, err)
	}
	y.count("sync", 1)
	if len(r.Unknown)+len(r.Spent) > 0 {
		return disagree("%s syncs: %d unknown, %d spent", d.id, len(r.Unknown), len(r.Spent))
	}
	has := make(map[mls.KeyPackageRef]bool, len(held))
	for _, ref := range held {
		has[ref] = true
	}
	withdrawn := 0
	for _, k := range d.keyPackages {
		if !has[k.rec.Ref] && k.rec.needed() && k.rec.State != delivery.Consumed {
			k.withdrawn(now)
			withdrawn++
		}
	}
	if withdrawn != len(r.Withdrawn) {
		return disagree("%s syncs: %d withdrawn, by the ledger %d", d.id, len(r.Withdrawn), withdrawn)
	}
	return nil
}

// withdraw takes one KeyPackage back, whatever has become of it.
func (y *year) withdraw(ctx context.Context, d *device, now time.Time) error {
	for _, k := range d.keyPackages {
		if k.rec.State == delivery.Consumed {
			continue
		}
		if err := y.store.Withdraw(ctx, d.self, d.id, k.rec.Ref); err != nil {
			return disagree("%s withdraws %s: %v", d.id, k.rec.Ref, err)
		}
		y.count("withdraw", 1)
		k.withdrawn(now)
		return nil
	}
	return nil
}

// lose leaves a device where it will never be found. Its owner may remember to
// remove it, and buys another.
func (y *year) lose(d *device, now time.Time) {
	d.lost, d.next = true, time.Time{}
	if r := d.user.random; r.Float64() < 0.6 {
		d.removeAt = now.Add(time.Duration(1+r.IntN(90)) * day)
	}
	d.user.another(now)
}

// another buys the user a device in place of one that is gone: always if it was
// the last.
func (u *user) another(now time.Time) {
	for _, d := range u.devices {
		if !d.lost && !d.removed && u.random.Float64() > newDevices {
			return
		}
	}
	u.newDevice(now.Add(time.Duration(1+u.random.IntN(48)) * time.Hour))
}

func (y *year) removeLost(ctx context.Context, u *user, now time.Time) error {
	for _, d := range u.devices {
		if d.lost && !d.removed && !d.removeAt.IsZero() && now.After(d.removeAt) {
			if err := y.remove(ctx, d, now); err != nil {
				return err
			}
		}
	}
	return nil
}

func (y *year) signOut(ctx context.Context, d *device, now time.Time) error {
	err := y.remove(ctx, d, now)
	d.user.another(now)
	return err
}

func (y *year) remove(ctx context.Context, d *device, now time.Time) error {
	if err := y.store.RemoveDevice(ctx, d.self, d.id); err != nil {
		return disagree("%s is removed: %v", d.id, err)
	}
	y.count("remove", 1)
	d.gone(now)
	return nil
}

// leaveService removes a user. Somebody else signs up.
func (y *year) leaveService(ctx context.Context, u *user, now time.Time) error {
	if err := y.store.RemoveUser(ctx, delivery.Caller{User: u.id}, u.id); err != nil {
		return disagree("%s leaves: %v", u.id, err)
	}
	y.count("remove", 1)
	u.gone = true
	for _, d := range u.devices {
		d.gone(now)
	}
	return nil
}

// gone notes that a device was removed.
func (d *device) gone(now time.Time) {
	if d.removed {
		return
	}
	d.age(now)
	d.removed, d.next = true, time.Time{}
	for _, k := range d.keyPackages {
		k.withdrawn(now)
	}
	for _, m := range d.recipients {
		if m.rec.State == delivery.Delivered {
			m.end(delivery.Lapsed, now, now)
		}
	}
	d.age(now)
}

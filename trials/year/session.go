package main

import (
	"context"
	"crypto/sha256"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// session is what a device does when it is online.
func (y *year) session(ctx context.Context, d *device) error {
	now := y.clock.Now()
	away := now.Sub(d.seen)
	d.age(now)
	err := y.incidents(ctx, d, away, now)
	if err != nil || d.removed {
		return err
	}
	stock, err := y.claim(ctx, d, now)
	if err != nil {
		return err
	}
	if err := y.replenish(ctx, d, stock, now); err != nil {
		return err
	}
	if now.Sub(d.inventory) >= inventoryEach {
		if err := y.lookAtInventory(ctx, d, now); err != nil {
			return err
		}
	}
	d.leave(now)
	if d.happens(lostPerYear, away) {
		y.lose(d, now)
	}
	return nil
}

// incidents are what has happened to a device while it was away.
func (y *year) incidents(ctx context.Context, d *device, away time.Duration, now time.Time) error {
	if err := y.removeLost(ctx, d.user, now); err != nil {
		return err
	}
	switch {
	case d.happens(leaves, away) && d.user.devices[0] == d:
		return y.leaveService(ctx, d.user, now)
	case d.happens(signOuts, away):
		return y.signOut(ctx, d, now)
	case d.happens(reinstalls, away):
		return y.sync(ctx, d, nil, now)
	case d.happens(drifts, away):
		held := d.needed(now)
		return y.sync(ctx, d, held[:max(0, len(held)-3)], now)
	case d.happens(replacements, away):
		return y.publish(ctx, d, shelfFull, true, now)
	case d.happens(withdrawals, away):
		return y.withdraw(ctx, d, now)
	}
	return nil
}

// claim takes all that waits for the device and compares it with the ledger: all
// that is there, nothing else, each in its right bytes.
func (y *year) claim(ctx context.Context, d *device, now time.Time) (delivery.Stock, error) {
	var hand []delivery.WelcomeID
	for {
		r, err := y.store.Claim(ctx, d.self, d.id, delivery.ClaimOptions{Max: 20, Skip: hand})
		if err != nil {
			return r.Stock, disagree("%s claims: %v", d.id, err)
		}
		y.count("claim", 1)
		d.noteWrite(y, r.New(), now)
		recipients, err := y.given(d, r.Deliveries, hand, now)
		if err != nil {
			return r.Stock, err
		}
		for _, m := range recipients {
			hand = append(hand, m.welcome.id)
			if err := y.join(ctx, d, m, now); err != nil {
				return r.Stock, err
			}
		}
		if !r.More {
			return r.Stock, d.nothingLeft(hand, r.Stock)
		}
	}
}

// noteWrite counts the claims that cannot be answered by reading: those that give
// something new, and the first of a day, which is noted.
func (d *device) noteWrite(y *year, gives bool, now time.Time) {
	if gives || now.Sub(d.touched) >= day {
		d.touched = now
		y.count(claimWrites, 1)
	}
}

// given notes what a claim has returned.
func (y *year) given(d *device, deliveries []delivery.Delivery, hand []delivery.WelcomeID, now time.Time) ([]*recipient, error) {
	recipients := make([]*recipient, len(deliveries))
	for i, got := range deliveries {
		m, err := d.check(got)
		if err != nil {
			return nil, err
		}
		if slices.Contains(hand, got.ID) || slices.Contains(recipients[:i], m) {
			return nil, disagree("%s is given Welcome %s twice", d.id, got.ID)
		}
		if recipients[i] = m; m.rec.State == delivery.Pending {
			m.delivered(y.limits, now)
			y.count("delivery", 1)
		}
	}
	return recipients, nil
}

// check finds the recipient that a delivery is for, and checks every part of it.
func (d *device) check(got delivery.Delivery) (*recipient, error) {
	i := slices.IndexFunc(d.recipients, func(m *recipient) bool { return m.welcome.id == got.ID && m.kp.rec.Ref == got.Ref })
	if i < 0 || !d.recipients[i].waits() {
		return nil, disagree("%s is given Welcome %s for %s, which does not wait for it", d.id, got.ID, got.Ref)
	}
	m := d.recipients[i]
	if again := m.rec.State == delivery.Delivered; again != got.Redelivered {
		return nil, disagree("%s is given Welcome %s: redelivered is %t", d.id, got.ID, got.Redelivered)
	}
	w, err := mls.ParseWelcome(got.Welcome)
	if err != nil {
		return nil, disagree("%s is given Welcome %s: %v", d.id, got.ID, err)
	}
	if len(w.Secrets) != 1 || w.Secrets[0].NewMember != got.Ref || sha256.Sum256(w.EncryptedGroupInfo) != m.welcome.groupInfo {
		return nil, disagree("%s is given Welcome %s with other bytes than were posted", d.id, got.ID)
	}
	return m, nil
}

// waits reports whether a claim has to return the Welcome.
func (m *recipient) waits() bool {
	return m.rec.State == delivery.Pending || m.rec.State == delivery.Delivered
}

func (d *device) nothingLeft(hand []delivery.WelcomeID, stock delivery.Stock) error {
	for _, m := range d.recipients {
		if m.waits() && !slices.Contains(hand, m.welcome.id) {
			return disagree("%s is not given Welcome %s, which is %s", d.id, m.welcome.id, m.rec.State)
		}
	}
	if ordinary, _ := d.shelf(); len(ordinary) != stock.Available {
		return disagree("%s has %d on the shelf, by the ledger %d", d.id, stock.Available, len(ordinary))
	}
	return nil
}

// join does with a delivery what a client does.
func (y *year) join(ctx context.Context, d *device, m *recipient, now time.Time) error {
	switch chance := d.user.random.Float64(); {
	case chance < notYet:
		return nil
	case chance < notYet+cannotJoin:
		return y.reject(ctx, d, m, now)
	}
	return y.acknowledge(ctx, d, m, now)
}

func (y *year) acknowledge(ctx context.Context, d *device, m *recipient, now time.Time) error {
	y.count("acknowledge", 1)
	if err := y.store.Acknowledge(ctx, d.self, d.id, m.welcome.id, m.kp.rec.Ref); err != nil {
		return disagree("%s acknowledges %s: %v", d.id, m.welcome.id, err)
	}
	return m.settled(delivery.Acknowledged, now)
}

// reject says why; of an app and its extension the other may have joined.
func (y *year) reject(ctx context.Context, d *device, m *recipient, now time.Time) error {
	reason := delivery.Reasons[d.user.random.IntN(len(delivery.Reasons))]
	y.count("reject", 1)
	n, err := y.store.Reject(ctx, d.self, d.id, m.welcome.id, m.kp.rec.Ref, reason, "simulated")
	if err != nil || n != 1 {
		return disagree("%s rejects %s: %d settled, %v", d.id, m.welcome.id, n, err)
	}
	if err := m.settled(delivery.Rejected, now); err != nil {
		return err
	}
	if reason == delivery.ReasonNoMatchingKeyPackage && m.kp.rec.LastResort {
		m.kp.withdrawn(now)
	}
	if d.user.random.IntN(10) == 0 {
		return y.acknowledge(ctx, d, m, now)
	}
	return nil
}

// replenish fills a shelf that is low.
func (y *year) replenish(ctx context.Context, d *device, stock delivery.Stock, now time.Time) error {
	if !stock.Low {
		return nil
	}
	return y.publish(ctx, d, shelfFull-stock.Available, false, now)
}

// publish puts n KeyPackages on the shelf, and a last resort if there is none.
func (y *year) publish(ctx context.Context, d *device, n int, replace bool, now time.Time) error {
	var items []delivery.NewKeyPackage
	if _, last := d.shelf(); last == nil || replace {
		items, n = append(items, d.keyPackageOf(now, true)), min(n, y.limits.KeyPackagesPerPublish-1)
	}
	for range n {
		items = append(items, d.keyPackageOf(now, false))
	}
	p, err := y.put(ctx, d, replace, items)
	if err != nil {
		return disagree("%s publishes: %v", d.id, err)
	}
	y.count("publish", 1)
	y.count("KeyPackage", len(items))
	d.published(y.limits, items, replace, now)
	ordinary, _ := d.shelf()
	for _, item := range p.Items {
		if item.Status != delivery.Stored || p.Stock.Available != len(ordinary) {
			return disagree("%s publishes: %s is %s, %d on the shelf, by the ledger %d", d.id, item.Ref, item.Status, p.Stock.Available, len(ordinary))
		}
	}
	if d.user.random.Float64() < lostReply {
		return y.publishAgain(ctx, d, items)
	}
	return nil
}

func (y *year) put(ctx context.Context, d *device, replace bool, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	if replace {
		return y.store.Replace(ctx, d.self, d.id, 0, items)
	}
	return y.store.Publish(ctx, d.self, d.id, items)
}

// published notes a publication.
func (d *device) published(l delivery.Limits, items []delivery.NewKeyPackage, replace bool, now time.Time) {
	d.touched = now
	for _, k := range d.keyPackages {
		if replace && k.rec.State == delivery.Available {
			k.rec.retire(l, now)
		}
	}
	for _, item := range items {
		if _, last := d.shelf(); item.LastResort && last != nil {
			last.rec.retire(l, now)
		}
		d.keyPackages = append(d.keyPackages, &keyPackage{rec: newKeyPackageRecord(l, item, now), owner: d, size: len(item.Bytes)})
	}
}

// publishAgain is a client that has not seen the answer.
func (y *year) publishAgain(ctx context.Context, d *device, items []delivery.NewKeyPackage) error {
	p, err := y.store.Publish(ctx, d.self, d.id, items)
	if err != nil {
		return disagree("%s publishes again: %v", d.id, err)
	}
	for _, item := range p.Items {
		if item.Status != delivery.AlreadyStored {
			return disagree("%s publishes again: %s is %s", d.id, item.Ref, item.Status)
		}
	}
	return nil
}

// lookAtInventory compares the store's account of the device with the ledger and
// rotates a last resort that was handed out or is old.
func (y *year) lookAtInventory(ctx context.Context, d *device, now time.Time) error {
	inventory, err := y.store.Inventory(ctx, d.self, d.id)
	if err != nil {
		return disagree("inventory of %s: %v", d.id, err)
	}
	y.count("inventory", 1)
	d.inventory = now
	if needed := d.needed(now); !slices.Equal(needed, inventory.Refs) {
		return disagree("%s needs %d keys, by the ledger %d", d.id, len(inventory.Refs), len(needed))
	}
	_, last := d.shelf()
	if (last != nil) != (len(inventory.LastResort) == 1) {
		return disagree("%s has %d last-resort KeyPackages", d.id, len(inventory.LastResort))
	}
	if last == nil || !last.rec.HandedOutAt.IsZero() || now.Sub(last.rec.PublishedAt) > lastResortAge {
		return y.rotate(ctx, d, now)
	}
	return nil
}

func (y *year) rotate(ctx context.Context, d *device, now time.Time) error {
	items := []delivery.NewKeyPackage{d.keyPackageOf(now, true)}
	if _, err := y.put(ctx, d, false, items); err != nil {
		return disagree("%s rotates its last resort: %v", d.id, err)
	}
	y.count("publish", 1)
	y.count("KeyPackage", 1)
	d.published(y.limits, items, false, now)
	return nil
}

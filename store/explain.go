package store

import (
	"cmp"
	"context"
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
)

// UserHistory implements delivery.Histories.
func (s *Store) UserHistory(ctx context.Context, user delivery.UserID, most int) (h delivery.UserHistory, err error) {
	return told(s.engine.View(ctx, func(t *Txn) error { h = t.userHistory(user, most); return nil }), &h)
}

// DeviceHistory implements delivery.Histories.
func (s *Store) DeviceHistory(ctx context.Context, id delivery.DeviceID, most int) (h delivery.DeviceHistory, err error) {
	return told(s.engine.View(ctx, func(t *Txn) error { h, err = t.deviceHistory(id, most); return err }), &h)
}

// KeyPackageHistory implements delivery.Histories.
func (s *Store) KeyPackageHistory(ctx context.Context, ref mls.KeyPackageRef, most int) (h delivery.KeyPackageHistory, err error) {
	return told(s.engine.View(ctx, func(t *Txn) error { h, err = t.keyPackageHistory(ref, most); return err }), &h)
}

// WelcomeHistory implements delivery.Histories.
func (s *Store) WelcomeHistory(ctx context.Context, id delivery.WelcomeID, most int) (h delivery.WelcomeHistory, err error) {
	return told(s.engine.View(ctx, func(t *Txn) error { h, err = t.welcomeHistory(id, most); return err }), &h)
}

// told returns h, or only the error if there is one.
func told[T any](err error, h *T) (T, error) {
	if err != nil {
		var none T
		return none, err
	}
	return *h, nil
}

func (t *Txn) userHistory(user delivery.UserID, most int) delivery.UserHistory {
	h := delivery.UserHistory{At: t.sure}
	named := make(map[string]bool)
	for _, d := range slices.Concat(t.userDevices(user), t.goneDevices(user)) {
		if !named[d.id.Name] {
			h.Devices = append(h.Devices, delivery.KnownDevice{Name: d.id.Name, Removed: d.removed, SeenAt: d.seenAt})
		}
		named[d.id.Name] = true
	}
	h.Devices, h.More = firstOf(h.Devices, most)
	return h
}

// firstOf returns the first elements of list, at most most, and how many it leaves out.
func firstOf[T any](list []T, most int) (first []T, more int) {
	if len(list) <= most {
		return list, 0
	}
	return slices.Clip(list[:most]), len(list) - most
}

func (t *Txn) deviceHistory(id delivery.DeviceID, most int) (h delivery.DeviceHistory, err error) {
	d := t.lastOf(id)
	if d == nil {
		return h, delivery.ErrNotFound
	}
	h = delivery.DeviceHistory{
		At: t.sure, Device: d.id, Removed: d.removed, RemovedAt: t.removedAt(id), SeenAt: d.seenAt,
		Stock: t.stock(d), LastResortsOnly: !d.onlySince.IsZero(),
	}
	inventory := t.inventory(d)
	h.Counts, h.LastResort = inventory.Counts, inventory.LastResort
	h.KeyPackages, h.MoreKeyPackages = t.keyPackageRecords(d, most)
	var recipients []*recipient
	t.eachRecipientOf(d, func(m *recipient) {
		t.countWaiting(&h, d, m)
		recipients = append(recipients, m)
	})
	h.Welcomes, h.MoreWelcomes = t.recipientHistories(d, recipients, most)
	return h, nil
}

// countWaiting counts a recipient in the history of its device.
func (t *Txn) countWaiting(h *delivery.DeviceHistory, d *device, m *recipient) {
	switch m.rec.State {
	case delivery.Pending:
		h.Pending++
		h.WaitingBytes += m.size
		if m.order <= d.claimed {
			h.Overdue++
		}
		if w := t.header(m.welcome); w != nil && (h.OldestPending.IsZero() || w.postedAt.Before(h.OldestPending)) {
			h.OldestPending = w.postedAt
		}
	case delivery.Held:
		h.Held++
		h.WaitingBytes += m.size
	case delivery.Delivered:
		h.Delivered++
	}
}

// keyPackageRecords returns those KeyPackages of the device to which something happened last,
// the latest first. A device may have tens of thousands, so this keeps only as many as can be
// in the answer while it reads.
func (t *Txn) keyPackageRecords(d *device, most int) (records []delivery.KeyPackageRecord, more int) {
	latest := func(a, b delivery.KeyPackageRecord) int { return b.LastAt().Compare(a.LastAt()) }
	for key, row := range t.scan(kindDevices, numberKey(d.number), nil) {
		kind := key[numberBytes]
		if kind != rowKeyPackage && kind != rowTombstone && kind&0xf0 != rowShelf {
			continue
		}
		k := t.gone(d, keyPackageAt(key, row))
		if records = append(records, t.told(k)); len(records) > 2*most {
			slices.SortStableFunc(records, latest)
			more += len(records) - most
			records = records[:most]
		}
	}
	slices.SortStableFunc(records, latest)
	records, rest := firstOf(records, most)
	return records, more + rest
}

// told returns the record of a KeyPackage, in the state that an answer gives it now.
func (t *Txn) told(k *keyPackage) delivery.KeyPackageRecord {
	r := k.rec
	r.State = r.Told(t.sure)
	return r
}

// eachRecipientOf calls fn for every recipient of a device.
func (t *Txn) eachRecipientOf(d *device, fn func(*recipient)) {
	for _, kind := range recipientKinds {
		for _, m := range t.recipients(d, kind) {
			fn(m)
		}
	}
}

// recipientHistories tells of recipients of one device: first those that wait, then those
// whose Welcomes were posted last.
func (t *Txn) recipientHistories(d *device, recipients []*recipient, most int) (told []delivery.RecipientHistory, more int) {
	ended := func(m *recipient) int {
		if m.rec.State.Ended() {
			return 1
		}
		return 0
	}
	slices.SortFunc(recipients, func(a, b *recipient) int {
		return cmp.Or(cmp.Compare(ended(a), ended(b)), cmp.Compare(b.welcome, a.welcome), cmp.Compare(a.index, b.index))
	})
	recipients, more = firstOf(recipients, most)
	for _, m := range recipients {
		told = append(told, t.recipientHistory(d, m))
	}
	return told, more
}

func (t *Txn) recipientHistory(d *device, m *recipient) delivery.RecipientHistory {
	w := t.header(m.welcome)
	if w == nil { // it cannot be read
		return delivery.RecipientHistory{RecipientRecord: m.rec, Ref: t.postedRecipient(m.recipientKey).ref, Size: m.size}
	}
	h := delivery.RecipientHistory{
		RecipientRecord: m.rec, ID: w.id, Ref: t.postedRecipient(m.recipientKey).ref, PostedBy: w.poster, Hold: w.hold, Size: m.size,
	}
	h.PostedAt = w.postedAt
	h.Overdue = h.State == delivery.Pending && m.order <= d.claimed
	return h
}

func (t *Txn) keyPackageHistory(ref mls.KeyPackageRef, most int) (h delivery.KeyPackageHistory, err error) {
	d, k := t.refOwner(ref)
	if k == nil {
		return h, delivery.ErrNotFound
	}
	h = delivery.KeyPackageHistory{At: t.sure, Device: d.id, KeyPackageRecord: t.told(k)}
	var recipients []*recipient
	t.eachRecipientOf(d, func(m *recipient) {
		if m.kp.number == k.number {
			recipients = append(recipients, m)
		}
	})
	h.Welcomes, h.MoreWelcomes = t.recipientHistories(d, recipients, most)
	return h, nil
}

func (t *Txn) welcomeHistory(id delivery.WelcomeID, most int) (h delivery.WelcomeHistory, err error) {
	w := t.welcomeByID(id)
	if w == nil {
		return h, delivery.ErrNotFound
	}
	h = delivery.WelcomeHistory{
		At: t.sure, PostedBy: w.poster, Suite: w.suite, ReleasedAt: w.releasedAt, CancelledAt: w.cancelledAt,
		Outcome: delivery.Outcome{ID: w.id, PostedAt: w.postedAt, Hold: w.hold, RequireAll: w.requireAll, Cancelled: !w.cancelledAt.IsZero()},
	}
	t.eachPostedRecipient(w.number, func(key recipientKey, r *postedRecipient) bool {
		h.Recipients = append(h.Recipients, t.describeWithOwner(key, r))
		return len(h.Recipients) < most
	})
	h.More = w.recipients - len(h.Recipients)
	return h, nil
}

// describeWithOwner is describe for a reader who may know the owner of every KeyPackage.
func (t *Txn) describeWithOwner(key recipientKey, r *postedRecipient) delivery.Recipient {
	told := t.describe(key, r)
	if told.Device == nil {
		if owner, _ := t.refOwner(r.ref); owner != nil {
			told.Device = &owner.id
		}
	}
	return told
}

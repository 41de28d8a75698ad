package model

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// publish is Publish, and Replace of a suite (0: of all), by credentials that have
// not outlived the device.
func (b *book) publish(id delivery.DeviceID, items []delivery.NewKeyPackage, replace bool, suite mls.CipherSuite) (delivery.Publications, error) {
	fresh, err := b.judgeItems(id, items, suite)
	if err != nil {
		return delivery.Publications{}, err
	}
	var retired []*keyPackage
	if replace {
		retired = b.replaced(id, items, suite)
	}
	if err := b.checkRoom(id, fresh, retired); err != nil {
		return delivery.Publications{}, err
	}
	for _, k := range retired {
		b.retire(k)
	}
	for _, k := range b.of(id) {
		held := k.reservation != 0 && (k.state == delivery.Reserved || k.state == delivery.Matched)
		if replace && held && (suite == 0 || k.item.Suite == suite) {
			k.cleared = true
		}
	}
	first := b.devices[id] == nil && len(fresh) > 0
	for _, item := range fresh {
		b.add(id, item)
	}
	if d := b.devices[id]; d != nil {
		b.design(d, items, fresh, first || replace && suite == 0)
		d.last = b.now
		if len(fresh) > 0 {
			d.heard = b.now
		}
	}
	return b.published(id, items, fresh), nil
}

// design notes whether a device wants to have nothing but last resorts: it says so by a
// publication that decides about the whole shelf.
func (b *book) design(d *device, items, fresh []delivery.NewKeyPackage, whole bool) {
	ordinary := func(item delivery.NewKeyPackage) bool { return !item.LastResort }
	switch {
	case slices.ContainsFunc(fresh, ordinary):
		d.only = time.Time{}
	case d.only.IsZero() && whole && len(items) > 0 && !slices.ContainsFunc(items, ordinary):
		d.only = b.now
	}
}

// judgeItems returns the items that are new, or why the publication is refused:
// the gravest reason that any item has, and the items that have it.
func (b *book) judgeItems(id delivery.DeviceID, items []delivery.NewKeyPackage, suite mls.CipherSuite) (fresh []delivery.NewKeyPackage, err error) {
	gravest := []error{delivery.ErrInvalidKeyPackage, delivery.ErrWrongSuite, delivery.ErrNotYours, delivery.ErrInitKeyReused, delivery.ErrKeyPackageSpent}
	refused := map[error][]delivery.InvalidItem{}
	spent := true
	for i, item := range items {
		if slices.ContainsFunc(items[:i], func(o delivery.NewKeyPackage) bool { return o.Ref == item.Ref }) {
			continue
		}
		code, reason := b.judgeItem(id, item, suite, fresh)
		if reason != nil {
			refused[reason] = append(refused[reason], delivery.InvalidItem{Index: i, Ref: item.Ref.String(), Code: code})
			spent = spent && code == delivery.ItemSpent
			continue
		}
		known := b.find(item.Ref)
		if known == nil {
			fresh = append(fresh, item)
		}
		spent = spent && known != nil && over(known.state)
	}
	if spent && len(items) > 0 {
		for i, item := range items {
			refused[delivery.ErrKeyPackageSpent] = append(refused[delivery.ErrKeyPackageSpent], delivery.InvalidItem{Index: i, Ref: item.Ref.String(), Code: delivery.ItemSpent})
		}
	}
	for _, reason := range gravest {
		if len(refused[reason]) > 0 {
			return nil, &delivery.PublishError{Err: reason, Items: refused[reason]}
		}
	}
	return fresh, nil
}

func (b *book) judgeItem(id delivery.DeviceID, item delivery.NewKeyPackage, suite mls.CipherSuite, before []delivery.NewKeyPackage) (code delivery.ItemCode, reason error) {
	if suite != 0 && item.Suite != suite {
		return delivery.ItemWrongSuite, delivery.ErrWrongSuite
	}
	if known := b.find(item.Ref); known != nil {
		if known.owner != id {
			return delivery.ItemNotYours, delivery.ErrNotYours
		}
		return "", nil
	}
	sameKey := func(o delivery.NewKeyPackage) bool { return string(o.InitKey) == string(item.InitKey) }
	begins, ends := item.Lifetime.NotBefore, item.Lifetime.NotAfter
	latest := b.now.Add(b.limits.ClockSkew)
	switch {
	case !slices.Contains(b.limits.CipherSuites, item.Suite):
		return delivery.ItemUnsupportedCipherSuite, delivery.ErrInvalidKeyPackage
	case come(endOf(ends), b.sure):
		return delivery.ItemExpired, delivery.ErrInvalidKeyPackage
	case begins > uint64(latest.Unix()):
		return delivery.ItemNotYetValid, delivery.ErrInvalidKeyPackage
	case b.limits.MaxLifetime > 0 && ends-begins > uint64(b.limits.MaxLifetime.Seconds()):
		return delivery.ItemLifetimeTooLong, delivery.ErrInvalidKeyPackage
	case slices.ContainsFunc(before, sameKey):
		return delivery.ItemInitKeyReused, delivery.ErrInitKeyReused
	case slices.ContainsFunc(b.of(id), func(k *keyPackage) bool { return sameKey(k.item) && !over(k.state) }):
		return delivery.ItemInitKeyReused, delivery.ErrInitKeyReused
	case slices.ContainsFunc(b.of(id), func(k *keyPackage) bool { return sameKey(k.item) }):
		return delivery.ItemInitKeyReused, delivery.ErrKeyPackageSpent
	}
	return "", nil
}

// replaced returns what a replacement takes off the shelf.
func (b *book) replaced(id delivery.DeviceID, items []delivery.NewKeyPackage, suite mls.CipherSuite) (retired []*keyPackage) {
	for _, k := range b.of(id) {
		stays := slices.ContainsFunc(items, func(o delivery.NewKeyPackage) bool { return o.Ref == k.item.Ref })
		if !stays && k.state == delivery.Available && (suite == 0 || k.item.Suite == suite) {
			retired = append(retired, k)
		}
	}
	return retired
}

func (b *book) checkRoom(id delivery.DeviceID, fresh []delivery.NewKeyPackage, retired []*keyPackage) error {
	if len(fresh) > 0 && b.devices[id] == nil && len(b.devicesOf(id.User)) >= b.limits.DevicesPerUser {
		return delivery.ErrDeviceLimit
	}
	gone, coming := 0, 0
	for _, k := range retired {
		if !k.item.LastResort && k.stateAt(b.sure) == delivery.Available {
			gone++
		}
	}
	for _, item := range fresh {
		if !item.LastResort && !b.forgot(item) {
			coming++
		}
	}
	room, full := b.room(id, gone)
	if coming > room {
		return &delivery.StockFullError{Room: room, Full: full}
	}
	left := b.limits.RetiredPerDevice
	for _, k := range b.of(id) {
		if k.state == delivery.Retired && k.returned.Reservation == 0 {
			left--
		}
	}
	retiring := len(retired) + b.offTheShelf(id, fresh, retired)
	if retiring == 0 || retiring <= left {
		return nil
	}
	if len(retired) > 0 {
		left = 0
	}
	return &delivery.StockFullError{Room: max(0, min(left, room)), Full: delivery.FullRetired}
}

// room is how many more fit on a shelf from which gone are taken, and on all of
// the user's.
func (b *book) room(id delivery.DeviceID, gone int) (room int, full delivery.FullPlace) {
	all := -gone
	for _, name := range b.devicesOf(id.User) {
		all += b.available(delivery.DeviceID{User: id.User, Name: name})
	}
	room, full = b.limits.KeyPackagesPerDevice+gone-b.available(id), delivery.FullShelf
	if left := b.limits.KeyPackagesPerUser - all; left < room {
		room, full = left, delivery.FullShelves
	}
	return max(0, room), full
}

// offTheShelf counts what new KeyPackages bring that does not stay on the shelf,
// and the last resorts that they follow.
func (b *book) offTheShelf(id delivery.DeviceID, fresh []delivery.NewKeyPackage, retired []*keyPackage) (n int) {
	newest := map[mls.CipherSuite]bool{}
	for _, item := range fresh {
		switch {
		case b.tooShort(item), b.forgot(item) && !item.LastResort, item.LastResort && newest[item.Suite]:
			n++
		case item.LastResort:
			newest[item.Suite] = true
			for _, k := range b.of(id) {
				if k.state == delivery.Available && k.item.LastResort && k.item.Suite == item.Suite && !slices.Contains(retired, k) {
					n++
				}
			}
		}
	}
	return n
}

// tooShort reports whether an item is never handed out: when it could be first, too
// little of its lifetime is left.
func (b *book) tooShort(item delivery.NewKeyPackage) bool {
	off := first(endOf(item.Lifetime.NotAfter).Add(-b.limits.LifetimeMargin), b.now.Add(b.limits.ShelfAge))
	return come(off, b.sure) || come(off, endOf(item.Lifetime.NotBefore))
}

// available counts the shelf, last resorts left out.
func (b *book) available(id delivery.DeviceID) (n int) {
	for _, k := range b.of(id) {
		if !k.item.LastResort && k.stateAt(b.sure) == delivery.Available {
			n++
		}
	}
	return n
}

func (b *book) stock(id delivery.DeviceID) delivery.Stock {
	n, early := b.available(id), 0
	for _, k := range b.of(id) {
		if !k.item.LastResort && !b.usableFrom(k).IsZero() {
			early++
		}
	}
	room, _ := b.room(id, 0)
	low := n < b.limits.LowWatermark
	if d := b.devices[id]; d != nil && !d.only.IsZero() && come(d.only.Add(day), b.sure) {
		low = !slices.ContainsFunc(b.of(id), func(k *keyPackage) bool {
			return k.item.LastResort && k.stateAt(b.sure) == delivery.Available
		})
	}
	return delivery.Stock{Available: n - early, NotYetValid: early, Low: low, Room: room}
}

// add puts a KeyPackage on the shelf, unless it could not be handed out. Of the
// last resorts of a suite the newest stays.
func (b *book) add(id delivery.DeviceID, item delivery.NewKeyPackage) {
	if b.devices[id] == nil {
		b.lives++
		b.devices[id] = &device{life: b.lives}
	}
	ends := endOf(item.Lifetime.NotAfter)
	k := &keyPackage{item: item, owner: id, life: b.devices[id].life, state: delivery.Available, published: b.now}
	k.shelfUntil = first(ends.Add(-b.limits.LifetimeMargin), b.now.Add(b.limits.ShelfAge))
	k.usableUntil = first(ends, k.shelfUntil.Add(b.limits.RetiredFor))
	if b.tooShort(item) {
		b.retire(k)
	}
	k.early = item.Lifetime.NotBefore*1000 > uint64(b.now.UnixMilli())
	for _, o := range b.of(id) {
		if item.LastResort && o.item.LastResort && o.item.Suite == item.Suite && k.state == delivery.Available && o.state == delivery.Available {
			b.retire(o)
		}
	}
	if k.forgotten = b.forgot(item); k.forgotten && !item.LastResort && k.state == delivery.Available {
		b.retire(k)
	}
	b.keyPackages = append(b.keyPackages, k)
}

// forgot reports whether an item that is not known here may have been handed out
// before the restore.
func (b *book) forgot(item delivery.NewKeyPackage) bool {
	return !b.restoredAt.IsZero() && item.RestoreEpoch != b.epoch && !endOf(item.Lifetime.NotBefore).After(b.restoredAt)
}

// usableFrom is when one on the shelf becomes valid; zero if it is.
func (b *book) usableFrom(k *keyPackage) (at time.Time) {
	if k.stateAt(b.sure) == delivery.Available && !k.begun(b.now) {
		at = endOf(k.item.Lifetime.NotBefore)
	}
	return at
}

func (b *book) published(id delivery.DeviceID, items, fresh []delivery.NewKeyPackage) (p delivery.Publications) {
	seen := map[mls.KeyPackageRef]bool{}
	for _, item := range items {
		k, status := b.find(item.Ref), delivery.AlreadyStored
		isNew := slices.ContainsFunc(fresh, func(o delivery.NewKeyPackage) bool { return o.Ref == item.Ref })
		switch {
		case isNew && !seen[item.Ref]:
			status = delivery.Stored
		case !isNew && over(k.state):
			status = delivery.Spent
		}
		switch {
		case k.forgotten && !item.LastResort && k.state == delivery.Retired:
			status = delivery.NotAfterRestore
		case status != delivery.Stored:
		case b.tooShort(item):
			status = delivery.TooShortLived
		case item.LastResort && k.state == delivery.Retired:
			status = delivery.Superseded
		case !k.begun(b.now):
			status = delivery.NotYetValid
		}
		first := isNew && !seen[item.Ref]
		seen[item.Ref] = true
		p.Items = append(p.Items, delivery.Published{
			Ref: item.Ref, Suite: item.Suite, LastResort: item.LastResort, Lifetime: item.Lifetime,
			ExpiresAt: b.expiresAt(k).ExpiresAt, UsableFrom: b.usableFrom(k), Status: status, New: first,
		})
	}
	p.Stock, p.RestoreEpoch = b.stock(id), b.epoch
	return p
}

// expiresAt is a KeyPackage as it is listed.
func (b *book) expiresAt(k *keyPackage) delivery.ListedKeyPackage {
	return delivery.ListedKeyPackage{
		Ref: k.item.Ref, Suite: k.item.Suite, LastResort: k.item.LastResort, Lifetime: k.item.Lifetime, Bytes: k.item.Bytes,
		ExpiresAt: first(endOf(k.item.Lifetime.NotAfter), k.published.Add(b.limits.ShelfAge)),
	}
}

// handouts are what a device can hand out: by suite, last resorts last, oldest
// first.
func (b *book) handouts(id delivery.DeviceID) (found []*keyPackage) {
	for _, k := range b.of(id) {
		if b.devices[id] != nil && k.stateAt(b.sure) == delivery.Available && k.begun(b.now) {
			found = append(found, k)
		}
	}
	last := func(k *keyPackage) int {
		if k.item.LastResort {
			return 1
		}
		return 0
	}
	behind := func(k *keyPackage) int {
		if k.returned.Reservation != 0 {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(found, func(x, y *keyPackage) int {
		return cmp.Or(cmp.Compare(x.item.Suite, y.item.Suite), cmp.Compare(last(x), last(y)), cmp.Compare(behind(x), behind(y)))
	})
	return found
}

// list is List without pages.
func (b *book) list(user delivery.UserID, opts delivery.ListOptions) (l delivery.Listing) {
	for _, name := range b.devicesOf(user) {
		on := delivery.DeviceListing{Device: name}
		for _, k := range b.handouts(delivery.DeviceID{User: user, Name: name}) {
			if (len(opts.Suites) == 0 || slices.Contains(opts.Suites, k.item.Suite)) && (k.item.LastResort || !opts.LastResortOnly) {
				if k.damaged {
					if len(opts.Devices) == 0 || slices.Contains(opts.Devices, name) {
						b.notice(k)
					}
					continue
				}
				on.KeyPackages = append(on.KeyPackages, b.expiresAt(k))
			}
		}
		if len(on.KeyPackages) > 0 && (len(opts.Devices) == 0 || slices.Contains(opts.Devices, name)) {
			l.Devices = append(l.Devices, on)
		}
	}
	return l
}

func (b *book) inventory(id delivery.DeviceID) (inv delivery.Inventory) {
	counts := map[mls.CipherSuite]*delivery.SuiteCounts{}
	for _, k := range b.of(id) {
		state := k.told(b.sure)
		if b.needed(k) {
			inv.Refs = append(inv.Refs, k.item.Ref)
			b.count(counts, k, state)
			if r := k.returned; r.Reservation != 0 {
				inv.GivenBack = append(inv.GivenBack, delivery.ReturnedKeyPackage{Ref: k.item.Ref, Suite: k.item.Suite, At: r.At, Reason: r.Reason})
			}
		}
	}
	slices.SortFunc(inv.GivenBack, func(x, y delivery.ReturnedKeyPackage) int { return cmp.Compare(x.Ref, y.Ref) })
	for _, k := range b.lastResorts(id) {
		inv.LastResort = append(inv.LastResort, delivery.LastResort{Ref: k.item.Ref, Suite: k.item.Suite, HandedOutAt: k.handedOut, UsableFrom: b.usableFrom(k)})
	}
	for _, suite := range slices.Sorted(maps.Keys(counts)) {
		inv.Counts = append(inv.Counts, *counts[suite])
	}
	slices.Sort(inv.Refs)
	h := sha256.New()
	for _, ref := range inv.Refs {
		h.Write([]byte(ref))
	}
	inv.Digest, inv.RestoreEpoch = delivery.Digest(h.Sum(nil)), b.epoch
	return inv
}

func (b *book) lastResorts(id delivery.DeviceID) (found []*keyPackage) {
	for _, k := range b.of(id) {
		if k.item.LastResort && k.told(b.sure) == delivery.Available {
			found = append(found, k)
		}
	}
	slices.SortStableFunc(found, func(x, y *keyPackage) int { return cmp.Compare(x.item.Suite, y.item.Suite) })
	return found
}

func (b *book) count(counts map[mls.CipherSuite]*delivery.SuiteCounts, k *keyPackage, state delivery.KeyPackageState) {
	c := counts[k.item.Suite]
	if c == nil {
		c = &delivery.SuiteCounts{Suite: k.item.Suite}
	}
	column := map[delivery.KeyPackageState]*int{
		delivery.Available: &c.Available, delivery.Reserved: &c.Reserved, delivery.Retired: &c.Retired,
		delivery.Matched: &c.Matched, delivery.Consumed: &c.Delivered,
	}[state]
	if !b.usableFrom(k).IsZero() {
		column = &c.NotYetValid
	}
	if column != nil {
		*column++
		counts[k.item.Suite] = c
	}
}

func (b *book) sync(id delivery.DeviceID, digest delivery.Digest, refs []mls.KeyPackageRef) (r delivery.SyncResult, err error) {
	if b.inventory(id).Digest != digest {
		return r, delivery.ErrInventoryChanged
	}
	for i, ref := range refs {
		k := b.find(ref)
		switch {
		case slices.Contains(refs[:i], ref):
		case k == nil || k.owner != id:
			r.Unknown = append(r.Unknown, ref)
		case !b.needed(k):
			r.Spent = append(r.Spent, ref)
		}
	}
	for _, k := range b.of(id) {
		fresh := k.stateAt(b.sure) == delivery.Available && b.now.Sub(k.published) < day
		if !slices.Contains(refs, k.item.Ref) && b.withdraw(k) {
			r.Withdrawn = append(r.Withdrawn, k.item.Ref)
			if fresh {
				r.Fresh++
			}
		}
	}
	b.heard(id)
	r.Digest = b.inventory(id).Digest
	return r, nil
}

// heard notes that a device did something that need not be noted as having been
// seen.
func (b *book) heard(id delivery.DeviceID) {
	if d := b.devices[id]; d != nil {
		d.last = b.now
	}
}

func (b *book) withdrawOne(id delivery.DeviceID, ref mls.KeyPackageRef) error {
	k := b.find(ref)
	switch {
	case k == nil || k.owner != id:
		return delivery.ErrNotFound
	case k.state == delivery.Consumed:
		return delivery.ErrConsumed
	}
	b.withdraw(k)
	return nil
}

// removeDevice withdraws all. What was delivered can no longer be settled.
// Credentials from before it bring back neither the device nor one that was
// removed already.
func (b *book) removeDevice(id delivery.DeviceID) {
	b.revokeTokens(delivery.TokenOwner{User: id.User, Device: id.Name})
	switch {
	case b.devices[id] != nil:
		b.removed[id] = b.now
		delete(b.maybe, id)
	case b.knowsGone(id):
		b.removed[id] = b.now
	case b.mayKnow(id):
		b.maybe[id] = latest(b.maybe[id], b.now)
	}
	if b.devices[id] == nil {
		return
	}
	keyPackages, recipients := map[*keyPackage]delivery.KeyPackageState{}, map[*recipient]delivery.WelcomeState{}
	for _, k := range b.of(id) {
		keyPackages[k] = k.state
	}
	for _, e := range b.recipients(id) {
		recipients[e] = e.state
	}
	for _, k := range b.of(id) {
		b.withdraw(k)
	}
	for _, e := range b.recipients(id) {
		b.endWith(e)
	}
	for _, k := range b.of(id) {
		if b.close(k); k.state != keyPackages[k] {
			k.unswept = keyPackages[k]
		}
	}
	for _, e := range b.recipients(id) {
		if e.state != recipients[e] {
			e.unswept = recipients[e]
		}
	}
	delete(b.devices, id)
}

// giveTo ends a KeyPackage for its owner, with all Welcomes for it, and has it be retired
// as another device's.
func (b *book) giveTo(to delivery.DeviceID, ref mls.KeyPackageRef) error {
	k := b.find(ref)
	switch {
	case k == nil:
		return delivery.ErrNotFound
	case k.owner == to:
		return nil
	}
	swept := b.bytesSwept(k)
	b.withdraw(k)
	for _, l := range b.welcomes {
		for _, e := range l.recipients {
			if e.ref == ref && e.verdict == "" {
				e.unswept = 0
				if e.open() {
					b.end(e, delivery.Lapsed, b.now)
				}
			}
		}
	}
	b.forget(k)
	if b.devices[to] == nil {
		b.lives++
		b.devices[to] = &device{life: b.lives}
	}
	b.devices[to].heard, b.devices[to].last = b.now, b.now
	given := &keyPackage{item: k.item, owner: to, life: b.devices[to].life, published: b.now, forgotten: true, damaged: k.damaged, dropped: k.dropped, swept: swept}
	given.shelfUntil = first(endOf(k.item.Lifetime.NotAfter).Add(-b.limits.LifetimeMargin), b.now.Add(b.limits.ShelfAge))
	given.usableUntil = first(endOf(k.item.Lifetime.NotAfter), given.shelfUntil.Add(b.limits.RetiredFor))
	b.retire(given)
	b.keyPackages = append(b.keyPackages, given)
	return nil
}

// bytesSwept reports whether a sweep may have forgotten the bytes of a KeyPackage.
func (b *book) bytesSwept(k *keyPackage) bool {
	return k.swept || !k.closed.IsZero() && come(k.closed.Add(b.limits.IdempotencyKept), b.swept)
}

// endWith ends what a device was given with the device.
func (b *book) endWith(e *recipient) {
	if e.open() {
		e.state, e.ended, e.closed = delivery.Lapsed, b.now, b.now
	}
	e.overdue = false
}

// removeUser removes all devices of a user. Whether credentials of one that was never there
// are refused since is left open.
func (b *book) removeUser(user delivery.UserID) {
	of := devicesOf(user)
	known := slices.ContainsFunc(of, b.mayKnow)
	for _, id := range of {
		if b.mayKnow(id) {
			b.removeDevice(id)
		} else if known {
			b.maybe[id] = b.now
		}
	}
	b.revokeTokens(delivery.TokenOwner{User: user})
}

func (b *book) deviceInfos(user delivery.UserID) (infos []delivery.DeviceInfo) {
	for _, name := range b.devicesOf(user) {
		id := delivery.DeviceID{User: user, Name: name}
		info := delivery.DeviceInfo{Device: name, SeenAt: b.devices[id].heard, IdleSince: b.idleSince(b.devices[id].heard), Counts: b.inventory(id).Counts}
		for _, e := range b.recipients(id) {
			if e.state == delivery.Pending {
				info.Pending++
			}
		}
		infos = append(infos, info)
	}
	return infos
}

// keyPackage tells a caller what became of a KeyPackage.
func (b *book) keyPackage(caller delivery.Caller, ref mls.KeyPackageRef) (s delivery.KeyPackageStatus, err error) {
	k := b.find(ref)
	if k == nil {
		return s, delivery.ErrNotFound
	}
	var matched *welcome
	if k.welcome != nil {
		matched = b.welcome(*k.welcome)
	}
	// The one that matched may be forgotten, and posted again since.
	if matched != nil && !slices.ContainsFunc(matched.recipients, func(e *recipient) bool { return e.ref == ref && e.verdict == "" }) {
		matched = nil
	}
	nobody := caller == delivery.Unauthenticated()
	owns := nobody || caller.User == k.owner.User
	posted := matched != nil && (nobody || caller.ID() == matched.poster.ID())
	reserved := k.reservedBy != "" && k.reservedBy == caller.ID()
	if !owns && !posted && !reserved {
		return s, delivery.ErrNotFound
	}
	s = delivery.KeyPackageStatus{
		Ref: ref, Device: k.owner, Suite: k.item.Suite, LastResort: k.item.LastResort, State: k.told(b.sure), Lifetime: k.item.Lifetime,
		PublishedAt: k.published, ReservedAt: k.reserved, HandedOutAt: k.handedOut, UsableFrom: b.usableFrom(k), EndedAt: k.ended,
	}
	if matched != nil && (owns || posted) {
		s.Welcome = &matched.id
	}
	return s, nil
}

// restored retires what was on the shelves when a copy was made.
func (b *book) restored(epoch string) {
	b.restoredAt, b.epoch = b.now, epoch
	for _, k := range b.keyPackages {
		if k.reservation != 0 {
			k.cleared = true
			b.restoredOver[k.reservation] = true
		}
		if k.state != delivery.Available {
			continue
		}
		if k.forgotten = true; !k.item.LastResort {
			b.retire(k)
		}
	}
}

// reserve is Reserve.
func (b *book) reserve(caller delivery.Caller, req delivery.ReserveRequest) (delivery.Reservation, error) {
	if len(req.Users) > b.limits.UsersPerReserve {
		return delivery.Reservation{}, delivery.ErrTooMany
	}
	key := repeatKey(caller, req)
	if r := b.repeats[key]; r != nil && req.IdempotencyKey != "" && b.sure.Before(r.until) {
		if text(r.request) != text(inCommon(req)) || r.device != caller.Device {
			return delivery.Reservation{}, delivery.ErrIdempotencyKeyReused
		}
		return b.repeated(r.answer), nil
	}
	users, asked := b.targets(caller, req)
	total := 0
	for _, user := range users {
		total += len(asked[user])
	}
	if total > b.limits.DevicesPerReserve {
		return delivery.Reservation{}, delivery.ErrTooMany
	}
	b.noted = nil
	suite := b.bestSuite(users, asked, req)
	if b.tooLarge(users, asked, suite, req) {
		return delivery.Reservation{}, delivery.ErrTooMany
	}
	answer := b.handOut(caller, users, asked, suite, req)
	for _, k := range b.noted {
		b.notice(k)
	}
	if req.IdempotencyKey != "" {
		b.repeats[key] = &repeat{inCommon(req), caller.Device, answer, b.now.Add(b.limits.IdempotencyKept)}
	}
	return answer, nil
}

// repeated is an answer without what was given back since.
func (b *book) repeated(first delivery.Reservation) delivery.Reservation {
	answer := first
	answer.Repeated, answer.Users = true, slices.Clone(first.Users)
	for i, u := range answer.Users {
		u.Devices = slices.Clone(u.Devices)
		served, given := 0, 0
		for j, d := range u.Devices {
			if d.KeyPackage == nil {
				continue
			}
			k := b.find(d.KeyPackage.Ref)
			if k != nil && (k.owner != delivery.DeviceID{User: u.User, Name: d.Device} || !k.item.LastResort && k.reservation != first.ID) {
				u.Devices[j].Status, u.Devices[j].KeyPackage = delivery.DeviceGivenBack, nil
				given++
			} else if k != nil && (k.damaged || k.dropped) {
				u.Devices[j].Status, u.Devices[j].KeyPackage = delivery.DeviceDamaged, nil
				given++
				if k.damaged && !over(k.state) {
					b.notice(k)
				}
			} else {
				served++
			}
		}
		if given > 0 {
			u.Status = delivery.UserExhausted
			if served > 0 {
				u.Status = delivery.UserPartial
			}
		}
		answer.Users[i] = u
	}
	return answer
}

// giveBack is GiveBack. It returns what went back to a shelf, too.
func (b *book) giveBack(caller delivery.Caller, req delivery.GiveBackRequest) (r delivery.GiveBackResult, shelved []mls.KeyPackageRef) {
	refs := req.Refs
	if refs == nil {
		for _, k := range b.keyPackages {
			held := k.reservation == req.Reservation && k.state == delivery.Reserved
			if held || k.returned.Reservation == req.Reservation {
				refs = append(refs, k.item.Ref)
			}
		}
		slices.Sort(refs)
	}
	told := map[mls.KeyPackageRef]delivery.GiveBackStatus{}
	for _, ref := range refs {
		if _, again := told[ref]; !again {
			var onShelf bool
			if told[ref], onShelf = b.giveOne(caller, req, ref, &r); onShelf {
				shelved = append(shelved, ref)
			}
		}
		if req.Refs != nil || told[ref] != delivery.GiveBackNotHeld {
			r.KeyPackages = append(r.KeyPackages, delivery.GivenBackKeyPackage{Ref: ref, Status: told[ref]})
		}
	}
	return r, shelved
}

func (b *book) giveOne(caller delivery.Caller, req delivery.GiveBackRequest, ref mls.KeyPackageRef, r *delivery.GiveBackResult) (status delivery.GiveBackStatus, shelved bool) {
	k := b.find(ref)
	may := func(by string) bool { return caller.ID() == "" || by != "" && caller.ID() == by }
	switch {
	case k == nil:
		return delivery.GiveBackNotHeld, false
	case k.item.LastResort && !k.handedOut.IsZero():
		return delivery.GiveBackLastResort, false
	case k.returned.Reservation == req.Reservation && may(k.returned.By):
		return delivery.GivenBack, false
	case k.reservation != req.Reservation || !may(k.reservedBy):
		return delivery.GiveBackNotHeld, false
	}
	switch k.stateAt(b.sure) {
	case delivery.Matched, delivery.Consumed:
		return delivery.GiveBackUsed, false
	case delivery.Expired, delivery.Withdrawn:
		return delivery.GiveBackEnded, false
	}
	r.New++
	k.forgotten = k.forgotten || b.restoredOver[k.reservation]
	k.returned = delivery.Return{Reservation: k.reservation, By: k.reservedBy, At: b.now, Reason: req.Reason}
	k.reservation, k.reservedBy, k.reserved, k.abandoned = 0, "", time.Time{}, false
	if req.Reason == delivery.GivenBackUnused && !k.cleared && b.sure.Before(k.shelfUntil) && b.available(k.owner) < b.limits.KeyPackagesPerDevice {
		k.state, k.usableUntil = delivery.Available, first(endOf(k.item.Lifetime.NotAfter), k.shelfUntil.Add(b.limits.RetiredFor))
		return delivery.GivenBack, true
	}
	b.retire(k)
	return delivery.GivenBack, false
}

// inCommon is what a repeated request has to have in common with the first.
func inCommon(req delivery.ReserveRequest) delivery.ReserveRequest {
	req.LastResortOnly, req.Bytes = nil, 0
	return req
}

// tooLarge reports whether more bytes would be handed out than the request allows;
// one KeyPackage always is.
func (b *book) tooLarge(users []delivery.UserID, asked map[delivery.UserID][]string, suite mls.CipherSuite, req delivery.ReserveRequest) bool {
	if suite == 0 {
		return false
	}
	n, bytes := 0, 0
	for _, user := range users {
		for _, name := range asked[user] {
			if b.leftOut(delivery.DeviceID{User: user, Name: name}, req) {
				continue
			}
			if k := b.offer(delivery.DeviceID{User: user, Name: name}, suite, req); k != nil {
				n, bytes = n+1, bytes+len(k.item.Bytes)
			}
		}
	}
	return req.Bytes > 0 && n > 1 && bytes > req.Bytes
}

func repeatKey(caller delivery.Caller, req delivery.ReserveRequest) string {
	return caller.ID() + "\x00" + req.IdempotencyKey
}

// outlived reports whether an answer that would be repeated may have outlived
// what it hands out, which only one from a wrong future can.
func (b *book) outlived(caller delivery.Caller, req delivery.ReserveRequest) bool {
	r := b.repeats[repeatKey(caller, req)]
	if r == nil {
		return false
	}
	for _, u := range r.answer.Users {
		for _, d := range u.Devices {
			if d.KeyPackage == nil {
				continue
			}
			if k := b.find(d.KeyPackage.Ref); k == nil || k.dropped && over(k.state) || b.bytesSwept(k) {
				return true
			}
		}
	}
	return false
}

// targets returns the users in the order in which they are named, and which of
// their devices are asked for.
func (b *book) targets(caller delivery.Caller, req delivery.ReserveRequest) (users []delivery.UserID, asked map[delivery.UserID][]string) {
	asked = map[delivery.UserID][]string{}
	name := func(user delivery.UserID) {
		if !slices.Contains(users, user) {
			users = append(users, user)
		}
	}
	ask := func(id delivery.DeviceID) {
		self := caller.User == id.User && caller.Device == id.Name
		if !self && !slices.Contains(req.Except, id) && !slices.Contains(asked[id.User], id.Name) {
			asked[id.User] = append(asked[id.User], id.Name)
		}
	}
	for _, user := range req.Users {
		name(user)
		for _, device := range b.devicesOf(user) {
			ask(delivery.DeviceID{User: user, Name: device})
		}
	}
	for _, id := range req.Devices {
		name(id.User)
		ask(id)
	}
	return users, asked
}

// offer is what a device hands out next in a suite (0: in any).
func (b *book) offer(id delivery.DeviceID, suite mls.CipherSuite, req delivery.ReserveRequest) *keyPackage {
	for _, k := range b.handouts(id) {
		if (suite == 0 || k.item.Suite == suite) && (k.item.LastResort || !slices.Contains(req.LastResortOnly, id.User)) {
			if !k.damaged {
				return k
			}
			if !slices.Contains(b.noted, k) {
				b.noted = append(b.noted, k)
			}
		}
	}
	return nil
}

// notice retires a damaged KeyPackage, of which no byte is left.
func (b *book) notice(k *keyPackage) {
	if b.deaf {
		return
	}
	k.damaged, k.dropped = false, true
	if k.state == delivery.Available {
		b.retire(k)
	}
	b.noticed++
}

// bestSuite is the first by preference that serves every device, else the one
// that serves most; 0 if none serves any.
func (b *book) bestSuite(users []delivery.UserID, asked map[delivery.UserID][]string, req delivery.ReserveRequest) (best mls.CipherSuite) {
	suites := req.Suites
	if len(suites) == 0 {
		suites = b.limits.CipherSuites
	}
	most := 0
	for _, suite := range suites {
		if !slices.Contains(b.limits.CipherSuites, suite) {
			continue
		}
		served, all := 0, true
		for _, user := range users {
			for _, name := range asked[user] {
				if b.leftOut(delivery.DeviceID{User: user, Name: name}, req) {
					continue
				}
				if b.offer(delivery.DeviceID{User: user, Name: name}, suite, req) == nil {
					all = false
				} else {
					served++
				}
			}
		}
		if served > most {
			best, most = suite, served
		}
		if all {
			break
		}
	}
	return best
}

func (b *book) handOut(caller delivery.Caller, users []delivery.UserID, asked map[delivery.UserID][]string, suite mls.CipherSuite, req delivery.ReserveRequest) delivery.Reservation {
	answer := delivery.Reservation{Suite: suite}
	for _, user := range users {
		u := delivery.ReservedUser{User: user}
		for _, name := range asked[user] {
			id := delivery.DeviceID{User: user, Name: name}
			d := b.handOne(caller, id, suite, req)
			if b.devices[id] != nil {
				d.IdleSince = b.idleSince(b.devices[id].told)
			}
			if d.Status == delivery.DeviceReserved {
				answer.ID = b.reservation
			}
			u.Devices = append(u.Devices, d)
		}
		u.Status = userStatus(len(b.devicesOf(user)) > 0, u.Devices)
		answer.Users = append(answer.Users, u)
	}
	return answer
}

func (b *book) handOne(caller delivery.Caller, id delivery.DeviceID, suite mls.CipherSuite, req delivery.ReserveRequest) delivery.ReservedDevice {
	if b.devices[id] == nil {
		return delivery.ReservedDevice{Device: id.Name, Status: delivery.DeviceUnknown}
	}
	if b.leftOut(id, req) {
		return delivery.ReservedDevice{Device: id.Name, Status: delivery.DeviceIdle}
	}
	d := delivery.ReservedDevice{Device: id.Name, Status: delivery.DeviceReserved}
	var k *keyPackage
	if suite != 0 { // else nobody is served
		k = b.offer(id, suite, req)
	}
	if k == nil {
		return b.unserved(id, suite, req)
	}
	if k.item.LastResort {
		d.Status = delivery.DeviceLastResort
	}
	listed := b.expiresAt(k)
	d.KeyPackage = &listed
	b.reserveFor(k, caller.ID())
	if !k.item.LastResort {
		k.reservation, k.cleared = b.reservation, false
	}
	return d
}

// unserved says why a device gives nothing in the suite of the answer, or in any
// that was asked for where the answer has none.
func (b *book) unserved(id delivery.DeviceID, suite mls.CipherSuite, req delivery.ReserveRequest) delivery.ReservedDevice {
	d := delivery.ReservedDevice{Device: id.Name, Status: delivery.DeviceExhausted}
	asked := req.Suites
	if len(asked) == 0 {
		asked = b.limits.CipherSuites
	}
	if suite != 0 {
		asked = []mls.CipherSuite{suite}
	}
	for _, k := range b.of(id) {
		drained := slices.Contains(req.LastResortOnly, id.User) && !k.item.LastResort
		if drained || k.stateAt(b.sure) != delivery.Available || slices.Contains(b.noted, k) {
			continue
		}
		if !slices.Contains(asked, k.item.Suite) || !slices.Contains(b.limits.CipherSuites, k.item.Suite) {
			d.Suites = append(d.Suites, k.item.Suite)
		} else if at := endOf(k.item.Lifetime.NotBefore); d.UsableFrom.IsZero() || at.Before(d.UsableFrom) {
			d.UsableFrom = at
		}
	}
	slices.Sort(d.Suites)
	d.Suites = slices.Compact(d.Suites)
	switch {
	case !d.UsableFrom.IsZero():
		d.Status, d.Suites = delivery.DeviceNotYetValid, nil
	case len(d.Suites) > 0:
		d.Status = delivery.DeviceIncompatible
	}
	return d
}

func userStatus(known bool, devices []delivery.ReservedDevice) delivery.UserReserveStatus {
	served, incompatible, counted := 0, 0, 0
	for _, d := range devices {
		if d.KeyPackage != nil {
			served++
		}
		if d.Status != delivery.DeviceIdle {
			counted++
		}
		if d.Status == delivery.DeviceIncompatible {
			incompatible++
		}
	}
	switch {
	case !known:
		return delivery.UserUnknown
	case counted == 0:
		return delivery.UserLeftOut
	case served == counted:
		return delivery.UserSuccess
	case served > 0:
		return delivery.UserPartial
	case incompatible == counted:
		return delivery.UserIncompatible
	}
	return delivery.UserExhausted
}

// sameError reports whether two refusals are the same, as far as the contract
// says.
func sameError(got, want error) bool {
	if want == nil || got == nil {
		return got == want
	}
	refusals := []error{
		delivery.ErrNotFound, delivery.ErrInvalidKeyPackage, delivery.ErrInitKeyReused, delivery.ErrKeyPackageSpent, delivery.ErrNotYours, delivery.ErrStockFull,
		delivery.ErrDeviceLimit, delivery.ErrWrongSuite, delivery.ErrConsumed, delivery.ErrInventoryChanged,
		delivery.ErrIdempotencyKeyReused, delivery.ErrTooMany, delivery.ErrBadCursor, delivery.ErrNoMatchingKeyPackage,
		delivery.ErrDeviceRemoved, delivery.ErrTooManyTokens, delivery.ErrPostedDifferently, delivery.ErrCancelled, delivery.ErrNotDelivered, delivery.ErrClock, delivery.ErrClosed,
	}
	for _, refusal := range refusals {
		if errors.Is(got, refusal) != errors.Is(want, refusal) {
			return false
		}
	}
	return true
}

package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// Publish implements delivery.Store.
func (s *Store) Publish(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	return s.publish(ctx, publication{caller: caller, id: id, items: items})
}

// Replace implements delivery.Store.
func (s *Store) Replace(ctx context.Context, caller delivery.Caller, id delivery.DeviceID, suite mls.CipherSuite, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	return s.publish(ctx, publication{caller: caller, id: id, items: items, replace: true, suite: suite})
}

// A publication is a Publish or a Replace in progress.
type publication struct {
	caller  delivery.Caller
	id      delivery.DeviceID
	items   []delivery.NewKeyPackage
	replace bool
	suite   mls.CipherSuite // limits the replacement; 0: all
	seen    *publishLook    // nil: nothing was looked at yet
}

// A publishLook is what was found out about a publication outside the writer, where there is
// time to read a lot.
type publishLook struct {
	search *initKeySearch // as far as it has come
	beside int            // on the shelves of the user's other devices
	aside  int            // retired of those
	before bool           // a replacement decides about what was reserved before it
}

func (t *Txn) lookAt(p publication) *publishLook {
	t.aheadOfPublication(p)
	l := &publishLook{search: newInitKeySearch(p.items)}
	if len(p.items) > 0 {
		t.searchInitKeys(p.id, l.search)
	}
	l.before = p.replace && t.reservedBefore(t.device(p.id), p.suite)
	for _, d := range t.userDevices(p.id.User) {
		if d.id != p.id {
			l.beside += t.available(d)
			l.aside += d.retired
		}
	}
	return l
}

// clone returns a copy of the look that can go on independently.
func (l *publishLook) clone() *publishLook {
	return &publishLook{l.search.clone(), l.beside, l.aside, l.before}
}

func (s *Store) publish(ctx context.Context, p publication) (answer delivery.Publications, err error) {
	cost := 0
	for _, item := range p.items {
		cost += len(item.Bytes)
	}
	var looked *publishLook
	err = s.doAs(ctx, p.caller, &Event{Cost: cost, Look: func(t *Txn) (changes bool, err error) {
		looked = t.lookAt(p)
		look := p
		look.seen = looked.clone()
		plan, err := t.planPublication(look)
		if changes := plan.changes() || look.seen.before || t.beginsLastResortsOnly(look, plan); err != nil || changes {
			return changes, err
		}
		answer = t.published(look, plan, nil, plan.device)
		return false, nil
	}, Run: func(t *Txn) error {
		apply := p
		apply.seen = looked.clone()
		answer, err = t.publish(apply)
		return err
	}})
	return answer, err
}

// A publishPlan is what a publication will do. It is decided before anything is written.
type publishPlan struct {
	device  *device             // nil if it is new
	known   map[int]*keyPackage // items published before
	again   map[int]bool        // items that stand earlier in the same publication
	added   []int               // items that are new
	retired []*keyPackage
}

// changes reports whether there is anything to write.
func (p *publishPlan) changes() bool { return len(p.added) > 0 || len(p.retired) > 0 }

func (t *Txn) publish(p publication) (delivery.Publications, error) {
	if p.seen == nil {
		p.seen = t.lookAt(p)
	}
	plan, err := t.planPublication(p)
	if err != nil {
		return delivery.Publications{}, err
	}
	d := plan.device
	if len(plan.added) > 0 {
		d = t.createDevice(p.id)
	}
	for _, k := range plan.retired {
		k.rec.Retire(*t.limits, t.now)
		t.saveKeyPackage(d, k)
	}
	if p.replace && (plan.changes() || p.seen.before) && d != nil {
		t.noteReplaced(d, p.suite)
	}
	t.noteLastResortsOnly(d, p, plan)
	added := t.addKeyPackages(d, p, plan.added)
	return t.published(p, plan, added, d), nil
}

// onlyLastResorts reports whether a publication means that its device wants to publish nothing
// but last resorts: it has only those, and it is the device's first publication or replaces all
// shelves.
func (p publication) onlyLastResorts(plan publishPlan) bool {
	first := plan.device == nil && len(plan.added) > 0
	return len(p.items) > 0 && (first || p.replace && p.suite == 0) &&
		!slices.ContainsFunc(p.items, func(item delivery.NewKeyPackage) bool { return !item.LastResort })
}

// beginsLastResortsOnly reports whether the publication is the first of an existing device that
// means so.
func (t *Txn) beginsLastResortsOnly(p publication, plan publishPlan) bool {
	return plan.device != nil && plan.device.onlySince.IsZero() && p.onlyLastResorts(plan)
}

// noteLastResortsOnly notes that the device publishes nothing but last resorts, or that it does
// no more.
func (t *Txn) noteLastResortsOnly(d *device, p publication, plan publishPlan) {
	switch {
	case d == nil:
	case slices.ContainsFunc(plan.added, func(i int) bool { return !p.items[i].LastResort }):
		d.onlySince = time.Time{}
	case d.onlySince.IsZero() && p.onlyLastResorts(plan):
		d.onlySince = t.now
		t.changed(d)
	}
}

func (t *Txn) addKeyPackages(d *device, p publication, items []int) map[int]*keyPackage {
	added := make(map[int]*keyPackage, len(items))
	initKeys := make([]initKey, len(items))
	for n, i := range items {
		added[i] = t.addKeyPackage(d, p.items[i])
		t.retireLastResort(d, added[i])
		initKeys[n] = initKey{added[i].number, p.seen.search.hashes[i]}
	}
	if len(items) > 0 {
		t.noteInitKeys(d, p.seen.search, initKeys)
	}
	return added
}

func (t *Txn) planPublication(p publication) (publishPlan, error) {
	plan := publishPlan{device: t.device(p.id), known: map[int]*keyPackage{}, again: map[int]bool{}}
	var refusals refusals
	seen := map[mls.KeyPackageRef]bool{}
	search, reused := p.seen.search, map[initHash]bool{} // reused: by the items before
	if len(p.items) > 0 {
		t.searchInitKeys(p.id, search)
	}
	for i, item := range p.items {
		if seen[item.Ref] {
			plan.again[i] = true
			continue
		}
		seen[item.Ref] = true
		if p.suite != 0 && item.Suite != p.suite {
			refusals.add(delivery.ErrWrongSuite, i, item, delivery.ItemWrongSuite, "this replaces KeyPackages of "+p.suite.String())
			continue
		}
		if owner, k := t.refNeighbour(item.Ref); k != nil {
			if owner.id != p.id || k.rec.Ref != item.Ref {
				refusals.add(delivery.ErrNotYours, i, item, delivery.ItemNotYours, "another device published these bytes")
			}
			plan.known[i] = k
			continue
		}
		if item.Bytes == nil {
			return plan, delivery.ErrNotFound
		}
		if code, detail, ok := t.limits.Judge(item, t.sure, t.now); !ok {
			refusals.add(delivery.ErrInvalidKeyPackage, i, item, code, detail)
			continue
		}
		hash := search.hashes[i]
		if before, twice := search.used[hash], reused[hash]; before != 0 || twice {
			kind := delivery.ErrInitKeyReused
			if !twice && t.ended(plan.device, before) {
				kind = delivery.ErrKeyPackageSpent
			}
			refusals.add(kind, i, item, delivery.ItemInitKeyReused, "another KeyPackage of this device had this init_key")
			continue
		}
		reused[hash] = true
		plan.added = append(plan.added, i)
	}
	t.refuseAllSpent(p, plan, &refusals)
	if err := refusals.err(); err != nil {
		return plan, err
	}
	if p.replace {
		t.planRetirement(p, seen, &plan)
	}
	return plan, t.checkRoom(p, plan)
}

// refuseAllSpent refuses a publication of which every KeyPackage is used up.
func (t *Txn) refuseAllSpent(p publication, plan publishPlan, r *refusals) {
	for _, k := range plan.known {
		if !k.rec.State.Ended() {
			return
		}
	}
	if len(plan.known) == 0 || len(plan.known)+len(plan.again) < len(p.items) {
		return
	}
	for i, item := range p.items {
		r.add(delivery.ErrKeyPackageSpent, i, item, delivery.ItemSpent, "published before, and its end has come")
	}
}

// planRetirement finds what a replacement takes off the shelf. That includes KeyPackages that
// are too old for the shelf, because the clock may turn out to be wrong.
func (t *Txn) planRetirement(p publication, keep map[mls.KeyPackageRef]bool, plan *publishPlan) {
	if plan.device == nil {
		return
	}
	for _, k := range t.onShelf(plan.device, p.suite) {
		if !keep[k.rec.Ref] {
			plan.retired = append(plan.retired, k)
		}
	}
}

// checkRoom refuses a publication that does not fit on the shelf or on all shelves of the user,
// that leaves too many KeyPackages off the shelf, or that makes one device too many.
func (t *Txn) checkRoom(p publication, plan publishPlan) error {
	if len(plan.added) > 0 && plan.device == nil {
		if n := len(t.userDevices(p.id.User)); n >= t.limits.DevicesPerUser {
			return fmt.Errorf("%w: %s has %d", delivery.ErrDeviceLimit, p.id.User, n)
		}
	}
	shelf, adding := 0, 0
	if plan.device != nil {
		shelf = t.available(plan.device)
	}
	for _, k := range plan.retired {
		if !k.rec.LastResort && k.rec.StateAt(t.sure) == delivery.Available {
			shelf--
		}
	}
	for _, i := range plan.added {
		if !p.items[i].LastResort && !t.forgot(p.items[i]) {
			adding++
		}
	}
	room, full := t.room(shelf, p.seen.beside)
	if adding > room {
		return &delivery.StockFullError{Room: room, Full: full}
	}
	return t.checkRetired(p, plan, room)
}

// room returns how many more KeyPackages fit on a shelf that has shelf, if the user's other
// shelves have beside. It also returns which of the two limits says so.
func (t *Txn) room(shelf, beside int) (room int, full delivery.FullPlace) {
	room, full = t.limits.KeyPackagesPerDevice-shelf, delivery.FullShelf
	if all := t.limits.KeyPackagesPerUser - shelf - beside; all < room {
		room, full = all, delivery.FullShelves
	}
	return max(0, room), full
}

// checkRetired refuses a publication that would leave too many KeyPackages off the shelf.
// KeyPackages that others have reserved or matched do not count, so that nobody can keep a
// device from filling its shelf.
func (t *Txn) checkRetired(p publication, plan publishPlan, room int) error {
	retiring := t.retiring(p, plan)
	if retiring == 0 {
		return nil
	}
	left := min(t.limits.RetiredPerDevice, t.limits.RetiredPerUser-p.seen.aside)
	if plan.device != nil {
		left -= plan.device.retired
	}
	if retiring <= left {
		return nil
	}
	if len(plan.retired) > 0 {
		left = 0 // however few are published, as many are retired
	}
	return &delivery.StockFullError{Room: max(0, min(left, room)), Full: delivery.FullRetired}
}

// retiring returns how many more KeyPackages would be retired: those that a replacement takes
// off the shelf, last resorts with a newer successor, and new ones that are not put on the
// shelf.
func (t *Txn) retiring(p publication, plan publishPlan) int {
	retiring, lastResorts := len(plan.retired), make(map[mls.CipherSuite]bool)
	for _, i := range plan.added {
		item := p.items[i]
		switch {
		case t.newRecord(item).State == delivery.Retired:
			retiring++
		case item.LastResort && lastResorts[item.Suite]:
			retiring++ // by the one behind it
		case item.LastResort:
			lastResorts[item.Suite] = true
			retiring += t.lastResortsLeft(plan, item.Suite)
		}
	}
	return retiring
}

// lastResortsLeft counts the last resorts of a suite that stay on the shelf.
func (t *Txn) lastResortsLeft(plan publishPlan, suite mls.CipherSuite) (n int) {
	if plan.device == nil {
		return 0
	}
	for _, k := range t.lastResorts(plan.device, suite) {
		retired := slices.ContainsFunc(plan.retired, func(r *keyPackage) bool { return r.number == k.number })
		if !retired {
			n++
		}
	}
	return n
}

// retireLastResort takes all last resorts of a suite but the newest off the shelf.
func (t *Txn) retireLastResort(d *device, newest *keyPackage) {
	if !newest.rec.LastResort || newest.rec.State != delivery.Available {
		return
	}
	for _, k := range t.lastResorts(d, newest.rec.Suite) {
		if k.number != newest.number {
			k.rec.Retire(*t.limits, t.now)
			t.saveKeyPackage(d, k)
		}
	}
}

func (t *Txn) published(p publication, plan publishPlan, added map[int]*keyPackage, d *device) delivery.Publications {
	answer := delivery.Publications{Items: make([]delivery.Published, len(p.items)), RestoreEpoch: t.store.restore.Epoch}
	byRef := make(map[mls.KeyPackageRef]delivery.Published, len(p.items))
	for i, item := range p.items {
		if plan.again[i] {
			answer.Items[i] = byRef[item.Ref]
			if answer.Items[i].New && answer.Items[i].Status != delivery.NotAfterRestore {
				answer.Items[i].Status = delivery.AlreadyStored
			}
			answer.Items[i].New = false
			continue
		}
		k := cmp.Or(added[i], plan.known[i])
		if k.rec.LastResort && k.rec.State == delivery.Available {
			k = t.keyPackage(d, k.keyPackageKey) // one behind it may have taken its place
		}
		status := delivery.AlreadyStored
		switch {
		case added[i] != nil:
			status = t.storedAs(k)
		case k.rec.State.Ended():
			status = delivery.Spent
		}
		if k.rec.BeforeRestore && !k.rec.LastResort && k.rec.State == delivery.Retired {
			status = delivery.NotAfterRestore
		}
		answer.Items[i] = delivery.Published{
			Ref: item.Ref, Suite: item.Suite, LastResort: item.LastResort, Lifetime: item.Lifetime,
			ExpiresAt: k.rec.ExpiresAt(*t.limits), UsableFrom: k.rec.UsableFrom(t.sure, t.now), Status: status,
			New: added[i] != nil,
		}
		byRef[item.Ref] = answer.Items[i]
	}
	answer.Stock = t.stock(d)
	answer.Stock.Room, _ = t.room(answer.Stock.Available+answer.Stock.NotYetValid, p.seen.beside)
	return answer
}

// storedAs says whether a new KeyPackage can be handed out now, later, or never.
func (t *Txn) storedAs(k *keyPackage) delivery.PublishedStatus {
	switch {
	case k.rec.TooShortLived(t.sure):
		return delivery.TooShortLived
	case k.rec.LastResort && k.rec.State == delivery.Retired:
		return delivery.Superseded
	case !k.rec.UsableFrom(t.sure, t.now).IsZero():
		return delivery.NotYetValid
	}
	return delivery.Stored
}

// refusals gathers the refused items of a publication. The publication is refused for the
// gravest of the reasons.
type refusals struct {
	items map[error][]delivery.InvalidItem
}

func (r *refusals) add(kind error, index int, item delivery.NewKeyPackage, code delivery.ItemCode, detail string) {
	if r.items == nil {
		r.items = make(map[error][]delivery.InvalidItem)
	}
	r.items[kind] = append(r.items[kind], delivery.InvalidItem{Index: index, Ref: item.Ref.String(), Code: code, Detail: detail})
}

func (r *refusals) err() error {
	for _, kind := range []error{delivery.ErrInvalidKeyPackage, delivery.ErrWrongSuite, delivery.ErrNotYours, delivery.ErrInitKeyReused, delivery.ErrKeyPackageSpent} {
		if items := r.items[kind]; len(items) > 0 {
			return &delivery.PublishError{Err: kind, Items: items}
		}
	}
	return nil
}

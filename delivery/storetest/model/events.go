package model

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
)

// patience is how long to wait for what must happen at once.
const patience = 10 * time.Second

// events are what may happen next. Those that stand first are drawn more often,
// as is the last.
func (w *world) events() map[string]func(*rapid.T) {
	named := []struct {
		name  string
		event func()
	}{
		{"publish", w.publish}, {"post", w.post}, {"claim", w.claim}, {"reserve", w.reserve}, {"post again", w.postAgain},
		{"claim", w.claim}, {"publish", w.publish}, {"post", w.post}, {"time comes", w.passTo}, {"time passes", w.pass},
		{"sweep", w.sweep}, {"acknowledge", w.acknowledge}, {"release", w.release}, {"claim", w.claim}, {"reserve again", w.reserveAgain},
		{"cancel", w.cancel}, {"replace", w.replace}, {"sync", w.sync}, {"withdraw", w.withdraw}, {"reject", w.reject},
		{"fetch a tree", w.tree}, {"ask", w.ask}, {"list", w.list}, {"clock jumps", w.jump}, {"clock is put right", w.putRight},
		{"kill", w.kill}, {"close", w.reopen}, {"compact", w.compact}, {"back up", w.backUp}, {"restore", w.restore},
		{"damage", w.damage}, {"remove device", w.removeDevice}, {"remove user", w.removeUser}, {"give up", w.giveUp}, {"give back", w.giveBack}, {"give back", w.giveBack}, {"give", w.give}, {"nobody does anything", w.quiet}, {"add a token", w.addToken}, {"revoke a token", w.revokeToken}, {"claim", w.claim},
	}
	events := map[string]func(*rapid.T){"": w.check}
	for i, n := range named {
		events[fmt.Sprintf("%02d %s", i, n.name)] = func(t *rapid.T) {
			w.t = t
			w.tried.events++
			n.event()
		}
	}
	return events
}

// happened compares the answers to an event. One that was refused, or that
// changed nothing, must not have written anything.
func (w *world) happened(what string, before string, got, want any, gotErr, wantErr error) {
	w.t.Helper()
	w.t.Log(what)
	w.same(what, got, want, gotErr, wantErr)
	wrote := w.wrote()
	if wantErr != nil {
		w.tried.refused++
	}
	if wrote && (wantErr != nil || before == w.book.rows()) {
		w.t.Fatalf("%s changed nothing, but was committed", what)
	}
}

// tooEarly reports whether an event was refused because it would be dated by a
// time that cannot be: before or after other reasons for a refusal are looked at.
func (w *world) tooEarly(err error) bool {
	if !w.watch.tooEarly() {
		return false
	}
	if w.wrote() {
		w.t.Fatalf("something was dated %v", w.watch.now())
	}
	w.tried.refused++
	return errors.Is(err, delivery.ErrClock)
}

func (w *world) publish() {
	d, items := pick(w, "device", devices), w.items()
	before := w.book.rows()
	caller := w.credentials(d)
	got, gotErr := w.store.Publish(w.ctx, caller, d, items)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	want, wantErr := w.book.publish(d, items, false, 0)
	w.refusedItems(gotErr, wantErr)
	for _, item := range got.Items {
		if item.Status == delivery.NotAfterRestore {
			w.tried.notAfter++
		}
	}
	w.happened(fmt.Sprintf("Publish %v %s", d, brief(items)), before, got, want, gotErr, wantErr)
}

func (w *world) replace() {
	d, suite := pick(w, "device", devices), pick(w, "suite", []mls.CipherSuite{0, 1, 2})
	var items []delivery.NewKeyPackage
	if w.oneIn(2, "with items") {
		items = w.items()
	}
	if own := w.book.of(d); len(own) > 0 && w.oneIn(2, "keeping one") {
		items = append(items, pick(w, "kept", own).item)
	}
	before := w.book.rows()
	caller := w.credentials(d)
	got, gotErr := w.store.Replace(w.ctx, caller, d, suite, items)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	want, wantErr := w.book.publish(d, items, true, suite)
	w.refusedItems(gotErr, wantErr)
	w.happened(fmt.Sprintf("Replace %v suite %d by %s", d, suite, brief(items)), before, got, want, gotErr, wantErr)
}

// outlived reports whether an event was refused, as it had to be or might be, because
// the device was removed after its credentials had been issued.
func (w *world) outlived(caller delivery.Caller, d delivery.DeviceID, err error) bool {
	outlived, mayBeForgotten := w.book.outlivedRemoval(caller, d)
	refused := errors.Is(err, delivery.ErrDeviceRemoved)
	if refused != outlived && !mayBeForgotten {
		w.t.Fatalf("%v, removed %v, asks by credentials of %v: %v", d, w.book.removed[d], caller.Bound, err)
	}
	if !refused {
		return false
	}
	w.happened(fmt.Sprintf("%v asks by credentials that have outlived it", d), w.book.rows(), nil, nil, err, delivery.ErrDeviceRemoved)
	return true
}

// refusedItems compares which items of a publication are refused and why.
func (w *world) refusedItems(gotErr, wantErr error) {
	w.t.Helper()
	var got, want *delivery.PublishError
	if errors.As(gotErr, &got) && errors.As(wantErr, &want) {
		items := slices.Clone(got.Items)
		for i := range items {
			items[i].Detail = ""
		}
		w.same("refused items", items, want.Items, nil, nil)
	}
	var gotRoom, wantRoom *delivery.StockFullError
	if errors.As(gotErr, &gotRoom) && errors.As(wantErr, &wantRoom) {
		w.same("room", *gotRoom, *wantRoom, nil, nil)
	}
}

func (w *world) sync() {
	d := pick(w, "device", devices)
	inv := w.book.inventory(d)
	refs := some(w, "held", inv.Refs, 4)
	if w.oneIn(4, "others") {
		refs = append(refs, w.ref("held"))
	}
	if w.oneIn(8, "old digest") {
		inv.Digest[0]++
	}
	before := w.book.rows()
	caller := w.credentials(d)
	got, gotErr := w.store.Sync(w.ctx, caller, d, inv.Digest, refs)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	want, wantErr := w.book.sync(d, inv.Digest, refs)
	for _, refs := range [][]mls.KeyPackageRef{got.Withdrawn, want.Withdrawn} {
		slices.Sort(refs)
	}
	w.happened(fmt.Sprintf("Sync %v %s", d, text(refs)), before, got, want, gotErr, wantErr)
}

func (w *world) withdraw() {
	d := pick(w, "device", devices)
	ref, before := w.owned(d, "ref"), w.book.rows()
	caller := w.credentials(d)
	gotErr := w.store.Withdraw(w.ctx, caller, d, ref)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	w.happened(fmt.Sprintf("Withdraw %v %s", d, text(ref)), before, nil, nil, gotErr, w.book.withdrawOne(d, ref))
}

// give makes a device the owner of a KeyPackage. Whether its bytes are still there after
// its end is left open, but not if they are damaged.
func (w *world) give() {
	d, ref := pick(w, "device", devices), w.ref("ref")
	before := w.book.rows()
	k := w.book.find(ref)
	if k != nil && k.damaged && w.book.bytesSwept(k) {
		return
	}
	gotErr := w.store.Give(w.ctx, delivery.Operator(), d, ref)
	if w.tooEarly(gotErr) {
		return
	}
	what := fmt.Sprintf("Give %v %s", d, text(ref))
	if k != nil && k.owner != d {
		delete(w.gone, ref)
		w.tried.given++
	}
	w.happened(what, before, nil, nil, gotErr, w.book.giveTo(d, ref))
}

func (w *world) removeDevice() {
	d := pick(w, "device", devices)
	before := w.book.rows()
	w.sleep()
	caller := w.credentials(d)
	outlived, mayBeForgotten := w.book.outlivedRemoval(caller, d)
	if mayBeForgotten {
		caller, outlived = self(d), false
	}
	gotErr := w.store.RemoveDevice(w.ctx, caller, d)
	if w.tooEarly(gotErr) {
		return
	}
	if outlived && w.book.devices[d] == nil { // its own removal again
		w.happened(fmt.Sprintf("RemoveDevice %v by itself, again", d), before, nil, nil, gotErr, nil)
		return
	}
	if w.outlived(caller, d, gotErr) {
		return
	}
	w.removed(fmt.Sprintf("RemoveDevice %v", d), before, gotErr, func() { w.book.removeDevice(d) }, false, d)
}

func (w *world) removeUser() {
	user := pick(w, "user", users)
	before := w.book.rows()
	w.sleep()
	if w.hasEvents(user) {
		before = "" // it hides them
	}
	gotErr := w.store.RemoveUser(w.ctx, nobody, user)
	if w.tooEarly(gotErr) {
		return
	}
	w.removed(fmt.Sprintf("RemoveUser %v", user), before, gotErr, func() { w.book.removeUser(user) }, true, devicesOf(user)...)
}

// removed compares a removal. When a device was removed before may be forgotten,
// and then it is not noted again.
func (w *world) removed(what, before string, gotErr error, remove func(), byUser bool, of ...delivery.DeviceID) {
	open := slices.ContainsFunc(of, func(d delivery.DeviceID) bool {
		return w.book.devices[d] == nil && w.book.mayKnow(d) && !w.book.knowsGone(d)
	})
	for _, d := range of {
		if w.book.devices[d] != nil {
			w.wokenOne(d)
		}
	}
	was := w.book.copy()
	if remove(); open {
		w.wrote()
		before = ""
	}
	if gotErr == nil {
		w.noteRemovals(was, of, byUser)
	}
	w.happened(what, before, nil, nil, gotErr, nil)
}

// list walks through the pages of a listing.
func (w *world) list() {
	opts := delivery.ListOptions{Limit: pick(w, "limit", []int{0, 1, 2, 3}), Bytes: pick(w, "bytes", []int{0, 0, 1, 30})}
	opts.Suites = some(w, "suite", []mls.CipherSuite{1, 2}, 1)
	opts.Devices = some(w, "device", []string{"phone", "tablet"}, 1)
	opts.LastResortOnly = w.oneIn(4, "last resort only")
	user := pick(w, "user", users)
	var got delivery.Listing
	for page := 0; page == 0 || opts.After != ""; page++ {
		l, err := w.store.List(w.ctx, pick(w, "caller", callers), user, opts)
		w.same("List", nil, nil, err, nil)
		n := 0
		for _, d := range l.Devices {
			n += len(d.KeyPackages)
			if last := len(got.Devices) - 1; last >= 0 && got.Devices[last].Device == d.Device {
				got.Devices[last].KeyPackages = append(got.Devices[last].KeyPackages, d.KeyPackages...)
			} else {
				got.Devices = append(got.Devices, d)
			}
		}
		if opts.Limit > 0 && n > opts.Limit || l.Next != "" && n == 0 || opts.Bytes == 1 && n > 1 {
			w.t.Fatalf("a page of %d KeyPackages", n)
		}
		opts.After = l.Next
	}
	w.same("List", got, w.book.list(user, opts), nil, nil)
	opts.After = "?"
	_, err := w.store.List(w.ctx, nobody, user, opts)
	w.same("List from nowhere", nil, nil, err, delivery.ErrBadCursor)
}

func (w *world) reserve() {
	req := delivery.ReserveRequest{Suites: some(w, "suite", []mls.CipherSuite{1, 2, 3}, 2)}
	req.Users = some(w, "user", users, 4)
	if len(req.Users) == 0 || w.oneIn(3, "devices, too") {
		req.Devices = some(w, "device", devices, 2)
	}
	if w.oneIn(4, "except") {
		req.Except = some(w, "except", devices, 2)
	}
	if w.oneIn(2, "with a key") {
		req.IdempotencyKey = pick(w, "key", []string{"a", "b"})
	}
	if w.oneIn(3, "no idle ones") {
		req.MaxIdle = pick(w, "idle", []time.Duration{30 * day, 40 * day, 90 * day})
	}
	w.limit(&req)
	w.asked = append(w.asked, asked{pick(w, "caller", callers), req})
	w.reserveBy(w.asked[len(w.asked)-1])
}

func (w *world) reserveAgain() {
	if len(w.asked) == 0 {
		return
	}
	again := pick(w, "request", w.asked)
	again.caller = w.posterOf(again.caller)
	w.limit(&again.req)
	w.reserveBy(again)
}

// limit draws what a reservation may take.
func (w *world) limit(req *delivery.ReserveRequest) {
	req.LastResortOnly, req.Bytes = nil, pick(w, "bytes", []int{0, 0, 1, 25, 30})
	if w.oneIn(4, "last resort only") {
		req.LastResortOnly = some(w, "drained", users, 2)
	}
}

func (w *world) reserveBy(a asked) {
	caller, req, before := a.caller, a.req, w.book.rows()
	look, lookErr := w.store.BeforeReserve(w.ctx, caller, req)
	got, gotErr := w.store.Reserve(w.ctx, caller, req)
	if w.tooEarly(gotErr) {
		return
	}
	if gotErr == nil && (lookErr != nil || (look.Repeated != nil) != got.Repeated || got.Repeated && text(*look.Repeated) != text(got)) {
		w.t.Fatalf("BeforeReserve by %+v of %s: %s, %v, and then %s", caller, text(req), text(look), lookErr, text(got))
	}
	if gotErr == nil && !got.Repeated && w.book.outlived(caller, req) {
		delete(w.book.repeats, repeatKey(caller, req))
	}
	if got.Repeated {
		w.sweptBytes(a, got)
	}
	w.book.reservation = got.ID
	want, wantErr := w.book.reserve(caller, req)
	if !got.Repeated && got.ID != 0 {
		if slices.Contains(w.reservations, got.ID) {
			w.t.Fatalf("two reservations are %v", got.ID)
		}
		w.reservations = append(w.reservations, got.ID)
	} else if n := reservedOf(got); !got.Repeated && n > 0 {
		w.t.Fatalf("a reservation of %d KeyPackages has no id", n)
	}
	w.happened(fmt.Sprintf("Reserve by %+v of %s", caller, text(req)), before, got, want, gotErr, wantErr)
	if !got.Repeated {
		w.handOut(got)
	}
}

// sweptBytes notes which KeyPackages have no bytes in an answer that is repeated, where a
// sweep may have forgotten them before the owner was given the KeyPackage.
func (w *world) sweptBytes(a asked, again delivery.Reservation) {
	first := w.book.repeats[repeatKey(a.caller, a.req)]
	if first == nil || len(first.answer.Users) != len(again.Users) {
		return
	}
	for i, u := range again.Users {
		for j, d := range u.Devices {
			if handed := first.answer.Users[i].Devices[j].KeyPackage; d.Status == delivery.DeviceDamaged && handed != nil {
				if k := w.book.find(handed.Ref); k != nil && k.swept {
					k.dropped = true
				}
			}
		}
	}
}

// handOut notes what was handed out. Whatever was restored meanwhile, nothing is
// twice, and nothing that a Welcome was accepted for.
func reservedOf(r delivery.Reservation) (n int) {
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.Status == delivery.DeviceReserved {
				n++
			}
		}
	}
	return n
}

// giveBack has somebody, most often who reserved them, give KeyPackages back.
func (w *world) giveBack() {
	if len(w.reservations) == 0 {
		return
	}
	req := delivery.GiveBackRequest{Reservation: pick(w, "reservation", w.reservations), Reason: delivery.GivenBackUnused}
	if w.oneIn(4, "with a reason") {
		req.Reason = pick(w, "reason", delivery.GiveBackReasons)
	}
	if w.oneIn(2, "named") {
		req.Refs = []mls.KeyPackageRef{}
		for range w.upTo(3, "refs") {
			req.Refs = append(req.Refs, w.ref("ref"))
		}
	}
	caller := pick(w, "caller", callers)
	for _, k := range w.book.keyPackages {
		if k.reservation == req.Reservation && !w.oneIn(4, "somebody else") {
			for _, c := range callers {
				if c.ID() == k.reservedBy {
					caller = c
				}
			}
			break
		}
	}
	before := w.book.rows()
	got, gotErr := w.store.GiveBack(w.ctx, caller, req)
	if w.tooEarly(gotErr) {
		return
	}
	want, shelved := w.book.giveBack(caller, req)
	for _, ref := range shelved {
		delete(w.used, ref)
	}
	w.tried.givenBack += want.New
	w.tried.shelved += len(shelved)
	w.happened(fmt.Sprintf("GiveBack by %+v of %s", caller, text(req)), before, got, want, gotErr, nil)
}

func (w *world) handOut(r delivery.Reservation) {
	for _, user := range r.Users {
		for _, d := range user.Devices {
			if d.Status != delivery.DeviceReserved {
				continue
			}
			k := d.KeyPackage
			if before, is := w.used[k.Ref]; is && !w.unforeseen(k.Lifetime, before) {
				w.t.Fatalf("%s was handed out, or a Welcome for it accepted, at %v, and is handed out again", text(k.Ref), before.at)
			}
			w.used[k.Ref] = use{w.book.now, w.book.epoch}
		}
	}
}

// unforeseen reports whether a restore could not tell that a KeyPackage had been
// used, because a wrong clock showed an earlier time at the restore than at the use.
func (w *world) unforeseen(life mls.Lifetime, before use) bool {
	restored := w.book.restoredAt
	return before.epoch != w.book.epoch && before.at.After(restored) && endOf(life.NotBefore).After(restored)
}

func (w *world) post() {
	w.postBy(posted{pick(w, "caller", callers), w.posting()})
}

func (w *world) postAgain() {
	if len(w.posted) == 0 {
		return
	}
	p := pick(w, "posted", w.posted)
	p.posting.DryRun = w.oneIn(8, "dry run")
	if w.oneIn(4, "differently") {
		w.vary(&p.posting)
	}
	if w.oneIn(4, "another caller") {
		p.caller = pick(w, "caller", callers)
	}
	w.postBy(p)
}

func (w *world) postBy(p posted) {
	if l := w.book.welcome(p.id()); l != nil && l.wasDamaged {
		p.posting.Context = l.posting.Context // what is damaged is not compared
	}
	w.posted = append(w.posted, p)
	before, waiting := w.book.rows(), w.sleep()
	got, gotErr := w.store.Post(w.ctx, p.caller, p.posting)
	if w.tooEarly(gotErr) {
		return
	}
	want, wantErr := w.book.post(p.caller, p.posting)
	w.forgetOwners(got.Recipients, want.Recipients)
	var gotNone, wantNone *delivery.NoMatchError
	if errors.As(gotErr, &gotNone) && errors.As(wantErr, &wantNone) {
		w.same("verdicts", gotNone.Recipients, wantNone.Recipients, nil, nil)
	}
	w.happened(fmt.Sprintf("Post by %+v of %s, which is %s, to %s", p.caller, text(p.posting), text(p.id()), text(p.posting.Welcome.Secrets)), before, got, want, gotErr, wantErr)
	w.woken(waiting)
	for _, r := range got.Recipients {
		if r.Matched && !p.posting.DryRun && !got.Repeated {
			w.tried.matched++
			if k := w.book.find(r.Ref); k.begun(w.book.now) { // else nobody can have been shown it
				w.used[r.Ref] = use{w.book.now, w.book.epoch}
			}
		}
	}
}

// forgetOwners leaves open whether a device that is gone is named where a
// Welcome did not match. It may be there again, as another one.
func (w *world) forgetOwners(got, want []delivery.Recipient) {
	for i := range min(len(got), len(want)) {
		if want[i].Matched || want[i].Device == nil || got[i].Device != nil {
			continue
		}
		d, k := w.book.devices[*want[i].Device], w.book.find(want[i].Ref)
		if d == nil || k == nil || k.life != d.life {
			want[i].Device = nil
		}
	}
}

// arrived counts what is pending for each device.
func (w *world) arrived() map[delivery.DeviceID]int {
	n := map[delivery.DeviceID]int{}
	for _, d := range devices {
		for _, e := range w.book.recipients(d) {
			if e.state == delivery.Pending {
				n[d]++
			}
		}
	}
	return n
}

// sleep forgets earlier wakes and counts what is pending.
func (w *world) sleep() map[delivery.DeviceID]int {
	for _, wake := range w.wakes {
		select {
		case <-wake:
		default:
		}
	}
	return w.arrived()
}

// woken expects that the devices for which a Welcome has come are woken.
func (w *world) woken(before map[delivery.DeviceID]int) {
	for d, n := range w.arrived() {
		if n > before[d] {
			w.wokenOne(d)
		}
	}
}

func (w *world) wokenOne(d delivery.DeviceID) {
	select {
	case <-w.wakes[d]:
	case <-time.After(patience):
		w.t.Fatalf("%v was not woken", d)
	}
}

func (w *world) release() {
	caller, id := w.welcomeID("Welcome")
	before, waiting := w.book.rows(), w.sleep()
	got, gotErr := w.store.Release(w.ctx, caller, id)
	if w.tooEarly(gotErr) {
		return
	}
	want, wantErr := w.book.release(caller, id)
	w.forgetOwners(got.Recipients, want.Recipients)
	w.happened(fmt.Sprintf("Release by %+v of %s", caller, text(id)), before, got, want, gotErr, wantErr)
	w.woken(waiting)
}

func (w *world) cancel() {
	caller, id := w.welcomeID("Welcome")
	before := w.book.rows()
	got, gotErr := w.store.Cancel(w.ctx, caller, id)
	if w.tooEarly(gotErr) {
		return
	}
	want, wantErr := w.book.cancel(caller, id)
	w.forgetOwners(got.Recipients, want.Recipients)
	w.happened(fmt.Sprintf("Cancel by %+v of %s", caller, text(id)), before, got, want, gotErr, wantErr)
}

func (w *world) claim() {
	d := w.waiting()
	opts := delivery.ClaimOptions{Max: pick(w, "max", []int{0, 0, 1, 2}), Bytes: pick(w, "bytes", []int{0, 0, 0, 1})}
	opts.NewOnly = w.oneIn(3, "new ones only")
	if w.oneIn(3, "refs") {
		opts.Refs = []mls.KeyPackageRef{}
		for range w.upTo(3, "how many refs") {
			opts.Refs = append(opts.Refs, w.owned(d, "ref"))
		}
	}
	if w.oneIn(3, "skip") {
		for range w.upTo(2, "how many") {
			_, id := w.welcomeID("skipped")
			opts.Skip = append(opts.Skip, id)
		}
	}
	what := fmt.Sprintf("Claim %v %s", d, text(opts))
	w.t.Log(what)
	caller := w.credentials(d)
	got, gotErr := w.store.Claim(w.ctx, caller, d, opts)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	if w.watch.tooEarly() { // no notes are taken
		want := w.book.copy().claim(d, opts)
		want.NewlyWithheld = got.NewlyWithheld
		w.happened(what, w.book.rows(), got, want, gotErr, nil)
		return
	}
	w.same(what, got, w.book.claim(d, opts), gotErr, nil)
	w.wrote()
	w.tried.delivered += len(got.Deliveries)
}

func (w *world) tree() {
	d, id, _ := w.settled()
	caller := w.credentials(d)
	got, gotErr := w.store.RatchetTree(w.ctx, caller, d, id)
	if w.outlived(caller, d, gotErr) {
		return
	}
	want, mayBeGone, wantErr := w.book.tree(d, id)
	if mayBeGone && errors.Is(gotErr, delivery.ErrNotFound) {
		return
	}
	w.same(fmt.Sprintf("RatchetTree %v %s", d, text(id)), got, want, gotErr, wantErr)
}

// settled draws what a device settles: most often something that it was given.
func (w *world) settled() (delivery.DeviceID, delivery.WelcomeID, mls.KeyPackageRef) {
	d := pick(w, "device", devices)
	_, id := w.welcomeID("Welcome")
	if given := w.book.given(); len(given) > 0 && !w.oneIn(3, "any Welcome") {
		g := pick(w, "given", given)
		d, id = *g.device, g.welcome.id
	} else if l := w.book.welcome(id); l != nil && !w.oneIn(6, "any device") {
		if e := pick(w, "recipient", l.recipients); e.device != nil {
			d = *e.device
		}
	}
	if !w.oneIn(2, "one ref") {
		return d, id, ""
	}
	if l := w.book.welcome(id); l != nil && !w.oneIn(6, "any ref") {
		return d, id, pick(w, "ref", l.recipients).ref
	}
	return d, id, w.ref("ref")
}

func (w *world) acknowledge() {
	d, id, ref := w.settled()
	before := w.book.rows()
	caller := w.credentials(d)
	gotErr := w.store.Acknowledge(w.ctx, caller, d, id, ref)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	_, wantErr := w.book.settle(d, id, ref, delivery.Acknowledged, "", "")
	w.happened(fmt.Sprintf("Acknowledge %v %s %s", d, text(id), text(ref)), before, nil, nil, gotErr, wantErr)
}

func (w *world) reject() {
	d, id, ref := w.settled()
	reason, detail := pick(w, "reason", delivery.Reasons), pick(w, "detail", details)
	before := w.book.rows()
	caller := w.credentials(d)
	got, gotErr := w.store.Reject(w.ctx, caller, d, id, ref, reason, detail)
	if w.tooEarly(gotErr) || w.outlived(caller, d, gotErr) {
		return
	}
	want, wantErr := w.book.settle(d, id, ref, delivery.Rejected, reason, detail)
	w.happened(fmt.Sprintf("Reject %v %s %s %s", d, text(id), text(ref), reason), before, got, want, gotErr, wantErr)
}

// ask has somebody ask who may not know everything.
func (w *world) ask() {
	caller, ref := pick(w, "caller", callers), w.ref("ref")
	got, gotErr := w.store.KeyPackage(w.ctx, caller, ref)
	want, wantErr := w.book.keyPackage(caller, ref)
	w.same(fmt.Sprintf("KeyPackage for %+v: %s", caller, text(ref)), got, want, gotErr, wantErr)
	_, id := w.welcomeID("Welcome")
	o, gotErr := w.store.Outcome(w.ctx, caller, id)
	outcome, wantErr := w.book.outcomeFor(caller, id)
	w.forgetOwners(o.Recipients, outcome.Recipients)
	w.same(fmt.Sprintf("Outcome for %+v: %s", caller, text(id)), o, outcome, gotErr, wantErr)
	refs := []mls.KeyPackageRef{ref, w.ref("ref"), w.ref("ref")}
	look, err := w.store.BeforePost(w.ctx, caller, id, refs)
	sortOwners(look.Owners)
	w.same(fmt.Sprintf("BeforePost by %+v of %s", caller, text(refs)), look, delivery.PostLook{Posted: wantErr == nil, Owners: w.book.owners(caller, refs)}, err, nil)
}

// giveUp has a caller go away before the event begins.
func (w *world) giveUp() {
	gone, cancel := context.WithCancel(w.ctx)
	cancel()
	d := pick(w, "device", devices)
	_, gotErr := w.store.Claim(gone, self(d), d, delivery.ClaimOptions{})
	_, postErr := w.store.Publish(gone, self(d), d, []delivery.NewKeyPackage{unsigned(-2)})
	if !errors.Is(gotErr, context.Canceled) || !errors.Is(postErr, context.Canceled) || w.wrote() {
		w.t.Fatalf("a caller who had gone away was answered %v, %v", gotErr, postErr)
	}
}

func (w *world) sweep() {
	w.t.Log("Sweep")
	got, gotErr := w.store.Sweep(w.ctx)
	if !w.watch.sweeps() {
		w.same("Sweep", nil, nil, gotErr, delivery.ErrClock)
		w.wrote()
		return
	}
	want := w.book.sweep()
	want.ForgottenKeyPackage, want.ForgottenDevices = w.forget(), w.book.sweepIdle()
	w.tried.forgotten += want.ForgottenDevices
	got.ForgottenEvents = 0 // the reference has none
	w.same("Sweep", got, want, gotErr, nil)
	w.wrote()
}

// forget has the reference forget what the store has, and expects that it might.
func (w *world) forget() (n int) {
	for _, k := range slices.Clone(w.book.keyPackages) {
		may, must := w.book.forgettable(k)
		_, err := w.store.KeyPackage(w.ctx, nobody, k.item.Ref)
		gone := errors.Is(err, delivery.ErrNotFound)
		if gone && !may || !gone && must {
			w.t.Fatalf("%s, which ended %v and was closed %v, not_after %v: forgotten %v", text(k.item.Ref), k.ended, k.closed, endOf(k.item.Lifetime.NotAfter), gone)
		}
		if gone {
			w.book.forget(k)
			delete(w.used, k.item.Ref) // nobody knows it any more
			delete(w.gone, k.item.Ref)
			n++
		}
	}
	return n
}

// pass lets time pass.
func (w *world) pass() {
	w.move(func() {
		w.clock.Advance(pick(w, "time", []time.Duration{
			time.Second, time.Millisecond, time.Minute, time.Hour, 12 * time.Hour, day, 3 * day, 14 * day, 30 * day, 90 * day, 400 * day,
		}))
	})
}

// passTo lets time pass until something is due, or just before or after.
func (w *world) passTo() {
	due := w.book.due()
	if len(due) == 0 {
		return
	}
	at := pick(w, "due", due).Add(pick(w, "and", []time.Duration{0, -time.Millisecond, time.Millisecond, time.Second}))
	if now := w.clock.Now(); at.After(now) {
		w.move(func() { w.clock.Advance(at.Sub(now)) })
	}
}

// jump sets the wall clock.
func (w *world) jump() {
	by := pick(w, "jump", []time.Duration{
		time.Minute, -time.Second, -time.Minute, time.Hour, -time.Hour, -time.Hour - time.Millisecond, day, day + time.Millisecond,
		20 * time.Hour, -20 * time.Hour, 2 * day, 40 * day, 1000 * day, -2 * day, -40 * day,
	})
	before, trusted := w.ends(), !w.watch.doubted
	w.move(func() { w.clock.Jump(by) })
	w.truth += by
	if trusted && w.watch.doubted {
		w.same("what a clock has ended that is not trusted", w.ends(), before, nil, nil)
	}
}

// ends is what the store tells of what can end. What a clock that is ahead has begin
// is left out, but it may be found damaged.
func (w *world) ends() string {
	noticed := w.book.noticed
	var told []any
	tell := func(v any, err error) { told = append(told, v, err) }
	for _, d := range devices {
		inv, err := w.store.Inventory(w.ctx, self(d), d)
		for i := range inv.Counts {
			c := &inv.Counts[i]
			c.Available, c.NotYetValid = c.Available+c.NotYetValid, 0
		}
		for i := range inv.LastResort {
			inv.LastResort[i].UsableFrom = time.Time{}
		}
		tell(inv, err)
	}
	for _, item := range w.made {
		status, err := w.store.KeyPackage(w.ctx, nobody, item.Ref)
		status.UsableFrom = time.Time{}
		tell(status, err)
	}
	for _, p := range w.posted {
		tell(w.store.Outcome(w.ctx, nobody, p.id()))
		p.posting.DryRun = true
		_, err := w.store.Post(w.ctx, p.caller, p.posting)
		tell(nil, err)
	}
	for _, user := range users {
		l, err := w.store.List(w.ctx, nobody, user, delivery.ListOptions{})
		tell(w.begun(l), err)
		w.book.list(user, delivery.ListOptions{})
	}
	tell(w.store.Tokens(w.ctx, delivery.TokenOwner{}))
	w.onlyNoticed(noticed)
	return text(told)
}

// begun leaves out what a clock that is ahead has begin.
func (w *world) begun(l delivery.Listing) (refs []mls.KeyPackageRef) {
	for _, d := range l.Devices {
		for _, k := range d.KeyPackages {
			if k.Lifetime.NotBefore <= uint64(w.watch.sure.Unix()) {
				refs = append(refs, k.Ref)
			}
		}
	}
	return refs
}

func (w *world) putRight() {
	w.move(func() { w.clock.Jump(-w.truth) })
	w.truth = 0
}

func (w *world) move(clock func()) {
	w.tried.moved++
	clock()
	w.t.Logf("it is %s, %v have passed", w.clock.Now().Format(time.RFC3339Nano), w.clock.Elapsed())
	w.look()
}

func (w *world) reopen() {
	w.t.Log("reopen")
	w.close()
	w.open()
}

// kill ends the store where it is.
func (w *world) kill() {
	w.t.Log("kill")
	kept, err := w.fixture.Copy()
	w.same("copy", nil, nil, err, nil)
	w.close()
	w.same("put", nil, nil, w.fixture.Put(kept, false), nil)
	w.tried.killed++
	w.open()
}

func (w *world) backUp() {
	w.t.Log("backUp")
	kept, err := w.fixture.Copy()
	w.same("copy", nil, nil, err, nil)
	w.backup = &backup{kept, w.book.copy(), w.watch.disk, len(w.revoked)}
}

// restore goes back to the last backup.
func (w *world) restore() {
	w.t.Log("restore")
	if w.backup == nil || w.backup.disk.Year() < 2026 && w.clock.Now().Year() < 2026 && !w.trust {
		return // what is retired at an impossible time would be gone: it does not open
	}
	w.close()
	w.same("put", nil, nil, w.fixture.Put(w.backup.kept, true), nil)
	w.book, w.watch.disk, w.gone = w.backup.book.copy(), w.backup.disk, map[mls.KeyPackageRef]bool{}
	w.tried.restored++
	w.open()
	if slices.Contains(w.epochs, w.epoch()) {
		w.t.Fatalf("the restore epoch is %s again", w.epoch())
	}
	w.epochs = append(w.epochs, w.epoch())
	if w.fixture.KeepsRevoked {
		for _, r := range w.revoked[w.backup.revoked:] {
			tokens := w.book.tokens
			if w.book.revokeAgain(r, r.unsure && !w.mayBeCarriedOut(r)); r.unsure {
				w.unsureTokens(tokens, r.device)
			}
			w.tried.stayed++
		}
		w.book.carriedOut = w.book.sure
	} else {
		w.revoked = w.revoked[:w.backup.revoked]
	}
	w.book.restored(w.epoch())
	w.told.restored = true
}

// exists reports whether the store has the device.
func (w *world) exists(id delivery.DeviceID) bool {
	infos, err := w.store.Devices(w.ctx, nobody, id.User)
	w.same("devices", nil, nil, err, nil)
	return slices.ContainsFunc(infos, func(i delivery.DeviceInfo) bool { return i.Device == id.Name })
}

// mayBeCarriedOut reports whether a removal of which nobody knows whether it was written
// down may have been carried out in the store: the device is gone, and what it had has not
// ended with a later removal.
func (w *world) mayBeCarriedOut(r revocation) bool {
	if w.exists(r.device) {
		return false
	}
	for _, k := range w.book.of(r.device) {
		if !over(k.state) {
			status, err := w.store.KeyPackage(w.ctx, nobody, k.item.Ref)
			w.same("what a removal has ended", nil, nil, err, nil)
			return status.EndedAt.Equal(earliest(r.at, w.book.now))
		}
	}
	return true
}

// damage flips a bit of what may be handed out.
func (w *world) damage() {
	if w.fixture.Damage == nil || !w.oneIn(2, "damage") {
		return
	}
	var found []storetest.Damage
	var note []func()
	for _, k := range w.book.keyPackages {
		if !k.damaged && !k.dropped && (k.state == delivery.Available || k.state == delivery.Reserved) {
			found = append(found, storetest.Damage{Part: storetest.PartKeyPackage, Ref: k.item.Ref})
			note = append(note, func() { k.damaged = true })
		}
	}
	for _, l := range w.book.welcomes {
		for _, e := range l.recipients {
			if l.damaged || e.damaged || !e.open() {
				continue
			}
			found = append(found, storetest.Damage{Part: storetest.PartSecret, Ref: e.ref, Welcome: l.id}, storetest.Damage{Part: storetest.PartGroupInfo, Welcome: l.id})
			note = append(note, func() { e.damaged = true }, func() { l.damaged, l.wasDamaged = true, true })
		}
	}
	if len(found) == 0 {
		return
	}
	i := rapid.IntRange(0, len(found)-1).Draw(w.t, "of what")
	w.t.Logf("damage %s", text(found[i]))
	w.close()
	w.fixture.Damage(found[i])
	note[i]()
	w.tried.damaged++
	w.open()
}

// unsound reports whether a check of what is kept finds something.
func (b *book) unsound() bool {
	for _, k := range b.keyPackages {
		if k.damaged {
			return true
		}
	}
	for _, l := range b.welcomes {
		if l.damaged || slices.ContainsFunc(l.recipients, func(e *recipient) bool { return e.damaged }) {
			return true
		}
	}
	return false
}

// epoch reads the restore epoch as a device does.
func (w *world) epoch() string {
	inv, err := w.store.Inventory(w.ctx, nobody, devices[0])
	w.same("an inventory", nil, nil, err, nil)
	return inv.RestoreEpoch
}

func (w *world) compact() {
	w.t.Log("compact")
	if w.fixture.Compact == nil || w.book.unsound() {
		return
	}
	w.close()
	w.same("compact", nil, nil, w.fixture.Compact(), nil)
	w.told.moved = w.fixture.Moves
	w.open()
	// What ended with a device may be written by that.
	swept := w.book.copy()
	swept.written()
	if got, err := w.store.Stats(w.ctx); err == nil && text(got.Welcomes) == text(swept.stats().Welcomes) && text(got.KeyPackages) == text(swept.stats().KeyPackages) {
		w.book = swept
	}
}

// check asks for everything.
func (w *world) check(t *rapid.T) {
	w.t = t
	noticed := w.book.noticed
	for _, user := range users {
		got, err := w.store.Devices(w.ctx, nobody, user)
		want := w.book.deviceInfos(user)
		w.seen(user, got, want)
		w.same("Devices", got, want, err, nil)
		l, err := w.store.List(w.ctx, nobody, user, delivery.ListOptions{})
		w.same("List", l, w.book.list(user, delivery.ListOptions{}), err, nil)
	}
	for _, d := range devices {
		got, err := w.store.Inventory(w.ctx, self(d), d)
		w.same(fmt.Sprintf("Inventory %v", d), got, w.book.inventory(d), err, nil)
		w.thrownAway(d, got.Refs)
	}
	for _, item := range w.made {
		got, gotErr := w.store.KeyPackage(w.ctx, nobody, item.Ref)
		want, wantErr := w.book.keyPackage(nobody, item.Ref)
		w.same("KeyPackage "+text(item.Ref), got, want, gotErr, wantErr)
	}
	for _, p := range w.posted {
		got, gotErr := w.store.Outcome(w.ctx, nobody, p.id())
		want, wantErr := w.book.outcomeFor(nobody, p.id())
		w.forgetOwners(got.Recipients, want.Recipients)
		w.same("Outcome "+text(p.id()), got, want, gotErr, wantErr)
	}
	w.checkTokens()
	w.onlyNoticed(noticed)
	w.checkStats()
	w.onlyNoticed(w.book.noticed)
	w.checkTold() // also of damage that was noticed just now
}

// onlyNoticed expects that questions have committed nothing but the damage that they have
// found. That may put times right.
func (w *world) onlyNoticed(before int) {
	if w.wrote() != (w.book.noticed > before) {
		w.t.Fatalf("questions were committed")
	}
}

// thrownAway has a device throw away the private keys that it is told not to need,
// and expects that none of them is needed later.
func (w *world) thrownAway(d delivery.DeviceID, needed []mls.KeyPackageRef) {
	for _, k := range w.book.of(d) {
		ref := k.item.Ref
		if slices.Contains(needed, ref) && w.gone[ref] {
			w.t.Fatalf("%v needs %s again, whose private key it threw away", d, text(ref))
		}
		w.gone[ref] = !slices.Contains(needed, ref)
	}
}

// seen leaves open by how much less than a day the time at which a device was
// seen lags behind.
func (w *world) seen(user delivery.UserID, got, want []delivery.DeviceInfo) {
	for i := range min(len(got), len(want)) {
		d := w.book.devices[delivery.DeviceID{User: user, Name: want[i].Device}]
		if got[i].SeenAt.After(d.heard.Add(-day)) && !got[i].SeenAt.After(latest(d.heard, d.last)) {
			want[i].SeenAt = got[i].SeenAt
		}
		want[i].IdleSince = w.book.idleSince(want[i].SeenAt)
		d.tells(got[i].SeenAt)
	}
}

func (w *world) checkStats() {
	got, err := w.store.Stats(w.ctx)
	got.UsedBytes, got.FreeBytes, got.LimitBytes, got.DiskFreeBytes = 0, 0, 0, 0 // are its own business
	w.same("Stats", got, w.book.stats(), err, nil)
}

func self(d delivery.DeviceID) delivery.Caller { return delivery.Caller{User: d.User, Device: d.Name} }

// brief names items by their refs.
func brief(items []delivery.NewKeyPackage) string {
	var refs []mls.KeyPackageRef
	for _, item := range items {
		refs = append(refs, item.Ref)
	}
	return text(refs)
}

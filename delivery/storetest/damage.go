package storetest

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

// A Part is a kind of what a store keeps and hands out.
type Part string

// The parts.
const (
	PartKeyPackage Part = "KeyPackage"
	PartGroupInfo  Part = "encrypted_group_info" // of a Welcome
	PartTree       Part = "ratchet_tree"         // that came with it
	PartContext    Part = "context"              // that came with it
	PartSecret     Part = "secret"               // of its recipient Ref
)

// A Damage is a bit of a part that has flipped.
type Damage struct {
	Part    Part
	Ref     ref
	Welcome welcomeID
}

// damage flips a bit while the store is closed. Stores that cannot be damaged skip the
// test.
func (w *world) damage(d Damage) {
	w.t.Helper()
	if w.fixture.Damage == nil {
		w.t.Skip("the store's fixture does not damage it")
	}
	w.must(w.store.Close())
	w.fixture.Damage(w.t, d)
	w.store.Store = w.fixture.Open(w.t, w.clock, w.limits)
}

func (w *world) damageKeyPackage(k kp) { w.damage(Damage{Part: PartKeyPackage, Ref: k.Ref}) }

// shared are the parts that the recipients of a Welcome have in common.
var shared = []struct {
	sentence string
	part     Part
	options  []postOption
	info     int
}{
	{"encrypted_group_info", PartGroupInfo, nil, 500},
	{"large encrypted_group_info", PartGroupInfo, nil, 30_000},
	{"context", PartContext, []postOption{withContext([]byte("this is the context of a group that has many words"))}, 500},
	{"ratchet tree", PartTree, []postOption{withTree(mlstest.Random(20_000))}, 500},
}

// eachShared makes one promise for each of them.
func eachShared(sentence string, test func(w *world, m func(items ...kp) welcomeID, part Part)) (promises []promise) {
	for _, s := range shared {
		promises = append(promises, promise{sentence + ": " + s.sentence, func(w *world) {
			test(w, func(items ...kp) welcomeID {
				m := parseWelcome(mlstest.WelcomeSize(s.info, items[0].Suite, refsOf(items...)...))
				o := w.post(bob, m, s.options...)
				w.clock.Advance(time.Second)
				return o.ID
			}, s.part)
		}})
	}
	return promises
}

// damagePromises are about a store whose disk flips bits.
var damagePromises = append([]promise{
	{"a damaged KeyPackage is passed over, retired, and still matches", func(w *world) {
		shelf := w.shelf(phone, 3)
		w.damageKeyPackage(shelf[0])
		w.reserveOne(carol, phone, shelf[1])
		w.states(delivery.Retired, shelf[0])
		w.reserveOne(carol, phone, shelf[2])
		w.needs(phone, shelf...)
		w.first(phone, w.send(bob, shelf[0]))
	}},
	{"a listing leaves a damaged KeyPackage out", func(w *world) {
		shelf := w.shelf(phone, 3)
		w.damageKeyPackage(shelf[1])
		same(w, "listed", w.listed("alice"), refsOf(shelf[0], shelf[2]))
		w.states(delivery.Retired, shelf[1])
		w.states(delivery.Available, shelf[0], shelf[2])
		w.idle("another listing", func() { w.listed("alice") })
	}},
	{"a device whose KeyPackages are all damaged is exhausted", func(w *world) {
		k, last := w.one(phone), w.one(phone, mlstest.LastResort())
		w.damageKeyPackage(k)
		w.damageKeyPackage(last)
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
		same(w, "reserved", reservedStatuses(r), []string{"alice exhausted: phone exhausted"})
		w.states(delivery.Retired, k, last)
		id := w.send(bob, k, last)
		w.first(phone, id, id)
	}},
	{"a damaged KeyPackage does not choose the cipher suite", func(w *world) {
		one, two := w.one(phone), keyPackageOf(2)
		w.publish(phone, two)
		w.damageKeyPackage(one)
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
		same(w, "suite", r.Suite, 2)
		same(w, "reserved", reservedRefs(r), refsOf(two))
	}},
	{"a repeated reservation says which KeyPackage is damaged", func(w *world) {
		k, other := w.one(phone), w.one(tablet)
		req := delivery.ReserveRequest{Users: []delivery.UserID{"alice"}, IdempotencyKey: "once"}
		same(w, "reserved", reservedRefs(w.reserve(bob, req)), refsOf(k, other))
		w.damageKeyPackage(k)
		for range 2 {
			r := w.reserve(bob, req)
			same(w, "reserved", reservedStatuses(r), []string{"alice partial: phone damaged tablet reserved"})
			same(w, "refs", reservedRefs(r), refsOf(other))
		}
		w.states(delivery.Reserved, k)
		w.mismatch(carol, k, delivery.StatusTaken)
		w.first(phone, w.send(bob, k))
	}},
	{"what is damaged and given back is not handed out", func(w *world) {
		k := w.one(phone)
		r := w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
		w.damageKeyPackage(k)
		_, err := w.store.GiveBack(w.ctx, bob, delivery.GiveBackRequest{Reservation: r.ID, Reason: delivery.GivenBackUnused})
		w.must(err)
		same(w, "reserved", reservedRefs(w.reserve(carol, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})), []ref{})
		w.states(delivery.Retired, k)
	}},
	{"a damaged secret ends a Welcome for its recipient alone", func(w *world) {
		a, b, other := w.one(phone), w.one(tablet), w.one(phone)
		id, good := w.send(bob, a, b), w.send(bob, other)
		w.damage(Damage{PartSecret, a.Ref, id})
		w.first(phone, good)
		o := w.became(bob, id, delivery.StatusDamaged, delivery.StatusPending)
		at(w, "ended", o.Recipients[0].EndedAt, w.clock.Now())
		w.states(delivery.Reserved, a)
		w.mismatch(carol, a, delivery.StatusTaken)
		w.first(tablet, id)
		w.ack(phone, good)
		w.first(phone, w.send(bob, a))
	}},
	{"a damaged Welcome leaves a last resort as it is", func(w *world) {
		last := w.one(phone, mlstest.LastResort())
		id := w.send(bob, last)
		w.damage(Damage{Part: PartGroupInfo, Welcome: id})
		w.nothing(phone)
		w.became(bob, id, delivery.StatusDamaged)
		w.states(delivery.Available, last)
		w.needs(phone, last)
	}},
	{"a ratchet tree that is fetched apart is not given when it is damaged", func(w *world) {
		a, b := w.one(phone), w.one(tablet)
		id := w.post(bob, welcome(a, b), withTree(mlstest.Random(delivery.TreeInline+1))).ID
		w.first(phone, id)
		w.damage(Damage{Part: PartTree, Welcome: id})
		_, err := w.store.RatchetTree(w.ctx, self(phone), phone, id)
		w.refused(err, delivery.ErrDamaged)
		w.became(bob, id, delivery.StatusLapsed, delivery.StatusDamaged)
		w.nothing(tablet)
		w.ack(phone, id)
		w.became(bob, id, delivery.StatusAcknowledged, delivery.StatusDamaged)
		w.sweep()
		_, err = w.store.RatchetTree(w.ctx, self(phone), phone, id)
		w.refused(err, delivery.ErrNotFound)
	}},
	{"ends are final: a damaged Welcome that is posted again, released or cancelled stays so", func(w *world) {
		k := w.one(phone)
		m := welcome(k)
		id := w.post(bob, m, hold).ID
		w.damage(Damage{Part: PartGroupInfo, Welcome: id})
		same(w, "released", statuses(w.release(bob, id).Recipients), []delivery.Status{delivery.StatusPending})
		w.nothing(phone)
		same(w, "posted again", statuses(w.post(bob, m, hold).Recipients), []delivery.Status{delivery.StatusDamaged})
		same(w, "cancelled", statuses(w.cancel(bob, id).Recipients), []delivery.Status{delivery.StatusDamaged})
		w.states(delivery.Reserved, k)
		w.first(phone, w.send(bob, k))
	}},
	{"a damaged Welcome that is posted again with its context is the same, also when its payload was put away", func(w *world) {
		m, context := welcome(w.one(phone)), func(p *delivery.Posting) { p.Context = []byte("a context") }
		id := w.post(bob, m, context).ID
		w.damage(Damage{Part: PartContext, Welcome: id})
		w.nothing(phone)
		w.sweep()
		same(w, "posted again", statuses(w.post(bob, m, context).Recipients), []delivery.Status{delivery.StatusDamaged})
	}},
	{"a claim that finds damage gives as many as it may", func(w *world) {
		var ids []welcomeID
		for range 4 {
			ids = append(ids, w.send(bob, w.one(phone)))
		}
		w.damage(Damage{Part: PartGroupInfo, Welcome: ids[0]})
		r := w.claim(phone, atMost(2))
		w.given(r, ids[1], ids[2])
		same(w, "more", r.More, true)
		w.given(w.claim(phone, atMost(2)), ids[3], ids[1])
	}},
	{"what a device is not given is not looked at", func(w *world) {
		id := w.send(bob, w.one(phone))
		w.damage(Damage{Part: PartGroupInfo, Welcome: id})
		w.given(w.claim(phone, skip(id)))
		w.given(w.claim(phone, holding()))
		w.became(bob, id, delivery.StatusPending)
	}},
	{"the history tells of damage", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		w.damage(Damage{Part: PartGroupInfo, Welcome: id})
		w.nothing(phone)
		same(w, "state", w.recipientOf(k).State, delivery.Damaged)
		same(w, "counted", w.stats().Welcomes[delivery.Damaged], 1)
	}},
}, eachShared("a damaged Welcome ends for all who were not given it, and its poster is told", func(w *world, post func(...kp) welcomeID, part Part) {
	a, b, c := w.one(phone), w.one(tablet), w.one(laptop)
	before, after := w.one(phone), w.one(phone)
	first, id, last := w.send(bob, before), post(a, b, c), w.send(bob, after)
	w.first(laptop, id)
	w.damage(Damage{Part: part, Welcome: id})
	w.first(phone, first, last)
	w.became(bob, id, delivery.StatusDamaged, delivery.StatusDamaged, delivery.StatusLapsed)
	w.states(delivery.Reserved, a, b)
	w.states(delivery.Consumed, c)
	w.mismatch(carol, b, delivery.StatusTaken)
	w.nothing(tablet)
	w.nothing(laptop)
	w.ack(laptop, id)
	w.became(bob, id, delivery.StatusDamaged, delivery.StatusDamaged, delivery.StatusAcknowledged)
	next := w.send(bob, a, b)
	w.first(tablet, next)
	w.ack(tablet, next)
	w.idle("another claim", func() { w.nothing(tablet) })
})...)

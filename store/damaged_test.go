package store

import (
	"slices"
	"testing"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A hurt is a database in which a bit of a row of a Welcome has flipped that ann has posted
// to alice's phone and tablet, between two others to the phone.
type hurt struct {
	t      *testing.T
	s      *MemoryStore
	m      *Memory
	clock  *storetest.Clock
	told   []delivery.DamagedPart
	items  []delivery.NewKeyPackage // of the phone: of the first, the damaged and the last Welcome
	tablet delivery.NewKeyPackage
	ids    []delivery.WelcomeID
}

func newHurt(t *testing.T, reserved bool, row func(x *Txn, number uint64) (row []byte, at int)) *hurt {
	h := &hurt{t: t, m: NewMemory(), clock: storetest.NewClock()}
	h.open()
	h.items = randomItems(4)
	h.tablet = h.items[3]
	h.items = h.items[:3]
	for id, items := range map[delivery.DeviceID][]delivery.NewKeyPackage{phone: h.items, tablet: {h.tablet}} {
		_, err := h.s.Publish(t.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, items)
		must(t, err)
	}
	if reserved {
		for range 3 {
			_, err := h.s.Reserve(t.Context(), ann, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})
			must(t, err)
		}
	}
	h.post(h.items[0].Ref)
	h.post(h.items[1].Ref, h.tablet.Ref)
	h.post(h.items[2].Ref)
	must(t, h.s.Close())
	flipIn(t, h.m, func(x *Txn) ([]byte, int) { return row(x, x.welcomeNumber(h.ids[1])) })
	h.open()
	return h
}

func (h *hurt) open() {
	s, err := h.m.Open(h.clock, false, Options{
		Limits:        delivery.DefaultLimits(),
		ObserveDamage: func(p delivery.DamagedPart) { h.told = append(h.told, p) },
	})
	must(h.t, err)
	h.s = s
}

func (h *hurt) post(refs ...mls.KeyPackageRef) {
	h.t.Helper()
	w, err := mls.ParseWelcome(mlstest.Welcome(1, refs...))
	must(h.t, err)
	o, err := h.s.Post(h.t.Context(), ann, delivery.Posting{Welcome: w, RequireAll: true})
	must(h.t, err)
	h.ids = append(h.ids, o.ID)
}

// claims expects that a device is given these of the three Welcomes.
func (h *hurt) claims(id delivery.DeviceID, want ...int) {
	h.t.Helper()
	r, err := h.s.Claim(h.t.Context(), delivery.Caller{User: id.User, Device: id.Name}, id, delivery.ClaimOptions{})
	must(h.t, err)
	got := []int{}
	for _, d := range r.Deliveries {
		got = append(got, slices.Index(h.ids, d.ID))
	}
	if !slices.Equal(got, want) {
		h.t.Fatalf("%s is given %v, want %v", id, got, want)
	}
}

func (h *hurt) states(want delivery.KeyPackageState, items ...delivery.NewKeyPackage) {
	h.t.Helper()
	for _, item := range items {
		k, err := h.s.KeyPackage(h.t.Context(), delivery.Unauthenticated(), item.Ref)
		must(h.t, err)
		if k.State != want {
			h.t.Errorf("the KeyPackage is %s, want %s", k.State, want)
		}
	}
}

func (h *hurt) outcome(want ...delivery.Status) {
	h.t.Helper()
	o, err := h.s.Outcome(h.t.Context(), ann, h.ids[1])
	must(h.t, err)
	got := []delivery.Status{}
	for _, r := range o.Recipients {
		got = append(got, r.Status)
	}
	if !slices.Equal(got, want) {
		h.t.Errorf("the outcome is %v, want %v", got, want)
	}
}

// sound sweeps until what has ended is forgotten, and expects that the file is sound.
func (h *hurt) sound() {
	h.t.Helper()
	must(h.t, func() error { _, err := h.s.Sweep(h.t.Context()); return err }())
	must(h.t, h.s.Close())
	sound(h.t, h.m)
}

func headerRow(x *Txn, number uint64) []byte {
	return x.get(kindWelcomes, partKey(number, partHeader))
}

// A Welcome of which nothing can be read ends. Its poster may post it again.
func TestAWelcomeWhoseHeadIsDamagedEnds(t *testing.T) {
	for _, at := range []int{0, 1, 5, 33, 40, 45, 60, 75} {
		for _, reserved := range []bool{false, true} {
			h := newHurt(t, reserved, func(x *Txn, number uint64) ([]byte, int) { return headerRow(x, number), min(at, headOf1(x, number)) })
			h.claims(phone, 0, 2)
			h.claims(tablet)
			want := delivery.Retired
			if reserved {
				want = delivery.Reserved
			}
			h.states(want, h.items[1], h.tablet)
			if _, err := h.s.Outcome(t.Context(), ann, h.ids[1]); err != delivery.ErrNotFound {
				t.Errorf("the outcome: %v", err)
			}
			if len(h.told) != 1 || h.told[0].Kind != delivery.DamagedWelcome || h.told[0].Ended != 2 {
				t.Errorf("told %v", h.told)
			}
			h.post(h.items[1].Ref, h.tablet.Ref)
			h.claims(tablet, 3)
			must(t, func() error { _, err := h.s.Sweep(t.Context()); return err }())
			must(t, h.s.Close())
			found, _ := examine(t, h.m)
			if found.Found > 1 || found.Found != found.Repairable { // an id that cannot be read is not found
				t.Errorf("byte %d: %v", at, found.Findings)
			}
			repair(t, h.m)
			sound(t, h.m)
		}
	}
}

// headOf1 is the last place in the head of a Welcome's row.
func headOf1(x *Txn, number uint64) int {
	w := x.header(number)
	return len(headerRow(x, number)) - sumBytes - len(w.groupInfo) - len(w.context) - 1 - sumBytes - 1
}

// Where the row of a recipient cannot be read, that recipient's part ends, and the poster
// is told whose it was.
func TestARecipientWhoseRowIsDamagedEnds(t *testing.T) {
	for _, at := range []int{0, 1, 2, 20, 34, 35, 36, 37, 38, 39, 60, -1} {
		h := newHurt(t, false, func(x *Txn, number uint64) ([]byte, int) {
			return x.get(kindWelcomes, postedRecipientKey(recipientKey{number, 0})), at
		})
		h.claims(phone, 0, 2)
		h.outcome(delivery.StatusDamaged, delivery.StatusPending)
		o, err := h.s.Outcome(t.Context(), ann, h.ids[1])
		must(t, err)
		if r := o.Recipients[0]; r.Ref != h.items[1].Ref || r.Device == nil || *r.Device != phone || r.EndedAt.IsZero() {
			t.Errorf("byte %d: the outcome is %+v", at, r)
		}
		h.states(delivery.Reserved, h.items[1])
		h.claims(tablet, 1)
		if len(h.told) != 1 || h.told[0] != (delivery.DamagedPart{Kind: delivery.DamagedRecipient, Name: h.ids[1].String(), Ended: 1}) {
			t.Errorf("told %v", h.told)
		}
		h.sound()
	}
}

// The state of a recipient that cannot be read ends it, and not the claims of its device.
func TestAStateThatCannotBeReadEnds(t *testing.T) {
	h := newHurt(t, false, func(x *Txn, number uint64) ([]byte, int) {
		d := x.device(phone)
		return x.get(kindDevices, d.recipientRow(rowPending, recipientKey{number, 0})), 0
	})
	h.outcome(delivery.StatusDamaged, delivery.StatusPending)
	h.claims(phone, 0, 2)
	h.outcome(delivery.StatusDamaged, delivery.StatusPending)
	h.states(delivery.Reserved, h.items[1])
	h.claims(tablet, 1)
	h.sound()
}

// A KeyPackage whose state cannot be read does not keep its device from its Welcomes.
func TestAKeyPackageWhoseStateCannotBeReadEndsItsWelcome(t *testing.T) {
	h := newHurt(t, false, func(x *Txn, number uint64) ([]byte, int) {
		d, k := x.refOwner(h1(x, number))
		return x.get(kindDevices, d.rowOf(k)), 0
	})
	h.claims(phone, 0, 2)
	h.outcome(delivery.StatusDamaged, delivery.StatusPending)
	h.claims(tablet, 1)
	if _, err := h.s.List(t.Context(), ann, "alice", delivery.ListOptions{}); err != nil {
		t.Error(err)
	}
}

func h1(x *Txn, number uint64) mls.KeyPackageRef {
	return x.postedRecipient(recipientKey{number, 0}).ref
}

// What was posted before an upgrade has no checksums. Its ratchet tree has a hash.
func TestRowsWithoutChecksumsAreRead(t *testing.T) {
	h := newHurt(t, false, func(x *Txn, number uint64) ([]byte, int) { return headerRow(x, number), -1 })
	if h.s.meta.summedFrom != 1 {
		t.Errorf("rows are summed from %d", h.s.meta.summedFrom)
	}
	must(t, h.s.Close())
	flipIn(t, h.m, func(x *Txn) ([]byte, int) { return x.get(KindMeta, keySummedFrom), 3 })
	if _, err := h.m.Open(h.clock, false, Options{Limits: delivery.DefaultLimits()}); err == nil {
		t.Error("a database is served that does not say which rows have checksums")
	}
}

// A repair of what a removed device has left does not end half of it.
func TestDamageOfARemovedDeviceIsRepaired(t *testing.T) {
	for name, row := range map[string]func(x *Txn, number uint64) ([]byte, int){
		"a KeyPackage": func(x *Txn, number uint64) ([]byte, int) {
			_, k := x.refOwner(h1(x, number))
			return x.get(kindKeyPackages, numberKey(k.number)), 3
		},
		"a secret": func(x *Txn, number uint64) ([]byte, int) {
			return x.get(kindWelcomes, postedRecipientKey(recipientKey{number, 0})), -9
		},
		"the Welcome": func(x *Txn, number uint64) ([]byte, int) { return headerRow(x, number), -9 },
		"its head":    func(x *Txn, number uint64) ([]byte, int) { return headerRow(x, number), 40 },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHurt(t, false, row)
			must(t, h.s.RemoveDevice(t.Context(), delivery.Unauthenticated(), phone))
			must(t, h.s.Close())
			if before, _ := examine(t, h.m); before.Sound() || !repair(t, h.m).Sound() {
				t.Fatalf("before the repair: %+v", before)
			}
			h.open()
			h.claims(tablet, map[bool][]int{true: {1}}[name == "a KeyPackage" || name == "a secret"]...)
			h.sound()
		})
	}
}

// Damage that was found and has ended the Welcome is no fault of the file, also if a
// removed device has had it and no sweep has come yet.
func TestDamageThatNobodyCanBeGivenIsNoFault(t *testing.T) {
	h := newHurt(t, false, func(x *Txn, number uint64) ([]byte, int) { return headerRow(x, number), -9 })
	must(t, h.s.RemoveDevice(t.Context(), delivery.Unauthenticated(), phone))
	h.claims(tablet)
	h.outcome(delivery.StatusWithdrawn, delivery.StatusDamaged)
	must(t, h.s.Close())
	sound(t, h.m)
	h.open()
	h.sound()
}

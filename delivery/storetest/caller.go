package storetest

import (
	"errors"
	"reflect"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

var callerPromises = []promise{
	{"the zero Caller may do nothing", func(w *world) {
		k := w.one(phone)
		w.refusedAll(delivery.ErrNoCaller)
		status, err := w.store.KeyPackage(w.ctx, nobody, k.Ref)
		w.must(err)
		same(w, "the KeyPackage", status.State, delivery.Available)
	}},
	{"credentials of a device that was removed after they were issued may do nothing, also when it is back", func(w *world) {
		bound := self(phone)
		bound.Bound = w.clock.Now()
		w.publishAs(bound, phone, keyPackage())
		w.clock.Advance(time.Minute)
		w.must(w.store.RemoveDevice(w.ctx, bound, phone))
		w.must(w.store.RemoveDevice(w.ctx, bound, phone)) // the answer was lost
		w.refused(w.store.RemoveDevice(w.ctx, bound, tablet), delivery.ErrDeviceRemoved)
		w.clock.Advance(time.Minute)

		items := w.shelf(phone, 4)
		given, waiting := w.consumeHolding(phone, items[0]), w.send(bob, items[1])
		w.reserveOne(bob, phone, items[2])
		inv := w.inventory(phone)
		w.refusedAll(delivery.ErrDeviceRemoved, bound, phone, bound.User, delivery.Posting{Welcome: welcome(items[3])},
			given, items[0].Ref, inv.Digest, []mls.KeyPackageRef{}, []kp{keyPackage()})
		same(w, "inventory", w.inventory(phone), inv)
		w.became(bob, given, delivery.StatusDelivered)
		w.became(bob, waiting, delivery.StatusPending)
	}},
	{"the operator may look at what is everybody's", func(w *world) {
		k := w.one(phone)
		id := w.send(bob, k)
		status, err := w.store.KeyPackage(w.ctx, delivery.Operator(), k.Ref)
		w.must(err)
		same(w, "welcome", status.Welcome != nil && *status.Welcome == id, true)
		w.became(delivery.Operator(), id, delivery.StatusPending)
	}},
	{"a token is not for everybody", func(w *world) {
		for _, o := range []owner{{}, {Device: "phone"}, {User: "alice", Service: "app"}} {
			_, err := w.store.AddToken(w.ctx, delivery.Token{ID: "x", Owner: o})
			w.refused(err, delivery.ErrBadIdentifier)
		}
	}},
}

// refusedAll expects that each event with a caller is refused with an error. Their
// arguments are zero but those of the types of args.
func (w *world) refusedAll(want error, args ...any) {
	w.t.Helper()
	contract, store := reflect.TypeFor[delivery.Store](), reflect.ValueOf(w.store)
	events := 0
	for i := range contract.NumMethod() {
		m := contract.Method(i)
		in, asks := arguments(w, m.Type, args)
		if !asks {
			continue
		}
		events++
		results := store.MethodByName(m.Name).Call(in)
		if err, _ := results[len(results)-1].Interface().(error); !errors.Is(err, want) {
			w.t.Errorf("%s: %v, want %v", m.Name, err, want)
		}
	}
	same(w, "there are events with a caller", events >= 20, true)
}

// arguments returns those of a method of the contract, and whether a caller is among
// them.
func arguments(w *world, method reflect.Type, given []any) (args []reflect.Value, asks bool) {
	for i := range method.NumIn() {
		arg := reflect.Zero(method.In(i))
		asks = asks || method.In(i) == reflect.TypeFor[delivery.Caller]()
		if method.In(i) == reflect.TypeOf(&w.ctx).Elem() {
			arg = reflect.ValueOf(w.ctx)
		}
		for _, v := range given {
			if reflect.TypeOf(v) == method.In(i) {
				arg = reflect.ValueOf(v)
			}
		}
		args = append(args, arg)
	}
	return args, asks
}

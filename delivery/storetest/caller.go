package storetest

import (
	"reflect"

	"welcomed/delivery"
)

var callerPromises = []promise{
	{"the zero Caller may do nothing", func(w *world) {
		k := w.one(phone)
		contract, store := reflect.TypeFor[delivery.Store](), reflect.ValueOf(w.store)
		events := 0
		for i := range contract.NumMethod() {
			m := contract.Method(i)
			args, asks := zeroEvent(w, m.Type)
			if !asks {
				continue
			}
			events++
			results := store.MethodByName(m.Name).Call(args)
			err, _ := results[len(results)-1].Interface().(error)
			if err == nil {
				w.t.Errorf("%s: accepted", m.Name)
				continue
			}
			w.refused(err, delivery.ErrNoCaller)
		}
		same(w, "there are events with a caller", events >= 20, true)
		status, err := w.store.KeyPackage(w.ctx, nobody, k.Ref)
		w.must(err)
		same(w, "the KeyPackage", status.State, delivery.Available)
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

// zeroEvent returns the arguments of a method of the contract, all zero but the
// context, and whether a caller is among them.
func zeroEvent(w *world, method reflect.Type) (args []reflect.Value, asks bool) {
	for i := range method.NumIn() {
		arg := reflect.Zero(method.In(i))
		switch method.In(i) {
		case reflect.TypeOf(&w.ctx).Elem():
			arg = reflect.ValueOf(w.ctx)
		case reflect.TypeFor[delivery.Caller]():
			asks = true
		}
		args = append(args, arg)
	}
	return args, asks
}

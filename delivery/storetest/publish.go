package storetest

import (
	"errors"
	"time"

	"welcomed/delivery"
	"welcomed/mls/mlstest"
)

var publishPromises = []promise{
	{"the first publication creates the device and fills its shelf", func(w *world) {
		items := keyPackages(12)
		p := w.publish(phone, items...)
		for i, item := range p.Items {
			same(w, "ref", item.Ref, items[i].Ref)
			same(w, "status", item.Status, delivery.Stored)
			same(w, "suite", item.Suite, items[i].Suite)
			same(w, "lifetime", item.Lifetime, items[i].Lifetime)
			at(w, "expires", item.ExpiresAt, w.clock.Now().Add(w.limits.ShelfAge))
		}
		same(w, "stock", p.Stock, delivery.Stock{Available: 12, Room: 488})
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone"})
		w.states(delivery.Available, items...)
	}},
	{"a stock below the watermark is low", func(w *world) {
		same(w, "stock", w.publish(phone, keyPackages(9)...).Stock, delivery.Stock{Available: 9, Low: true, Room: 491})
		same(w, "stock", w.publish(phone, keyPackage()).Stock, delivery.Stock{Available: 10, Room: 490})
		w.reserve(bob, delivery.ReserveRequest{Devices: []deviceID{phone}})
		same(w, "stock", w.claim(phone).Stock, delivery.Stock{Available: 9, Low: true})
	}},
	{"bytes that a Welcome may still name are already stored, and stay what they are", func(w *world) {
		retired := w.one(phone)
		w.replace(phone, 0, keyPackage())
		reserved := w.one(tablet)
		w.reserveOne(bob, tablet, reserved)
		matched, available := w.one(laptop), w.one(laptop)
		w.send(bob, matched)

		w.clock.Advance(time.Hour)
		w.idle("publishing again", func() {
			again := w.publish(laptop, available).Items[0]
			at(w, "expires", again.ExpiresAt, w.clock.Now().Add(w.limits.ShelfAge-time.Hour-2*time.Second))
			for d, items := range map[deviceID][]kp{phone: {retired}, tablet: {reserved}, laptop: {matched, available}} {
				for _, s := range publishedStatuses(w.publish(d, items...)) {
					same(w, "status", s, delivery.AlreadyStored)
				}
			}
		})
		w.states(delivery.Retired, retired)
		w.states(delivery.Reserved, reserved)
		w.states(delivery.Matched, matched)
		w.states(delivery.Available, available)
	}},
	{"consumed bytes are spent, whether or not the device has acknowledged", func(w *world) {
		k := w.one(phone)
		id := w.consume(phone, k)
		w.refusedAsSpent(phone, k)
		w.ack(phone, id)
		w.refusedAsSpent(phone, k)
		w.states(delivery.Consumed, k)
	}},
	{"withdrawn bytes are spent", func(w *world) {
		k := w.one(phone)
		w.withdraw(phone, k)
		w.refusedAsSpent(phone, k)
		w.states(delivery.Withdrawn, k)
	}},
	{"a publication is spent only if every item is", func(w *world) {
		items := w.shelf(phone, 2)
		w.join(phone, items[0])
		w.withdraw(phone, items[1])
		w.refusedAsSpent(phone, items...)
	}},
	{"other bytes with an init_key that was published before are refused", func(w *world) {
		available, consumed, withdrawn := w.one(phone), w.one(phone), w.one(phone)
		w.join(phone, consumed)
		w.withdraw(phone, withdrawn)
		for before, kind := range map[*kp]error{&available: delivery.ErrInitKeyReused, &consumed: delivery.ErrKeyPackageSpent, &withdrawn: delivery.ErrKeyPackageSpent} {
			fresh, reused := keyPackage(), keyPackage(mlstest.WithInitKey(before.InitKey))
			_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{fresh, reused})
			w.publishRefused(err, kind, map[int]delivery.ItemCode{1: delivery.ItemInitKeyReused})
			w.missing(fresh, reused)
		}
	}},
	{"two KeyPackages with one init_key are refused together", func(w *world) {
		a := keyPackage()
		b := keyPackage(mlstest.WithInitKey(a.InitKey))
		_, err := w.store.Publish(w.ctx, self(phone), phone, []kp{a, b})
		w.publishRefused(err, delivery.ErrInitKeyReused, map[int]delivery.ItemCode{1: delivery.ItemInitKeyReused})
		w.missing(a, b)
	}},
	{"a stranger who copies an init_key keeps nobody from publishing", func(w *world) {
		k := keyPackage()
		w.publish(dave, keyPackage(mlstest.WithInitKey(k.InitKey)))
		same(w, "status", w.publish(phone, k).Items[0].Status, delivery.Stored)
	}},
	{"a retry with one of its hundred spent is not stuck", func(w *world) {
		items := keyPackages(98)
		w.publish(phone, items...)
		w.join(phone, items[7])
		p := w.publish(phone, append(items, keyPackages(2)...)...)
		for i, s := range publishedStatuses(p) {
			switch {
			case i == 7:
				same(w, "the consumed one", s, delivery.Spent)
			case i < 98:
				same(w, "an old one", s, delivery.AlreadyStored)
			default:
				same(w, "a new one", s, delivery.Stored)
			}
		}
		same(w, "available", p.Stock.Available, 99)
	}},
	{"the same bytes twice in one publication are stored once", func(w *world) {
		k := keyPackage()
		p := w.publish(phone, k, k)
		same(w, "items", len(p.Items), 2)
		same(w, "first", p.Items[0].Status, delivery.Stored)
		same(w, "available", p.Stock.Available, 1)
		same(w, "listed", w.listed("alice"), refsOf(k))
	}},
	{"bytes of another device are refused", func(w *world) {
		k, fresh := w.one(phone), keyPackage()
		for _, thief := range []deviceID{tablet, dave} {
			_, err := w.store.Publish(w.ctx, self(thief), thief, []kp{fresh, k})
			w.publishRefused(err, delivery.ErrNotYours, map[int]delivery.ItemCode{1: delivery.ItemNotYours})
		}
		w.missing(fresh)
		w.states(delivery.Available, k)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"phone"})
	}},
	{"one invalid item refuses the publication, and each is named", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.MaxLifetime = 100 * day; l.CipherSuites = l.CipherSuites[:3] })
		good := keyPackage(w.lasting(-day, 50*day))
		bad := []kp{
			keyPackage(w.lasting(-day, 0)),
			good,
			keyPackage(w.lasting(day+time.Minute, 50*day)),
			keyPackage(w.lasting(-51*day, 50*day)),
			keyPackage(),
			keyPackageOf(7, w.lasting(-day, 50*day)),
		}
		_, err := w.store.Publish(w.ctx, self(phone), phone, bad)
		w.publishRefused(err, delivery.ErrInvalidKeyPackage, map[int]delivery.ItemCode{
			0: delivery.ItemExpired, 2: delivery.ItemNotYetValid, 3: delivery.ItemLifetimeTooLong,
			4: delivery.ItemLifetimeTooLong, 5: delivery.ItemUnsupportedCipherSuite,
		})
		w.missing(bad...)
		same(w, "devices", len(w.devices("alice")), 0)
	}},
	{"any lifetime is accepted where the application sets no maximum", func(w *world) {
		p := w.publish(phone, keyPackage(mlstest.WithLifetime(0, mlstest.NoEnd)), keyPackage(w.lasting(-1000*day, 1000*day)))
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Stored, delivery.Stored})
		same(w, "not_after", p.Items[0].Lifetime.NotAfter, uint64(mlstest.NoEnd))
	}},
	{"a not_before ahead by less than clocks differ is kept off the shelf until then", func(w *world) {
		k := keyPackage(w.lasting(23*time.Hour, 90*day))
		from := w.clock.Now().Add(23 * time.Hour)
		p := w.publish(phone, k)
		same(w, "status", p.Items[0].Status, delivery.NotYetValid)
		at(w, "usable", p.Items[0].UsableFrom, from)
		same(w, "listed", w.listed("alice"), []ref{})
		same(w, "reserved", reservedRefs(w.reserve(bob, delivery.ReserveRequest{Users: []delivery.UserID{"alice"}})), []ref{})
		w.clock.Advance(23*time.Hour + time.Second)
		same(w, "listed", w.listed("alice"), refsOf(k))
		w.reserveOne(bob, phone, k)
	}},
	{"what is not yet valid is not available, and nobody has to publish more because of it", func(w *world) {
		early := keyPackages(10, w.lasting(5*time.Hour, 90*day))
		last := keyPackage(mlstest.LastResort(), w.lasting(5*time.Hour, 90*day))
		want := delivery.Stock{NotYetValid: 10, Room: 490}
		same(w, "stock", w.publish(phone, append(early, last)...).Stock, want)
		again := w.publish(phone, early[0])
		same(w, "status", again.Items[0].Status, delivery.AlreadyStored)
		at(w, "usable", again.Items[0].UsableFrom, time.Unix(int64(early[0].Lifetime.NotBefore), 0))
		same(w, "counts", w.inventory(phone).Counts, []delivery.SuiteCounts{{Suite: 1, NotYetValid: 11}})
		same(w, "last resort", w.inventory(phone).LastResort[0].UsableFrom.IsZero(), false)
		w.one(phone)
		want.Available, want.Room = 1, 0
		same(w, "told to a claim", w.claim(phone).Stock, want)
		w.clock.Advance(5 * time.Hour)
		same(w, "then", w.claim(phone).Stock, delivery.Stock{Available: 11})
		same(w, "counts", w.inventory(phone).Counts, []delivery.SuiteCounts{{Suite: 1, Available: 12}})
		same(w, "last resort", w.inventory(phone).LastResort[0].UsableFrom.IsZero(), true)
	}},
	{"what has too little of its lifetime to be handed out says so, and is off the shelf", func(w *world) {
		short, never := keyPackage(w.lasting(-day, 23*time.Hour)), keyPackage(w.lasting(12*time.Hour, 30*time.Hour))
		p := w.publish(phone, short, never, short)
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.TooShortLived, delivery.TooShortLived, delivery.AlreadyStored})
		same(w, "stock", p.Stock, delivery.Stock{Low: true, Room: 500})
		w.states(delivery.Retired, short, never)
		same(w, "statuses", publishedStatuses(w.publish(phone, short)), []delivery.PublishedStatus{delivery.AlreadyStored})
		w.first(phone, w.send(bob, short))
	}},
	{"a Welcome may name a KeyPackage before its not_before, for clocks differ", func(w *world) {
		k := keyPackage(w.lasting(23*time.Hour, 90*day))
		w.publish(phone, k)
		w.first(phone, w.send(bob, k))
	}},
	{"a full shelf says how much room it has", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 5 })
		stored, more := w.shelf(phone, 3), keyPackages(3)
		_, err := w.store.Publish(w.ctx, self(phone), phone, append(more, stored...))
		w.refused(err, delivery.ErrStockFull)
		var full *delivery.StockFullError
		same(w, "is a *StockFullError", errors.As(err, &full), true)
		same(w, "room", full.Room, 2)
		w.missing(more...)

		p := w.publish(phone, append(more[:2], stored...)...)
		same(w, "stock", p.Stock, delivery.Stock{Available: 5, Low: true})
		w.publish(phone, keyPackage(mlstest.LastResort())) // is not counted
		w.publish(tablet, keyPackages(5)...)               // has its own
		w.reserveOne(bob, phone, stored[0])                // makes room
		same(w, "status", w.publish(phone, more[2]).Items[0].Status, delivery.Stored)
	}},
	{"the shelves of a user hold so many together, and the answer is the smaller room", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 5; l.KeyPackagesPerUser = 8 })
		same(w, "stock", w.publish(phone, keyPackages(2)...).Stock, delivery.Stock{Available: 2, Low: true, Room: 3})
		tablets := keyPackages(4)
		same(w, "stock", w.publish(tablet, tablets...).Stock, delivery.Stock{Available: 4, Low: true, Room: 1})
		same(w, "stock", w.publish(phone, keyPackage()).Stock, delivery.Stock{Available: 3, Low: true, Room: 1})
		more := keyPackages(2)
		w.full(1, delivery.FullShelves, func() error {
			_, err := w.store.Publish(w.ctx, self(phone), phone, more)
			return err
		})
		w.missing(more...)
		w.publish(phone, more[0])
		w.publish(tablet, keyPackage(mlstest.LastResort())) // is not counted
		w.publish(dave, keyPackages(5)...)                  // is somebody else
		w.reserveOne(bob, tablet, tablets[0])               // makes room
		same(w, "stock", w.publish(phone, more[1]).Stock, delivery.Stock{Available: 5, Low: true})
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		same(w, "stock", w.publish(tablet, keyPackage()).Stock, delivery.Stock{Available: 4, Low: true, Room: 1})
	}},
	{"what a replacement takes off the shelves makes room for the user as well", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerUser = 5 })
		w.shelf(phone, 2)
		w.shelf(tablet, 3)
		same(w, "stock", w.replace(phone, 0, keyPackages(2)...).Stock, delivery.Stock{Available: 2, Low: true})
		w.full(2, delivery.FullShelves, func() error {
			_, err := w.store.Replace(w.ctx, self(phone), phone, 0, keyPackages(3))
			return err
		})
	}},
	{"a device leaves so many KeyPackages off its shelf and no more", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerDevice = 6 })
		w.replace(phone, 0, keyPackages(3)...)
		w.replace(phone, 0, keyPackages(3)...)
		old := w.shelf(phone, 1)
		fresh := keyPackages(1)
		w.full(0, delivery.FullRetired, func() error {
			_, err := w.store.Replace(w.ctx, self(phone), phone, 0, fresh)
			return err
		})
		w.missing(fresh...)
		w.states(delivery.Available, old...)
		w.publish(phone, fresh...) // as much as the shelf holds
		w.replace(tablet, 0, keyPackages(6)...)
		w.replace(phone, 0, append(old, fresh...)...) // retires three
		same(w, "available", w.inventory(phone).Counts[0].Available, 2)
	}},
	{"the devices of a user leave so many off their shelves and no more", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerUser = 5 })
		for range 2 {
			w.replace(phone, 0, keyPackages(3)...)
			w.replace(tablet, 0, keyPackages(2)...)
			w.replace(dave, 0, keyPackages(3)...)
		}
		w.full(0, delivery.FullRetired, func() error {
			_, err := w.store.Replace(w.ctx, self(tablet), tablet, 0, keyPackages(1))
			return err
		})
		w.publish(tablet, keyPackages(1)...)
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.replace(tablet, 0, keyPackages(1)...)
	}},
	{"what others have taken is none of those", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerDevice = 3 })
		items := keyPackages(12)
		w.publish(phone, items...)
		for _, k := range items[:8] {
			w.reserveOne(bob, phone, k)
		}
		w.consume(phone, items[0])
		w.send(carol, items[8])
		w.replace(phone, 0, keyPackage()) // retires three
		w.full(0, delivery.FullRetired, func() error {
			_, err := w.store.Replace(w.ctx, self(phone), phone, 0, []kp{keyPackage()})
			return err
		})
		w.send(bob, items[9]) // matches a retired one
		w.replace(phone, 0, keyPackage())
	}},
	{"last resorts and short-lived ones count beside the shelf as well", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerDevice = 4 })
		lastResort, short := mlstest.LastResort(), w.lasting(-day, time.Hour)
		w.publish(phone, keyPackage(lastResort), keyPackage(lastResort)) // the newer retires the older
		w.publish(phone, keyPackage(lastResort))
		publish := func(items ...kp) func() error {
			return func() error { _, err := w.store.Publish(w.ctx, self(phone), phone, items); return err }
		}
		w.full(2, delivery.FullRetired, publish(keyPackage(short), keyPackage(short), keyPackage(short)))
		w.full(2, delivery.FullRetired, publish(keyPackage(short), keyPackage(lastResort), keyPackage(lastResort)))
		w.publish(phone, keyPackage(short), keyPackage(lastResort))
		w.full(0, delivery.FullRetired, publish(keyPackage(lastResort)))
		w.publish(phone, keyPackages(3)...)
	}},
	{"a sync, or time, makes room beside the shelf", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.RetiredPerDevice = 2 })
		refill := func() error {
			_, err := w.store.Replace(w.ctx, self(phone), phone, 0, keyPackages(2))
			return err
		}
		for range 2 {
			w.must(refill())
		}
		w.full(0, delivery.FullRetired, refill)
		w.sync(phone)
		for range 2 {
			w.must(refill())
		}
		w.full(0, delivery.FullRetired, refill)
		w.clock.Advance(w.limits.RetiredFor + time.Second)
		w.sweep()
		w.must(refill())
	}},
	{"a user has so many devices and no more", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.DevicesPerUser = 2 })
		w.shelf(phone, 1)
		w.shelf(tablet, 1)
		k := keyPackage()
		_, err := w.store.Publish(w.ctx, self(laptop), laptop, []kp{k})
		w.refused(err, delivery.ErrDeviceLimit)
		w.missing(k)
		w.publish(phone, keyPackage())
		w.publish(dave, keyPackage())
		w.must(w.store.RemoveDevice(w.ctx, self(phone), phone))
		w.publish(laptop, k)
		same(w, "devices", deviceNames(w.devices("alice")), []string{"laptop", "tablet"})
	}},
}

// full expects that there is room for so many only, and where it ends.
func (w *world) full(room int, where delivery.FullPlace, publish func() error) {
	w.t.Helper()
	err := publish()
	w.refused(err, delivery.ErrStockFull)
	var full *delivery.StockFullError
	same(w, "is a *StockFullError", errors.As(err, &full), true)
	same(w, "room", *full, delivery.StockFullError{Room: room, Full: where})
}

// refusedAsSpent expects that items, published by d, are all spent.
func (w *world) refusedAsSpent(d deviceID, items ...kp) {
	w.t.Helper()
	_, err := w.store.Publish(w.ctx, self(d), d, items)
	reasons := map[int]delivery.ItemCode{}
	for i := range items {
		reasons[i] = delivery.ItemSpent
	}
	w.publishRefused(err, delivery.ErrKeyPackageSpent, reasons)
}

var replacePromises = []promise{
	{"replacing retires what is on the shelf and never withdraws it", func(w *world) {
		old, reserved := w.shelf(phone, 4), w.one(tablet)
		w.reserveOne(carol, phone, old[0])
		w.send(carol, old[1])
		fresh := keyPackages(2)
		p := w.replace(phone, 0, fresh...)
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.Stored, delivery.Stored})
		same(w, "available", p.Stock.Available, 2)

		w.states(delivery.Reserved, old[0])
		w.states(delivery.Matched, old[1])
		w.states(delivery.Retired, old[2:]...)
		w.states(delivery.Available, append(fresh, reserved)...)
		sameRefs(w, "listed", w.listed("alice"), append(fresh, reserved)...)
	}},
	{"a retired KeyPackage is never handed out and can be matched by anyone", func(w *world) {
		old := w.shelf(phone, 2)
		w.replace(phone, 0, keyPackages(1)...)
		reserve := delivery.ReserveRequest{Devices: []deviceID{phone}}
		w.reserve(bob, reserve)
		same(w, "status", w.reserve(bob, reserve).Users[0].Devices[0].Status, delivery.DeviceExhausted)
		a, b := w.send(bob, old[0]), w.send(nobody, old[1])
		w.first(phone, a, b)
	}},
	{"bytes in both sets stay on the shelf", func(w *world) {
		old := w.shelf(phone, 3)
		fresh := keyPackage()
		p := w.replace(phone, 0, old[1], fresh)
		same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.AlreadyStored, delivery.Stored})
		w.states(delivery.Available, old[1], fresh)
		w.states(delivery.Retired, old[0], old[2])
	}},
	{"replacing one suite leaves the others", func(w *world) {
		one, two := keyPackage(), keyPackageOf(2)
		w.publish(phone, one, two)
		fresh := keyPackageOf(2)
		w.replace(phone, 2, fresh)
		w.states(delivery.Available, one, fresh)
		w.states(delivery.Retired, two)
	}},
	{"a replacement that is refused retires nothing", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 3 })
		spent := w.one(phone)
		w.join(phone, spent)
		old := w.shelf(phone, 3)
		refused := func(want error, items ...kp) {
			w.t.Helper()
			_, err := w.store.Replace(w.ctx, self(phone), phone, 0, items)
			w.refused(err, want)
			w.states(delivery.Available, old...)
		}
		fresh := keyPackage()
		refused(delivery.ErrInvalidKeyPackage, fresh, keyPackage(w.lasting(-2*day, -day)))
		refused(delivery.ErrKeyPackageSpent, spent)
		refused(delivery.ErrInitKeyReused, fresh, keyPackage(mlstest.WithInitKey(old[0].InitKey)))
		refused(delivery.ErrNotYours, fresh, w.one(tablet))
		refused(delivery.ErrStockFull, keyPackages(4)...)
		w.missing(fresh)
	}},
	{"a replacement of one suite takes no other", func(w *world) {
		old := w.one(phone)
		_, err := w.store.Replace(w.ctx, self(phone), phone, 1, []kp{keyPackage(), keyPackageOf(2)})
		if !errors.Is(err, delivery.ErrWrongSuite) && !errors.Is(err, delivery.ErrInvalidKeyPackage) {
			w.t.Fatalf("got %v", err)
		}
		w.states(delivery.Available, old)
	}},
	{"what is replaced makes room at once", func(w *world) {
		w.allow(func(l *delivery.Limits) { l.KeyPackagesPerDevice = 3 })
		old := w.shelf(phone, 3)
		w.replace(phone, 0, keyPackages(3)...)
		w.states(delivery.Retired, old...)
	}},
	{"replacing again with the same changes nothing", func(w *world) {
		w.shelf(phone, 3)
		fresh := keyPackages(2)
		w.replace(phone, 0, fresh...)
		w.idle("replacing again", func() {
			p := w.replace(phone, 0, fresh...)
			same(w, "statuses", publishedStatuses(p), []delivery.PublishedStatus{delivery.AlreadyStored, delivery.AlreadyStored})
		})
	}},
}

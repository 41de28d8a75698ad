package store

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// BenchmarkPublishRemembered publishes 100 KeyPackages of a device that has
// published so many before, and measures what the writer does for it, commit not
// counted: the time that it takes from all others.
// go test ./store -run '^$' -bench PublishRemembered -benchtime 200x
func BenchmarkPublishRemembered(b *testing.B) {
	for _, n := range []int{0, 1000, 30_000, 300_000} {
		b.Run(fmt.Sprintf("keys=%d", n), func(b *testing.B) {
			s, id := openRoomy(b), deviceNo(0)
			remember(b, s, id, n)
			busy := time.Duration(0)
			b.ResetTimer()
			for range b.N {
				busy += publishTimed(b, s, publication{id: id, items: randomItems(100)})
			}
			b.ReportMetric(float64(busy.Microseconds())/float64(b.N), "writer-µs/op")
		})
	}
}

// openRoomy opens a store that does not mind how much a device has.
func openRoomy(b *testing.B) *MemoryStore {
	b.Helper()
	limits := delivery.DefaultLimits()
	limits.KeyPackagesPerDevice, limits.KeyPackagesPerUser, limits.RetiredPerDevice, limits.RetiredPerUser = 1<<30, 1<<30, 1<<30, 1<<30
	return openWith(b, nil, limits)
}

func randomItems(n int) []delivery.NewKeyPackage {
	items := make([]delivery.NewKeyPackage, n)
	for i := range items {
		bytes := mlstest.Random(400)
		items[i] = delivery.NewKeyPackage{
			Ref: mls.CipherSuite(1).RefOf(bytes), Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64},
			InitKey: mlstest.Random(32), Bytes: bytes,
		}
	}
	return items
}

// remember has a device have used n init_keys.
func remember(b *testing.B, s *MemoryStore, id delivery.DeviceID, n int) {
	b.Helper()
	publishTimed(b, s, publication{id: id, items: randomItems(1)})
	for left := n - 1; left > 0; left -= 10_000 {
		err := s.run(context.Background(), func(t *Txn) error {
			keys := make([]initKey, min(left, 10_000))
			for i := range keys {
				keys[i] = initKey{t.next(), initHash(mlstest.Random(initHashBytes))}
			}
			d, s := t.device(id), newInitKeySearch(nil)
			t.searchInitKeys(id, s)
			t.noteInitKeys(d, s, keys)
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// publishTimed is (*Store).Publish that says how long the writer was busy.
func publishTimed(b *testing.B, s *MemoryStore, p publication) (took time.Duration) {
	b.Helper()
	var looked *publishLook
	err := s.Peek(context.Background(), func(t *Txn) error { looked = t.lookAt(p); return nil })
	if err == nil {
		err = s.run(context.Background(), func(t *Txn) error {
			started := time.Now()
			p.seen = looked.clone()
			_, err := t.publish(p)
			took = time.Since(started)
			return err
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	return took
}

// BenchmarkLargeDevice measures how long the writer is busy with one event of a
// device that has so many retired KeyPackages and tombstones, and Welcomes that
// have ended.
// go test ./store -run '^$' -bench LargeDevice -benchtime 1x
func BenchmarkLargeDevice(b *testing.B) {
	for _, n := range []int{1000, 20_000} {
		for name, event := range map[string]func(t *Txn, d *device){
			"inventory": func(t *Txn, d *device) { t.inventory(d) },
			"withdraw all": func(t *Txn, d *device) {
				c := &deviceSync{id: d.id, digest: t.inventory(d).Digest}
				if _, err := c.look(t); err != nil {
					panic(err)
				}
				c.withdrawNext(t, d)
			},
			"remove": func(t *Txn, d *device) { t.removeDevice(d, t.now, t.next()) },
			"age nothing": func(t *Txn, d *device) {
				d.live.set = t.now
				t.fireDevice(timer{due: t.now, row: numberKey(d.number)}, new(delivery.SweepResult))
			},
			"forget nothing": func(t *Txn, d *device) {
				d.tombstones.set = t.now
				t.fireTombstones(timer{due: t.now, row: numberKey(d.number)}, new(delivery.SweepResult))
			},
			"open recipients": func(t *Txn, d *device) { t.openRecipients(d) },
		} {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				s, id := openRoomy(b), deviceNo(0)
				fillDevice(b, s, id, n)
				busy := time.Duration(0)
				b.ResetTimer()
				for range b.N {
					err := s.run(context.Background(), func(t *Txn) error {
						started := time.Now()
						event(t, t.device(id))
						busy += time.Since(started)
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(busy.Microseconds())/float64(b.N), "writer-µs/op")
			})
		}
	}
}

// fillDevice gives a device n retired KeyPackages, n tombstones and n Welcomes
// that have ended.
func fillDevice(b *testing.B, s *MemoryStore, id delivery.DeviceID, n int) {
	b.Helper()
	for left := n; left > 0; left -= 500 {
		err := s.run(context.Background(), func(t *Txn) error {
			_, err := t.publish(publication{id: id, items: randomItems(1000), replace: true})
			d := t.device(id)
			for i, k := range t.onShelf(d, 0) {
				if i%2 == 0 {
					k.rec.Retire(*t.limits, t.now)
					t.saveKeyPackage(d, k)
					continue
				}
				m := &recipient{recipientKey: recipientKey{welcome: k.number}, rec: t.limits.NewRecipientRecord(false, t.now), kp: k.keyPackageKey}
				m.rec.End(delivery.Acknowledged, t.now)
				t.saveRecipient(d, m)
				k.rec.End(delivery.Withdrawn, t.now)
				t.saveKeyPackage(d, k)
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

package bolt

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"path/filepath"
	"testing"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/store"
)

// The tests of faults say what the disk does; the disk itself is the subject of trials/disk.
func init() { storetest.DirectoriesInMemory() }

const littleHeadroom = 256 << 10

// Small returns options with which a file of a few rows takes little room. The usual headroom
// costs a test more than all that the test does.
func Small(o Options) Options {
	o.headroom = littleHeadroom
	return o
}

var phone = delivery.DeviceID{User: "alice", Name: "phone"}

func openAt(t *testing.T, clock delivery.Clock) *Store {
	t.Helper()
	s, err := Open(t.TempDir()+"/welcomed.db", Options{Limits: delivery.DefaultLimits(), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func publishOne(t *testing.T, s *Store, device delivery.DeviceID) delivery.NewKeyPackage {
	t.Helper()
	kp, err := mls.ParseKeyPackage(mlstest.NewSigner(1, "alice").KeyPackage())
	must(t, err)
	item := delivery.Publication(kp)
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), device, []delivery.NewKeyPackage{item})
	must(t, err)
	return item
}

func unsigned(n int) delivery.NewKeyPackage {
	h := sha256.Sum256(fmt.Append(nil, n))
	return delivery.NewKeyPackage{Ref: mls.CipherSuite(1).RefOf(h[:]), Suite: 1, Lifetime: mls.Lifetime{NotAfter: math.MaxUint64}, InitKey: h[:], Bytes: h[:]}
}

func openTest(t testing.TB) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "welcomed.db"), Options{Limits: delivery.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func deviceNo(i int) delivery.DeviceID {
	return delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("user-%08d", i)), Name: "phone"}
}

// randomItems are KeyPackages whose bytes are no objects.
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

// Kinds that tests write rows of, see doc.go.
var (
	kindNames       = kind("names")
	kindDevices     = kind("device_rows")
	kindKeyPackages = kind("key_packages")
)

func kind(name string) *store.Kind {
	for _, k := range store.Kinds {
		if k.Name == name {
			return k
		}
	}
	panic("there is no kind " + name)
}

// numberKey is a number in a key.
func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n)[2:] }

// scan yields the rows whose keys begin with prefix, from a key on.
func scan(rows store.Rows, k *store.Kind, prefix, from []byte) iter.Seq2[[]byte, []byte] {
	if bytes.Compare(from, prefix) < 0 {
		from = prefix
	}
	return func(yield func(key, value []byte) bool) {
		c := rows.Scan(k, prefix, from)
		defer c.Close()
		for key, value := c.Next(); key != nil && yield(key, value); key, value = c.Next() {
		}
	}
}

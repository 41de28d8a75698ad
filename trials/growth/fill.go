package main

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
)

const (
	perDevice = 100 // KeyPackages on a shelf
	// keyPackageBytes is what a client with a short basic credential makes in
	// cipher suite 1.
	keyPackageBytes = 300
	fillers         = 64 // callers that fill a file: they share commits
)

func open(path string) (*bolt.Store, error) {
	return bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
}

// fill makes a file with n KeyPackages, unless it is there.
func fill(ctx context.Context, path string, n int, out *column) error {
	if _, err := os.Stat(path); err == nil {
		fmt.Fprintf(os.Stderr, "%s is there\n", path)
		return noteFile(path, n, out)
	}
	// A file that was not filled to the end must not be taken for one that was.
	part := path + ".part"
	_ = os.Remove(part)
	s, err := open(part)
	if err != nil {
		return err
	}
	defer s.Close()
	start := time.Now()
	err = spread(fillers, n/perDevice, func(r *maker, i int) error {
		if i > 0 && i%10_000 == 0 {
			rate := float64(i*perDevice) / time.Since(start).Seconds()
			fmt.Fprintf(os.Stderr, "%d of %d KeyPackages, %.0f/s\n", i*perDevice, n, rate)
		}
		return r.publish(ctx, s, deviceNo(i), perDevice)
	})
	if err != nil {
		return fmt.Errorf("fill %s: %w", path, err)
	}
	out.add("fill", "KeyPackages/s", float64(n)/time.Since(start).Seconds())
	if err := errors.Join(s.Close(), os.Rename(part, path)); err != nil {
		return err
	}
	return noteFile(path, n, out)
}

func noteFile(path string, n int, out *column) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	out.add("file as filled", "MB", float64(info.Size())/1e6)
	out.add("file over payload, as filled", "ratio", float64(info.Size())/float64(n*keyPackageBytes))
	return nil
}

func deviceNo(i int) delivery.DeviceID {
	return delivery.DeviceID{User: delivery.UserID(fmt.Sprintf("user-%08d", i)), Name: "phone"}
}

// A maker makes KeyPackages for one goroutine. They are random bytes: nobody
// looks into them behind the server's checks.
type maker struct{ random *rand.ChaCha8 }

func newMaker() *maker {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return &maker{rand.NewChaCha8(seed)}
}

func (m *maker) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = m.random.Read(b) // never fails
	return b
}

func (m *maker) keyPackage() delivery.NewKeyPackage {
	now, bytes := time.Now(), m.bytes(keyPackageBytes)
	return delivery.NewKeyPackage{
		Ref: mls.CipherSuite(1).RefOf(bytes), Suite: 1, InitKey: m.bytes(32), Bytes: bytes,
		Lifetime: mls.Lifetime{NotBefore: uint64(now.Add(-time.Hour).Unix()), NotAfter: uint64(now.AddDate(0, 3, 0).Unix())},
	}
}

func (m *maker) publish(ctx context.Context, s *bolt.Store, d delivery.DeviceID, n int) error {
	items := make([]delivery.NewKeyPackage, n)
	for i := range items {
		items[i] = m.keyPackage()
	}
	_, err := s.Publish(ctx, delivery.Caller{User: d.User, Device: d.Name}, d, items)
	return err
}

// spread makes n calls from that many goroutines, until one fails.
func spread(callers, n int, call func(m *maker, i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, callers)
	for range min(callers, n) {
		wg.Go(func() {
			m := newMaker()
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := call(m, int(i)); err != nil {
					next.Store(int64(n))
					errs <- err
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// workingCopy copies a file that a round will change, unless it is too large for
// that. done removes the copy.
func workingCopy(path string, most int64) (work string, done func(), err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", nil, err
	}
	if info.Size() > most {
		return path, func() {}, nil
	}
	work = path + ".work"
	done = func() { os.Remove(work) }
	return work, done, copyFile(path, work)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}

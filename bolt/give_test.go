package bolt_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// After a restore a thief publishes first what he had listed. Whatever has become of it
// in his hands, the owner gets it back, and the thief cannot publish it again.
func TestAKeyPackageIsGivenBack(t *testing.T) {
	alice, mallory := delivery.DeviceID{User: "alice", Name: "phone"}, delivery.DeviceID{User: "mallory", Name: "phone"}
	nobody, bob := delivery.Unauthenticated(), delivery.Caller{User: "bob"}
	var clock *storetest.Clock
	for name, became := range map[string]func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID){
		"nothing":            func(*testing.T, *bolt.Store, func() delivery.WelcomeID) {},
		"a Welcome waits":    func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) { post() },
		"a Welcome is given": func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) { post(); claim(t, s, mallory) },
		"he has acknowledged": func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) {
			id := post()
			claim(t, s, mallory)
			must(t, s.Acknowledge(t.Context(), nobody, mallory, id, ""))
		},
		"its bytes are forgotten": func(t *testing.T, s *bolt.Store, _ func() delivery.WelcomeID) {
			_, err := s.Replace(t.Context(), nobody, mallory, 0, nil)
			must(t, err)
			for range 2 { // retired at first
				clock.Advance(delivery.DefaultLimits().RetiredFor + 2*time.Hour)
				_, err := s.Sweep(t.Context())
				must(t, err)
			}
		},
		"a Welcome waits, and he is removed": func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) {
			post()
			must(t, s.RemoveDevice(t.Context(), nobody, mallory))
		},
		"a Welcome is given, and he is removed": func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) {
			post()
			claim(t, s, mallory)
			must(t, s.RemoveDevice(t.Context(), nobody, mallory))
		},
		"he is removed": func(t *testing.T, s *bolt.Store, post func() delivery.WelcomeID) {
			must(t, s.RemoveDevice(t.Context(), nobody, mallory))
		},
	} {
		for kind, options := range map[string][]mlstest.Option{"": nil, ", a last resort": {mlstest.LastResort()}} {
			t.Run(name+kind, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "welcomed.db")
				clock = storetest.NewClock()
				s := open(t, path, bolt.Options{Clock: clock, TrustClock: true})
				signer := mlstest.NewSigner(1, "alice")
				kp, other := newKeyPackage(t, signer, options...), newKeyPackage(t, signer)
				publish := func(id delivery.DeviceID, items ...delivery.NewKeyPackage) error {
					_, err := s.Publish(t.Context(), nobody, id, items)
					return err
				}
				must(t, publish(mallory, kp, newKeyPackage(t, signer)))
				if err := publish(alice, kp, other); !errors.Is(err, delivery.ErrNotYours) {
					t.Fatal(err)
				}
				became(t, s, func() delivery.WelcomeID { return postFor(t, s, bob, kp) })
				for range 2 {
					must(t, s.Give(t.Context(), delivery.Operator(), alice, kp.Ref))
				}
				if err := publish(mallory, kp); !errors.Is(err, delivery.ErrNotYours) {
					t.Errorf("the thief publishes it again: %v", err)
				}
				must(t, publish(alice, kp, other))
				claim(t, s, alice)
				id := postFor(t, s, bob, kp)
				if got := claim(t, s, alice); len(got) != 1 || got[0].ID != id {
					t.Errorf("the owner is given %v", got)
				}
				if got := claim(t, s, mallory); len(got) > 0 {
					t.Errorf("the thief is given %v", got)
				}
				if err := s.Give(t.Context(), delivery.Operator(), alice, "unknown ref"); !errors.Is(err, delivery.ErrNotFound) {
					t.Errorf("one that nobody has: %v", err)
				}
				_, err := s.Sweep(t.Context())
				must(t, err)
				must(t, s.Close())
				must(t, bolt.Check(t.Context(), path))
			})
		}
	}
}

func claim(t *testing.T, s *bolt.Store, id delivery.DeviceID) []delivery.Delivery {
	t.Helper()
	r, err := s.Claim(t.Context(), delivery.Unauthenticated(), id, delivery.ClaimOptions{})
	must(t, err)
	return r.Deliveries
}

func postFor(t *testing.T, s *bolt.Store, by delivery.Caller, kp delivery.NewKeyPackage) delivery.WelcomeID {
	t.Helper()
	w, err := mls.ParseWelcome(mlstest.WelcomeFor(kp.Bytes))
	must(t, err)
	o, err := s.Post(t.Context(), by, delivery.Posting{Welcome: w})
	must(t, err)
	return o.ID
}

package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A fileStore is the key store and the groups of an application, in a file: each write is
// one rename, so that a process that is killed leaves the state before it or after it.
type fileStore struct {
	path string
	at   func(point string) // is told of each point that is passed; nil: nobody
	// twoWrites breaks the contract: the private key goes in one write, and the id of the
	// Welcome is saved in another.
	twoWrites bool
}

type appState struct {
	Keys   map[string]client.HeldKeyPackage
	Joined map[string]int  // by the id of the Welcome: how often a group was saved
	Tried  map[string]bool // those that the application could not join the first time
}

func (f *fileStore) load() (s appState, err error) {
	s = appState{map[string]client.HeldKeyPackage{}, map[string]int{}, map[string]bool{}}
	b, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

func (f *fileStore) change(what string, change func(*appState)) error {
	s, err := f.load()
	if err != nil {
		return err
	}
	change(&s)
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	f.pass(what + ": not saved yet")
	if err := os.WriteFile(f.path+".part", b, 0o600); err != nil {
		return err
	}
	f.pass(what + ": half saved")
	if err := os.Rename(f.path+".part", f.path); err != nil {
		return err
	}
	f.pass(what + ": saved")
	return nil
}

func (f *fileStore) pass(point string) {
	if f.at != nil {
		f.at(point)
	}
}

func (f *fileStore) KeyPackages(context.Context) (list []client.HeldKeyPackage, err error) {
	s, err := f.load()
	for _, k := range s.Keys {
		list = append(list, k)
	}
	return list, err
}

func (f *fileStore) Make(_ context.Context, order client.Order) (made []client.HeldKeyPackage, err error) {
	now := time.Now()
	options := []mlstest.Option{mlstest.WithLifetime(uint64(now.Add(-time.Hour).Unix()), uint64(now.Add(90*24*time.Hour).Unix()))}
	if order.LastResort {
		options = append(options, mlstest.LastResort())
	}
	signer := mlstest.NewSigner(mls.CipherSuite(order.CipherSuite), "alice")
	for range order.Count {
		b := signer.KeyPackage(options...)
		made = append(made, client.HeldKeyPackage{
			Ref: refOf(b), CipherSuite: order.CipherSuite, LastResort: order.LastResort, RestoreEpoch: order.RestoreEpoch, MadeAt: now, Bytes: b,
		})
	}
	return made, f.change("make", func(s *appState) {
		for _, k := range made {
			s.Keys[k.Ref] = k
		}
	})
}

func (f *fileStore) Delete(_ context.Context, refs []string) error {
	return f.change("delete", func(s *appState) {
		for _, ref := range refs {
			delete(s.Keys, ref)
		}
	})
}

func (f *fileStore) Joined(_ context.Context, id string) (bool, error) {
	s, err := f.load()
	f.pass("looked up")
	return s.Joined[id] > 0, err
}

// What the application does with a Welcome says its context.
const (
	declines   = "decline"
	laterOnce  = "later" // fails the first time
	joinsLater = "never" // fails each time
)

// Join joins as an MLS library does: it needs the private key and deletes it.
func (f *fileStore) Join(_ context.Context, w client.Welcome) error {
	s, err := f.load()
	if err != nil {
		return err
	}
	k, held := s.Keys[w.Ref]
	switch {
	case s.Joined[w.ID] > 0:
		return nil
	case !held:
		return &client.CannotJoin{Reason: client.ReasonNoMatchingKeyPackage}
	case string(w.Context) == declines:
		return &client.CannotJoin{Reason: client.ReasonDeclined, Detail: "not\nthis one"}
	case string(w.Context) == joinsLater, string(w.Context) == laterOnce && !s.Tried[w.ID]:
		return errors.Join(errors.New("the network is down"), f.change("try", func(s *appState) { s.Tried[w.ID] = true }))
	}
	useKey := func(s *appState) {
		if !k.LastResort {
			delete(s.Keys, w.Ref)
		}
	}
	save := func(s *appState) { s.Joined[w.ID]++ }
	if f.twoWrites {
		if err := f.change("use the key", useKey); err != nil {
			return err
		}
		return f.change("save the id", save)
	}
	return f.change("join", func(s *appState) { useKey(s); save(s) })
}

// device returns one that has this store.
func (f *fileStore) device(c *client.Client) *client.Device {
	return &client.Device{Client: c, ID: phone, Keys: f, Join: f.Join, CipherSuites: []uint16{1}, Low: 3, High: 5, Most: 20}
}

// check compares what the application has with what was posted: the context of each Welcome
// by its id, and what its poster was told.
func (f *fileStore) check(posted map[string]string, outcome func(id string) (client.Outcome, error)) error {
	s, err := f.load()
	if err != nil {
		return err
	}
	for id, does := range posted {
		o, err := outcome(id)
		if err != nil {
			return err
		}
		wantStatus, wantJoined := client.RecipientAcknowledged, 1
		if does == declines {
			wantStatus, wantJoined = client.RecipientRejected, 0
		}
		if r := o.Recipients[0]; r.Status != wantStatus || s.Joined[id] != wantJoined {
			return fmt.Errorf("a Welcome (%s) was joined %d times and is %s %s", does, s.Joined[id], r.Status, r.Reason)
		}
		delete(s.Joined, id)
	}
	if len(s.Joined) > 0 {
		return fmt.Errorf("%d groups of no Welcome", len(s.Joined))
	}
	return nil
}

func refsHeld(s appState) (refs []string) {
	for ref := range s.Keys {
		refs = append(refs, ref)
	}
	slices.Sort(refs)
	return refs
}

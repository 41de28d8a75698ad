package store

import (
	"errors"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
)

// The engine in memory finds an event that breaks its promises: one that fails after it has
// written, and one that changes an entry of which nobody is the owner.
func TestMemoryFindsEventsThatBreakTheirPromise(t *testing.T) {
	s := openTest(t)
	kp, number := publishOne(t, s, phone), uint64(0)
	for broken, run := range map[string]func(t *Txn) error{
		"it fails after it has written": func(t *Txn) error {
			t.touch(t.device(phone))
			t.put(kindNames, nameKey(tablet), numberKey(7))
			return errors.New("no")
		},
		"it changes the bytes of a KeyPackage": func(t *Txn) error {
			_, k := t.refOwner(kp.Ref)
			number = k.number
			t.put(kindKeyPackages, numberKey(k.number), []byte("others"))
			return nil
		},
	} {
		t.Run(broken, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was not found")
				}
			}()
			_ = s.run(t.Context(), run)
		})
	}
	must(t, s.View(t.Context(), func(txn *Txn) error {
		if txn.get(kindNames, nameKey(tablet)) != nil || string(txn.get(kindKeyPackages, numberKey(number))) != string(kp.Bytes) {
			t.Error("some of it was kept")
		}
		return nil
	}))
	publishOne(t, s, tablet) // what was locked is free
}

// A process that begins while the clock is ahead cannot know that it is. It learns it from
// a process that can, and another that was asked nothing meanwhile learns it too.
func TestProcessesLearnFromEachOtherThatTheClockWasWrong(t *testing.T) {
	for _, ahead := range []time.Duration{12 * time.Hour, 900 * 24 * time.Hour} {
		m, clock := NewMemory(), storetest.NewClock()
		open := func() *MemoryStore {
			s, err := m.Open(clock, false, Options{Limits: delivery.DefaultLimits()})
			must(t, err)
			return s
		}
		ready := func(s *MemoryStore, want bool) {
			t.Helper()
			if err := s.Ready(t.Context()); (err == nil) != want {
				t.Errorf("%v ahead: %v", ahead, err)
			}
		}
		first, idle := open(), open()
		publishOne(t, first, phone)
		clock.Jump(ahead)
		first.Time()
		clock.Advance(2 * time.Hour) // a jump is believed by now
		publishOne(t, first, phone)
		late := open()
		ready(late, true)
		clock.Jump(-ahead)
		ready(late, false)
		publishOne(t, first, phone) // it knows from before what the time is
		ready(late, true)
		ready(idle, true)
		for _, s := range []*MemoryStore{first, idle, late} {
			if now := s.Time(); !now.Sweep || !now.Sure.Equal(clock.Now()) {
				t.Errorf("%v ahead: %+v", ahead, now)
			}
		}
	}
}

// A full database takes nothing new, and lets a device have its Welcomes: what the file does.
func TestAFullMemoryLetsDevicesJoin(t *testing.T) {
	s := openTest(t)
	kp := publishOne(t, s, phone)
	_, err := s.Post(t.Context(), ann, delivery.Posting{Welcome: parsedWelcome(t, kp.Ref)})
	must(t, err)
	s.memory.SetFull(true)
	_, err = s.Publish(t.Context(), delivery.Unauthenticated(), tablet, []delivery.NewKeyPackage{unsigned(1)})
	if !errors.Is(err, delivery.ErrDiskFull) {
		t.Errorf("a publication: %v", err)
	}
	claimed, err := s.Claim(t.Context(), delivery.Unauthenticated(), phone, delivery.ClaimOptions{})
	if err != nil || len(claimed.Deliveries) != 1 {
		t.Errorf("a claim: %+v, %v", claimed, err)
	}
	s.memory.SetFull(false)
	publishOne(t, s, tablet)
}

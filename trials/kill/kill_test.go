package main

import (
	"context"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/trials/harness"
)

func init() { storetest.DirectoriesInMemory() }

// TestAFewKills runs the real server. The long run is make kill-test.
func TestAFewKills(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and kills the server, which takes some seconds")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to build the server with")
	}
	args := []string{"-kills", "3", "-every", "2", "-users", "4", "-adders", "6", "-up", "300ms", "-opens", "30s", "-dir", t.TempDir()}
	c := &config{}
	said, err := harness.Run(t.Context(), "kill", c, args, io.Discard)
	if err != nil {
		t.Fatalf("seed %d: %v", c.seed, err)
	}
	if !strings.Contains(said, "3 kills survived") {
		t.Errorf("it says %s", said)
	}
}

func TestASettingThatCannotBeIsRefused(t *testing.T) {
	for _, args := range []string{"-kills 0", "-every 0", "-users 1", "-adders 0", "-stops 100", "-up x"} {
		if _, err := harness.Run(t.Context(), "kill", &config{}, strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s is accepted", args)
		}
	}
}

// TestWhatMayGoUnanswered is what a client makes of a request without an answer.
func TestWhatMayGoUnanswered(t *testing.T) {
	for _, row := range []struct {
		name  string
		how   ending
		fresh bool
		after time.Duration // that the request began
		found bool
	}{
		{"the server was killed", killed, false, time.Second, false},
		{"the server runs", running, false, 0, true},
		{"the server runs, and it was the first request of a connection", running, true, 0, true},
		{"the server was asked to stop while the request was under way", asked, false, -time.Second, true},
		{"the server was asked to stop just before", asked, false, 10 * time.Millisecond, true},
		{"the connection was not accepted yet", asked, true, 10 * time.Millisecond, false},
		{"the connection had been idle for long", asked, false, time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &run{host: &host{}}
			r.host.generation.Store(1)
			if row.how != running {
				r.host.end(row.how)
			}
			_, at := r.host.ending(1)
			c := &client{run: r}
			err := c.unanswered(&record{what: claim}, 1, row.fresh, at.Add(row.after), io.ErrUnexpectedEOF)
			if (err != nil) != row.found {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTheFileIsCompared opens a file that holds less and other than the records.
func TestTheFileIsCompared(t *testing.T) {
	for name, tell := range map[string]func(s *story, store delivery.Store){
		"a KeyPackage that the file does not have": func(s *story, _ delivery.Store) { s.shelf() },
		"a Welcome that the file does not have":    func(s *story, store delivery.Store) { _, kp := s.sends(); put(store, kp) },
		"a KeyPackage in another state": func(s *story, store delivery.Store) {
			kp := s.shelf()
			put(store, kp)
			s.owner(withdraw, 204, kp)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := newStory(), &run{config: config{opens: time.Minute}, host: &host{how: harness.Config{DB: t.TempDir() + "/welcomed.db"}}}
			r.checker = &checker{books: s.books}
			r.devices = []*device{s.phone, s.tablet}
			r.books = s.books
			store, err := r.openFile()
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			tell(s, store)
			if err := r.checker.look(); err != nil {
				t.Fatal(err)
			}
			want, err := r.checker.count(limits())
			if err != nil {
				t.Fatal(err)
			}
			kps, welcomes := r.scope(true)
			if err := r.compareStore(t.Context(), store, want, kps, welcomes); err == nil {
				t.Error("the counts agree")
			}
			for _, kp := range kps {
				err = firstOf(err, r.checker.compareKeyPackage(t.Context(), store, kp))
			}
			for _, w := range welcomes {
				err = firstOf(err, r.checker.compareWelcome(t.Context(), store, w))
			}
			if err == nil {
				t.Error("the objects agree")
			}
		})
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// put publishes a KeyPackage for real.
func put(store delivery.Store, kp *keyPackage) {
	parsed, err := mls.ParseKeyPackage(kp.bytes)
	if err != nil {
		panic(err)
	}
	if _, err := store.Publish(context.Background(), delivery.Unauthenticated(), kp.device.id, []delivery.NewKeyPackage{delivery.Publication(parsed)}); err != nil {
		panic(err)
	}
}

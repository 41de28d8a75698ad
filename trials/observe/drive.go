package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// none are the refs of a device that has lost all private keys.
var none = []string{}

// drive has everything happen to the server that its metrics count.
func (s *server) drive(ctx context.Context) error {
	for _, act := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"bench", s.bench},
		{"backup", s.backUp},
		{"Welcomes", s.welcomes},
		{"mismatches", s.mismatches},
		{"reservations", s.reservations},
		{"what is given back", s.giveBack},
		{"what is withdrawn", s.withdraw},
		{"budgets", s.budgets},
		{"waiting claims", s.waits},
		{"a stream", s.stream},
	} {
		if err := act.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
	}
	return nil
}

func (s *server) bench(ctx context.Context) error {
	_, err := s.command(ctx, "bench", "--url", s.URL(), "--callers", "4", "--count", "40", "--key-packages", "5", "--duration", "2s")
	return err
}

func (s *server) backUp(ctx context.Context) error {
	_, err := s.command(ctx, "backup", "-o", filepath.Join(s.dir, "backup-2"))
	return err
}

func phone(user string) harness.Device { return harness.Device{User: user, Name: "phone"} }

// publish publishes n KeyPackages on the phone of a user.
func (s *server) publish(ctx context.Context, user string, n int, options ...mlstest.Option) (kps [][]byte, err error) {
	path, err := s.shelf(ctx, user)
	if err != nil {
		return nil, err
	}
	signer := mlstest.NewSigner(1, user)
	for range n {
		kps = append(kps, signer.KeyPackage(options...))
	}
	return kps, s.want(ctx, http.StatusCreated, "", "POST", path, harness.Publishing{KeyPackages: kps})
}

// shelf is where the phone of a user publishes what is made for this run: it names
// the restore epoch, as one of the servers was restored.
func (s *server) shelf(ctx context.Context, user string) (path string, err error) {
	i, err := s.service.Inventory(ctx, phone(user).ID())
	return phone(user).Shelf() + "?restore_epoch=" + i.RestoreEpoch, err
}

// post posts a Welcome of its own for each KeyPackage.
func (s *server) post(ctx context.Context, status int, by, query string, kps ...[]byte) error {
	for _, kp := range kps {
		if err := s.want(ctx, status, by, "POST", harness.AllWelcomes+query, mlstest.WelcomeFor(kp)); err != nil {
			return err
		}
	}
	return nil
}

// claim claims, and returns the ids of the Welcomes.
func (s *server) claim(ctx context.Context, user string, what client.Claiming) (ids []string, err error) {
	claimed, err := s.service.Claim(ctx, phone(user).ID(), what)
	for _, w := range claimed.Welcomes {
		ids = append(ids, w.ID)
	}
	return ids, err
}

// welcomes has some acknowledged, rejected for each reason, given again, left
// behind, held, and never fetched or settled.
func (s *server) welcomes(ctx context.Context) error {
	reasons := []string{"no_matching_key_package", "undecryptable", "declined", "unsupported", "other"}
	kps, err := s.publish(ctx, "alice", len(reasons)+5)
	if err != nil {
		return err
	}
	if err := s.post(ctx, http.StatusCreated, "bob", "", kps[:len(reasons)+2]...); err != nil {
		return err
	}
	ids, err := s.claim(ctx, "alice", client.Claiming{})
	if err != nil || len(ids) < len(reasons)+2 {
		return errors.Join(err, fmt.Errorf("%d Welcomes were claimed", len(ids)))
	}
	for i, reason := range reasons {
		if err := s.want(ctx, http.StatusNoContent, "", "POST", phone("alice").Rejection(ids[i]), map[string]string{"reason": reason}); err != nil {
			return err
		}
	}
	if err := s.service.Acknowledge(ctx, phone("alice").ID(), ids[len(reasons)], ""); err != nil {
		return err
	}
	for range 2 { // what is left is given again and again, and lapses
		if _, err := s.claim(ctx, "alice", client.Claiming{}); err != nil {
			return err
		}
	}
	left := kps[len(reasons)+2:]
	if err := errors.Join(s.post(ctx, http.StatusCreated, "bob", "?hold=1", left[0]), s.post(ctx, http.StatusCreated, "bob", "", left[1:]...)); err != nil {
		return err
	}
	_, err = s.claim(ctx, "alice", client.Claiming{Max: 1}) // leaves one behind, which expires
	return err
}

// giveBack reserves what it does not use.
func (s *server) giveBack(ctx context.Context) error {
	if _, err := s.publish(ctx, "ruth", 1); err != nil {
		return err
	}
	reserved, err := s.service.For("bob").Reserve(ctx, client.Reserving{Users: []string{"ruth"}})
	if err != nil {
		return err
	}
	return s.want(ctx, http.StatusOK, "bob", "POST", harness.GiveBack, map[string]string{"reservation": reserved.ID})
}

// withdraw has a phone say that it has lost the key of what it has just published.
func (s *server) withdraw(ctx context.Context) error {
	if _, err := s.publish(ctx, "victor", 1); err != nil {
		return err
	}
	i, err := s.service.Inventory(ctx, phone("victor").ID())
	if err != nil {
		return err
	}
	return s.want(ctx, http.StatusOK, "", "POST", phone("victor").Shelf()+"/sync?all=1", map[string][]string{"refs": {}}, "If-Match", i.Digest)
}

// mismatches posts Welcomes that nobody can open.
func (s *server) mismatches(ctx context.Context) error {
	kps, err := s.publish(ctx, "carol", 3)
	if err != nil {
		return err
	}
	unknown := mlstest.NewSigner(1, "nobody").KeyPackage()
	if err := s.post(ctx, http.StatusConflict, "bob", "", unknown); err != nil {
		return err
	}
	if err := s.post(ctx, http.StatusCreated, "bob", "", kps[0]); err != nil {
		return err
	}
	if err := s.post(ctx, http.StatusConflict, "dave", "", kps[0]); err != nil { // taken
		return err
	}
	if _, err := s.claim(ctx, "carol", client.Claiming{Refs: none}); err != nil { // withheld
		return err
	}
	kp, err := mls.ReadKeyPackage(kps[1])
	if err != nil {
		return err
	}
	if err := s.want(ctx, http.StatusNoContent, "", "DELETE", phone("carol").Shelf()+"/"+kp.Ref().String(), nil); err != nil {
		return err
	}
	return s.post(ctx, http.StatusConflict, "bob", "", kps[1]) // withdrawn
}

func (s *server) reserve(ctx context.Context, status int, by, user string, suites ...uint16) error {
	return s.want(ctx, status, by, "POST", harness.Reserve, client.Reserving{Users: []string{user}, CipherSuites: suites})
}

// reservations gets each outcome; nobody uses any.
func (s *server) reservations(ctx context.Context) error {
	for _, user := range []string{"erin", "frank"} {
		if _, err := s.publish(ctx, user, 1); err != nil {
			return err
		}
	}
	if _, err := s.publish(ctx, "erin", 1, mlstest.LastResort()); err != nil {
		return err
	}
	for _, user := range []string{"erin", "erin", "frank", "frank"} { // reserved, last_resort; reserved, exhausted
		if err := s.reserve(ctx, http.StatusOK, "bob", user, 1); err != nil {
			return err
		}
	}
	return s.reserve(ctx, http.StatusOK, "bob", "erin", 2) // incompatible
}

// budgets asks for more than anybody may.
func (s *server) budgets(ctx context.Context) error {
	if _, err := s.publish(ctx, "grace", 40); err != nil {
		return err
	}
	until := func(by, user string) error { // refused
		for range 50 {
			a, err := s.ask(ctx, by, "POST", harness.Reserve, client.Reserving{Users: []string{user}})
			if err != nil || a.Status == http.StatusTooManyRequests {
				return err
			}
		}
		return fmt.Errorf("%s may take of %s without end", by, user)
	}
	for _, by := range []string{"heidi", "ivan"} { // pair, and then target
		if err := until(by, "grace"); err != nil {
			return err
		}
	}
	for n := range 40 { // caller
		if a, err := s.ask(ctx, "judy", "POST", harness.Reserve, client.Reserving{Users: []string{fmt.Sprint("nobody", n)}}); err != nil || a.Status == http.StatusTooManyRequests {
			return errors.Join(err, s.overdraw(ctx))
		}
	}
	return errors.New("one caller may take without end")
}

// overdraw publishes more than a user may, stores more, and has more checked.
func (s *server) overdraw(ctx context.Context) error {
	for _, overdraft := range []struct {
		user string
		kps  int
		size int
		made *mlstest.Signer
	}{
		{"kate", 60, 0, mlstest.NewSigner(1, "kate")},
		{"leo", 4, 50_000, mlstest.NewSigner(1, "leo")},
		{"mallory", 40, 0, mlstest.NewSigner(5, "mallory")},
	} {
		if err := s.overdrawn(ctx, overdraft.user, overdraft.kps, overdraft.size, overdraft.made); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) overdrawn(ctx context.Context, user string, n, size int, signer *mlstest.Signer) error {
	for range 6 {
		kps := make([][]byte, n)
		for i := range kps {
			kps[i] = signer.KeyPackage(mlstest.WithPadding(size))
			if signer.Suite() == 5 { // not stored, and checked all the same
				kps[i][len(kps[i])-1] ^= 1
			}
		}
		a, err := s.ask(ctx, user, "POST", phone(user).Shelf(), harness.Publishing{KeyPackages: kps})
		if err != nil || a.Status == http.StatusTooManyRequests {
			return err
		}
	}
	return fmt.Errorf("%s may publish without end", user)
}

// stream follows the events of a user until one has come, and leaves.
func (s *server) stream(ctx context.Context) error {
	for e, err := range s.service.Events(ctx, client.Following{User: "walter"}) {
		if err != nil {
			return err
		}
		if e.Type != client.EventOpen {
			return nil
		}
		kps, err := s.publish(ctx, "walter", 2)
		if err != nil {
			return err
		}
		if err := s.post(ctx, http.StatusCreated, "bob", "", kps[0]); err != nil {
			return err
		}
	}
	return errors.New("the stream has ended")
}

// waits has a device wait five times at a time, which is once too often: the oldest wait ends
// as if its time were over, and is counted.
func (s *server) waits(ctx context.Context) error {
	const all = 5
	statuses, failed := make(chan int, all), make(chan error, all)
	for range all {
		go func() {
			a, err := s.ask(ctx, "", "POST", phone("carol").Claim()+"?wait=2s", harness.Claiming{Refs: &none})
			statuses <- a.Status
			failed <- err
		}()
	}
	for range all {
		if err := <-failed; err != nil {
			return err
		}
		if status := <-statuses; status != http.StatusOK {
			return fmt.Errorf("a wait of a device is answered %d", status)
		}
	}
	return nil
}

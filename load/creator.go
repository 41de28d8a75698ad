package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/progress"
)

// create has a group created on each connection, burst after burst.
func (l *living) create(ctx context.Context, conns []*conn) error {
	l.driver.Progress.Begin(callersText(l.Callers)+": bursts of new groups", progress.Items, int64(l.Bursts))
	orders := make([][]*member, len(conns))
	for i := range orders {
		orders[i] = append([]*member(nil), l.members...)
	}
	for i := range l.Bursts {
		if err := l.pause(ctx, time.Duration(i)*l.Every); err != nil {
			return err
		}
		if l.Limit > 0 && time.Since(l.start) >= l.Limit {
			return nil
		}
		l.bursts.Add(1)
		_, err := spread(ctx, len(conns), len(conns), 0, func(worker, _ int) error {
			return l.createGroup(ctx, conns[worker], choose(orders[worker], l.groupSize()))
		})
		if err != nil {
			return err
		}
		l.driver.Progress.Add(1)
	}
	return nil
}

// pause waits for the time at which a burst is to begin.
func (l *living) pause(ctx context.Context, at time.Duration) error {
	left := at - time.Since(l.start)
	if left < -l.Every/10 {
		l.late.Add(1)
	}
	select {
	case <-time.After(left):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// groupSize draws how many join: k or more with probability 1/k.
func (l *living) groupSize() int {
	return min(int(1/(1-rand.Float64())), l.MostJoined, len(l.members))
}

// choose returns n of all, which it shuffles as far as needed.
func choose[T any](all []T, n int) []T {
	for i := range n {
		j := i + rand.IntN(len(all)-i)
		all[i], all[j] = all[j], all[i]
	}
	return all[:n]
}

// createGroup reserves, posts and, where the Welcome was held, releases.
func (l *living) createGroup(ctx context.Context, c *conn, chosen []*member) error {
	invited, refs, err := l.reserve(ctx, c, chosen)
	if err != nil {
		return fmt.Errorf("reserve: %w", err)
	}
	if len(refs) == 0 {
		return nil
	}
	g := &group{}
	for i, ref := range refs {
		l.due.expect(ref, invited[i], g)
	}
	l.groups.Add(1)
	l.joined.Add(int64(len(refs)))
	for most := l.largest.Load(); int64(len(refs)) > most && !l.largest.CompareAndSwap(most, int64(len(refs))); {
		most = l.largest.Load()
	}
	if err := l.post(ctx, c, g, refs); err != nil {
		return err
	}
	return l.tell(ctx, invited)
}

// reserve returns whose KeyPackage was there, and its ref.
func (l *living) reserve(ctx context.Context, c *conn, chosen []*member) (invited []*member, refs []mls.KeyPackageRef, err error) {
	devices := make([]*device, len(chosen))
	for i, m := range chosen {
		devices[i] = m.device
	}
	a, err := c.exchange(ctx, l.driver.reserving(devices...))
	if err == nil {
		err = a.expect(http.StatusOK)
	}
	if err != nil {
		return nil, nil, err
	}
	l.records.add(reserve, len(chosen), a.took)
	list, err := readReservation(a.body)
	for _, r := range list {
		switch m := l.byUser[r.user]; {
		case m == nil:
			return nil, nil, fmt.Errorf("the reservation names %s, which was not asked for", r.user)
		case r.status == "reserved":
			m.left.Add(-1)
			invited, refs = append(invited, m), append(refs, r.ref)
		case r.status == "exhausted":
			l.empty.Add(1)
		default:
			return nil, nil, fmt.Errorf("the reservation for %s is %q", r.user, r.status)
		}
	}
	return invited, refs, err
}

// post posts the Welcome of a group; in a share of them held, and released.
func (l *living) post(ctx context.Context, c *conn, g *group, refs []mls.KeyPackageRef) error {
	hold, operation, status := rand.Float64() < heldShare, post, `"status":"pending"`
	if hold {
		operation, status = postHeld, `"status":"held"`
	}
	request := l.driver.posting(l.welcome(refs...), hold)
	g.goesOut(time.Since(l.start))
	a, err := c.exchange(ctx, request)
	if err == nil {
		err = a.all(http.StatusCreated, status, len(refs))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", operation, err)
	}
	l.records.add(operation, len(refs), a.took)
	if !hold {
		return nil
	}
	return l.release(ctx, c, g, a.header.Get("Location"), len(refs))
}

// release lets n joiners have the Welcome at this path.
func (l *living) release(ctx context.Context, c *conn, g *group, path string, n int) error {
	request := l.driver.target.request("POST", path+"/release", "", nil)
	g.goesOut(time.Since(l.start))
	took, err := c.checked(ctx, request, func(a answer) error { return a.expect(http.StatusOK) })
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	l.records.add(release, n, took)
	return nil
}

// welcome returns a wrapped Welcome, whose entries differ only in new_member: it
// is made while the clock runs.
func (l *living) welcome(refs ...mls.KeyPackageRef) []byte {
	var secrets []byte
	for _, ref := range refs {
		secrets = append(append(secrets, mlstest.Vector([]byte(ref))...), l.secret...)
	}
	return mls.Wrap(mls.WireFormatWelcome, mls.SliceWelcome(l.driver.suite, secrets, l.info))
}

// tell has those who do not wait look for their Welcome in a while.
func (l *living) tell(ctx context.Context, invited []*member) error {
	at := time.Now().Add(away)
	for _, m := range invited {
		if l.online[m] {
			continue
		}
		select {
		case l.visits <- visit{m, at}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

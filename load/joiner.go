package load

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/http"
	"sync"
	"time"

	"welcomed/mls"
)

// startPolls has the devices that are online wait for Welcomes. stop hangs up,
// which nothing is lost by when every Welcome has arrived.
func (l *living) startPolls(ctx context.Context, fail context.CancelCauseFunc) (stop func(), err error) {
	polling, hangUp := context.WithCancel(ctx)
	var waiting []*member
	for m := range l.online {
		waiting = append(waiting, m)
	}
	conns := make([]*conn, len(waiting))
	_, err = spread(polling, dialAtOnce, len(waiting), 0, func(_, i int) (err error) {
		conns[i], err = l.driver.target.dial(polling, 0)
		return err
	})
	if err != nil {
		hangUp()
		return nil, err
	}
	var polls sync.WaitGroup
	for i, m := range waiting {
		polls.Go(func() { note(fail, l.poll(polling, conns[i], m)) })
	}
	return func() {
		hangUp()
		polls.Wait()
	}, nil
}

// poll waits for Welcomes and joins, again and again.
func (l *living) poll(ctx context.Context, c *conn, m *member) error {
	request := l.driver.claiming(m.device, l.wait)
	for {
		a, err := c.exchangeWithin(ctx, l.wait+patience, request)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil && a.status != http.StatusNoContent {
			err = l.join(ctx, c, m, a)
		}
		if err != nil {
			return fmt.Errorf("long-poll: %w", err)
		}
	}
}

// visit has devices that do not wait claim when they are back. A Welcome is
// there by then: for each there is one visit.
func (l *living) visit(ctx context.Context, c *conn) error {
	for v := range l.visits {
		select {
		case <-time.After(time.Until(v.at)):
		case <-l.ending:
		case <-ctx.Done():
			return nil
		}
		a, err := c.exchange(ctx, v.who.claim)
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		l.records.add(claim, 1, a.took)
		if err := l.join(ctx, c, v.who, a); err != nil {
			return fmt.Errorf("claim: %w", err)
		}
	}
	return nil
}

// join does what a device does that was answered with a Welcome.
func (l *living) join(ctx context.Context, c *conn, m *member, a answer) error {
	if err := l.receive(m, a); err != nil {
		return err
	}
	took, err := c.checked(ctx, l.driver.acknowledging(m.device, a.header.Get("Welcome-Id")), func(a answer) error {
		return a.expect(http.StatusNoContent)
	})
	if err != nil {
		return fmt.Errorf("ack: %w", err)
	}
	l.records.add(acknowledge, 1, took)
	if err := l.replenish(ctx, c, m); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	l.due.close()
	return nil
}

// receive checks that the answer has a Welcome for the device that was posted
// and not given before.
func (l *living) receive(m *member, a answer) error {
	if err := a.expect(http.StatusOK); err != nil {
		return err
	}
	text := a.header.Get("Key-Package-Ref")
	ref, err := hex.DecodeString(text)
	if err != nil {
		return err
	}
	g, err := l.due.give(mls.KeyPackageRef(ref), m)
	switch {
	case err != nil:
		return err
	case a.header.Get("Welcome-Redelivered") != "false":
		return fmt.Errorf("the Welcome for %s was delivered twice", text)
	case !bytes.Equal(a.body, l.welcome(mls.KeyPackageRef(ref))):
		return fmt.Errorf("the Welcome for %s is not the one that was posted", text)
	}
	if l.online[m] {
		l.records.add(delivery, 1, a.end.Sub(l.start)-g.wentOut())
	}
	return nil
}

// replenish publishes when half of the shelf is empty.
func (l *living) replenish(ctx context.Context, c *conn, m *member) error {
	n := l.refill()
	if m.left.Load() > int64(l.stock-n) || !m.mu.TryLock() {
		return nil
	}
	defer m.mu.Unlock()
	if m.left.Load() > int64(l.stock-n) { // another visit of the device was faster
		return nil
	}
	if m.spares == nil {
		m.spares = m.sign(n, time.Now())
		l.signed.Add(int64(n))
	}
	took, err := c.checked(ctx, l.driver.publishing(m.device, m.spares...), func(a answer) error { return published(a, n) })
	if err != nil {
		return err
	}
	l.records.add(l.refilling(), n, took)
	m.left.Add(int64(n))
	m.spares = nil
	return nil
}

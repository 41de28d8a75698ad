package load

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/mls"
)

// A group is one whose Welcome is on its way.
type group struct{ out atomic.Int64 }

// goesOut notes when the request began that lets joiners have the Welcome.
func (g *group) goesOut(at time.Duration) { g.out.Store(int64(at)) }

func (g *group) wentOut() time.Duration { return time.Duration(g.out.Load()) }

// An invitation is what a device has to be given once.
type invitation struct {
	to    *member
	group *group
	given bool
}

// A ledger has the invitations of a Life.
type ledger struct {
	mu          sync.Mutex
	invitations map[mls.KeyPackageRef]*invitation
	open        int // neither given nor acknowledged
}

func (l *ledger) expect(ref mls.KeyPackageRef, to *member, g *group) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.invitations[ref] = &invitation{to: to, group: g}
	l.open++
}

// give notes that a device was given the Welcome for ref.
func (l *ledger) give(ref mls.KeyPackageRef, to *member) (*group, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := l.invitations[ref]
	switch {
	case i == nil || i.to != to:
		return nil, fmt.Errorf("%s was given a Welcome for %s, which is not for it", to.user, ref)
	case i.given:
		return nil, fmt.Errorf("the Welcome for %s was delivered twice", ref)
	}
	i.given = true
	return i.group, nil
}

// close notes that the device is done with one.
func (l *ledger) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// settle waits until all are given and acknowledged, but not for ever.
func (l *ledger) settle(ctx context.Context, patience time.Duration) error {
	enough := time.After(patience)
	for {
		l.mu.Lock()
		open := l.open
		l.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-enough:
			return fmt.Errorf("%d Welcomes were posted and did not arrive within %s", open, patience)
		}
	}
}

// records are what requests of several kinds took, in the order of a life.
type records struct {
	mu   sync.Mutex
	list []*record
}

type record struct {
	operation string
	objects   int
	took      []time.Duration
}

func newRecords(operations ...string) *records {
	r := &records{}
	for _, operation := range operations {
		r.list = append(r.list, &record{operation: operation, took: make([]time.Duration, 0, 1<<12)})
	}
	return r
}

func (r *records) add(operation string, objects int, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.list, func(r *record) bool { return r.operation == operation })
	r.list[i].objects += objects
	r.list[i].took = append(r.list[i].took, took)
}

// measures returns what was recorded.
func (r *records) measures(callers int, elapsed time.Duration) []Measure {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []Measure
	for _, one := range r.list {
		if len(one.took) == 0 {
			continue
		}
		m := newMeasure(one.operation, callers, one.took)
		m.Objects, m.Elapsed = one.objects, elapsed
		all = append(all, m)
	}
	return all
}

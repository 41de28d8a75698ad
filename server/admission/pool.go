package admission

import (
	"fmt"
	"sync"
)

// A pool is a bounded amount of something, such as requests, waiting claims and streams, or
// memory. Parties share it.
//
// However much a party asks for, it holds at most half of what nobody holds. If it is the only
// one that wants more than it gets, that is a third; the more of them there are, the less each
// gets. So no party can keep out one that comes later and wants little.
type pool struct {
	size      int64 // for all together
	most      int64 // for one party; 0: no fixed limit
	all, each Cap   // who refuses
	refusal   error // of a party that has enough
	refused   func(Cap)

	mu   sync.Mutex
	used int64
	held map[string]int64
}

// take gives the party n more. For the empty party, only the size of the pool counts.
func (p *pool) take(party string, n int64) error {
	p.mu.Lock()
	by, err := p.refuse(party, n)
	if err == nil {
		p.add(party, n)
	}
	p.mu.Unlock()
	if err != nil {
		p.refused(by)
	}
	return err
}

func (p *pool) refuse(party string, n int64) (Cap, error) {
	free := p.size - p.used - n
	if free < 0 {
		return p.all, fmt.Errorf("%w: %s", ErrOverloaded, p.all)
	}
	if party == "" {
		return "", nil
	}
	held := p.held[party] + n
	if p.most > 0 && held > p.most || held > max(1, free/2) {
		return p.each, fmt.Errorf("%w: %s", p.refusal, p.each)
	}
	return "", nil
}

func (p *pool) add(party string, n int64) {
	p.used += n
	if party == "" {
		return
	}
	if p.held == nil {
		p.held = make(map[string]int64)
	}
	if p.held[party] += n; p.held[party] == 0 {
		delete(p.held, party)
	}
}

// inUse returns how much all parties hold.
func (p *pool) inUse() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// A share is what a request holds of a pool. Only that request uses it.
type share struct {
	pool  *pool
	party string
	held  int64
}

// take adds n to the share.
func (s *share) take(n int64) error {
	if n <= 0 {
		return nil
	}
	if err := s.pool.take(s.party, n); err != nil {
		return err
	}
	s.held += n
	return nil
}

// release gives everything back. A share that holds nothing may be released too.
func (s *share) release() {
	if s.held == 0 {
		return
	}
	s.pool.mu.Lock()
	s.pool.add(s.party, -s.held)
	s.pool.mu.Unlock()
	s.held = 0
}

// move counts the share for another party, if that party may hold it.
func (s *share) move(party string) error {
	n := s.held
	s.release()
	s.party = party
	return s.take(n)
}

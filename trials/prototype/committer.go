package prototype

import (
	"sync"

	"go.etcd.io/bbolt"
)

// A committer is group commit at its barest: events that arrive while a commit
// is under way share the next one, and one that comes alone waits for nobody.
// An event decides before it writes, so that a refusal undoes nothing.
type committer struct {
	db    *bbolt.DB
	mu    sync.Mutex
	queue []*event
	more  chan struct{} // holds a token while the queue may have events
	ended chan struct{}
}

type event struct {
	run  func(*bbolt.Tx) error
	err  error
	done chan struct{}
}

func newCommitter(db *bbolt.DB) *committer {
	c := &committer{db: db, more: make(chan struct{}, 1), ended: make(chan struct{})}
	go c.loop()
	return c
}

func (c *committer) do(run func(*bbolt.Tx) error) error {
	e := &event{run: run, done: make(chan struct{})}
	c.mu.Lock()
	c.queue = append(c.queue, e)
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	<-e.done
	return e.err
}

func (c *committer) loop() {
	defer close(c.ended)
	for range c.more {
		c.mu.Lock()
		batch := c.queue
		c.queue = nil
		c.mu.Unlock()
		if len(batch) > 0 {
			c.commit(batch)
		}
	}
}

func (c *committer) commit(batch []*event) {
	err := c.db.Update(func(tx *bbolt.Tx) error {
		for _, e := range batch {
			e.err = e.run(tx)
		}
		return nil
	})
	for _, e := range batch {
		if err != nil {
			e.err = err
		}
		close(e.done)
	}
}

// close ends the committer after the last event; none may come after it.
func (c *committer) close() {
	close(c.more)
	<-c.ended
}

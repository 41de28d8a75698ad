package bolt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/store"
)

// A commit takes at most this many events. It takes no more when their payloads have
// batchBytes.
const (
	batchEvents = 1024
	batchBytes  = 16 << 20
)

// gatherMost is how long a commit waits for more events, at most.
const gatherMost = 2 * time.Millisecond

// bufferKept is the largest buffer that is kept for the next transaction.
const bufferKept = 1 << 20

// A queued event waits for the writer or is being run by it.
type queued struct {
	ctx  context.Context
	cost int // bytes of payload
	run  func(*store.Txn) error
	err  error
	done chan struct{}
}

// A committer runs events in one transaction after the other. While a commit goes to the disk,
// further events gather, and share the next commit. An event that comes alone does not wait.
type committer struct {
	store   *Store
	mu      sync.Mutex
	queue   []*queued
	more    chan struct{} // holds a token while the queue may have events
	stop    bool
	company int           // queued events that wake the writer
	ended   chan struct{} // closed when the writer has returned

	last     int           // events in the last commit
	took     time.Duration // by the last commit
	patience *time.Timer
	buffer   []byte // for the changes of a transaction, used again
	log      *changeLog
	rows     *rowMap // as last committed
	merging  bool    // the log, until it is empty or something else is to do
	smaller  int     // how often the part that is merged was halved

	space    space
	headroom int64

	durable     uint64     // the last transaction known to be on the disk
	durableCond *sync.Cond // on mu
	failure     error      // why the store cannot go on
	failed      chan struct{}
	locked      chan struct{} // closed when bbolt holds locks for ever
	lockedOnce  sync.Once
}

func newCommitter(s *Store, durable uint64, log *changeLog, rows *rowMap) *committer {
	c := &committer{store: s, more: make(chan struct{}, 1), ended: make(chan struct{}),
		failed: make(chan struct{}), locked: make(chan struct{}),
		durable: durable, log: log, rows: rows, patience: time.NewTimer(0)}
	c.space = space{file: s.file, limit: s.opts.MaxSize, step: allocateStep}
	c.headroom = c.space.headroom()
	if less := s.opts.headroom; less > 0 {
		c.headroom, c.space.step = less, less
	}
	c.durableCond = sync.NewCond(&c.mu)
	return c
}

// do runs an event, see [store.Event], and returns when its transaction is durable.
func (c *committer) do(ctx context.Context, cost int, run func(*store.Txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e := &queued{ctx: ctx, cost: cost, run: run, done: make(chan struct{})}
	c.mu.Lock()
	switch {
	case c.failure != nil:
		c.mu.Unlock()
		return delivery.ErrOutcomeUnknown
	case c.stop:
		c.mu.Unlock()
		return delivery.ErrClosed
	}
	c.queue = append(c.queue, e)
	enough := len(c.queue) >= c.company
	c.mu.Unlock()
	if enough {
		c.wake()
	}
	select {
	case <-e.done:
		return e.err
	case <-c.locked:
		return delivery.ErrOutcomeUnknown
	}
}

func (c *committer) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// loop runs as the only writer of the file.
func (c *committer) loop() {
	defer close(c.ended)
	wait := cmp.Or(c.store.opts.idleAfter, idleAfter)
	idle := time.NewTimer(wait)
	defer idle.Stop()
	for {
		select {
		case <-c.more:
			c.serve()
			idle.Reset(wait)
		case <-idle.C:
			c.last = 0
			_ = c.keepHeadroom()
			if c.mergeIdle() {
				idle.Reset(0)
			}
		}
		if c.stopped() {
			return
		}
	}
}

// serve commits the events that are queued.
func (c *committer) serve() {
	for {
		c.gather()
		batch := c.take()
		if len(batch) == 0 {
			return
		}
		started := time.Now()
		c.commit(batch)
		c.last, c.took = len(batch), time.Since(started)
		for _, e := range batch {
			close(e.done)
		}
	}
}

// gather waits until as many events are queued as shared the last commit. Their callers will
// probably ask again at once; without gather, the first of them would start a commit alone, and
// all others would wait for it. gather waits no longer than a commit takes, and not at all if
// the last event was alone.
func (c *committer) gather() {
	if !c.expect(c.last) {
		return
	}
	c.patience.Reset(min(c.took, gatherMost))
	select {
	case <-c.more:
	case <-c.patience.C:
	}
	c.expect(0)
}

// expect asks to be woken when n events are queued, and reports whether it has to wait for
// that.
func (c *committer) expect(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 || len(c.queue) >= n || c.stop {
		c.company = 0
		return false
	}
	c.company = n
	select {
	case <-c.more: // from before
	default:
	}
	return true
}

func (c *committer) take() []*queued {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, cost := 0, 0
	for n < len(c.queue) && n < batchEvents && (n == 0 || cost+c.queue[n].cost <= batchBytes) {
		cost += c.queue[n].cost
		n++
	}
	batch := slices.Clone(c.queue[:n])
	// What is left moves to the front: events that are done are not kept alive.
	c.queue = slices.Delete(c.queue, 0, n)
	return batch
}

// close lets the queued events finish, and ends the writer.
func (c *committer) close() {
	c.mu.Lock()
	c.stop = true
	c.mu.Unlock()
	c.wake()
	select {
	case <-c.ended:
	case <-c.locked: // the writer may wait for bbolt, and would for ever
	}
}

func (c *committer) stopped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stop && len(c.queue) == 0
}

// commit runs the batch in one transaction. If an event fails after it wrote, which it must
// not, or if there is no room for all events, each gets a transaction of its own, which merges
// nothing.
func (c *committer) commit(batch []*queued) {
	err := c.try(batch, false)
	if err == nil {
		return
	}
	full := errors.Is(err, delivery.ErrFull)
	if !full && (len(batch) == 1 || !errors.Is(err, errRetryAlone)) {
		for _, e := range batch {
			e.err = err
		}
		return
	}
	c.merging = c.merging || full // as soon as there is time
	for _, e := range batch {
		e.err = nil
		if err := c.try([]*queued{e}, true); err != nil {
			e.err = err
		}
	}
}

// errRetryAlone says that an event failed after it had written.
var errRetryAlone = errors.New("an event failed half-way")

// try runs the batch in one transaction, and commits it if anything changed. It returns an
// error that concerns all events. The error of a single event is kept with the event.
func (c *committer) try(batch []*queued, alone bool) error {
	if c.broken() {
		return delivery.ErrOutcomeUnknown
	}
	if err := c.store.checkPlace(); err != nil {
		return err
	}
	if err := c.store.unchanged(); err != nil {
		return err
	}
	return c.holding(func() error { return c.transact(batch, alone) })
}

// begin begins the transaction after the one that was committed last.
func (c *committer) begin() (*bbolt.Tx, error) {
	tx, err := c.store.db.Begin(true)
	if err != nil {
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	if uint64(tx.ID()) != c.store.witness.Load().id+1 {
		_ = tx.Rollback()
		return nil, c.store.overwritten()
	}
	return tx, nil
}

func (c *committer) transact(batch []*queued, alone bool) error {
	tx, err := c.begin()
	if err != nil {
		return err
	}
	t := c.store.newTxn(tx, c.rows.Copy())
	t.file.logged = c.buffer[:0]
	defer func() {
		if cap(t.file.logged) <= bufferKept {
			c.buffer = t.file.logged
		}
	}()
	admitted := 0
	for _, e := range batch {
		if e.err = c.admit(t, e, admitted); e.err != nil {
			if c.broken() {
				_ = tx.Rollback()
				return delivery.ErrOutcomeUnknown
			}
			continue
		}
		admitted += e.cost
		before, read, began := t.Writes(), t.Reads(), time.Now()
		e.err = t.run(c.store, e.run)
		if observe := c.store.opts.observeEvent; observe != nil {
			observe(t.Reads()-read, t.Writes()-before, time.Since(began))
		}
		if e.err != nil && t.Writes() != before {
			_ = tx.Rollback()
			if len(batch) == 1 {
				return e.err
			}
			return errRetryAlone
		}
	}
	if t.Writes() == 0 {
		return tx.Rollback()
	}
	started := time.Now()
	merge := func() int { return c.mergeRows(&t.file) }
	if alone {
		merge = func() int { return 0 }
	}
	if err := c.persist(t, merge); err != nil {
		return err
	}
	c.store.commits.Add(1)
	if c.store.opts.ObserveCommit != nil {
		c.store.opts.ObserveCommit(len(batch), time.Since(started))
	}
	return nil
}

// persist writes to the log what t has changed, merges as many rows as merge returns, and
// commits. If it returns an error, nothing of t has happened, unless the error is
// ErrOutcomeUnknown.
func (c *committer) persist(t *fileTxn, merge func() int) error {
	c.log.begin()
	err := t.run(c.store, func(*store.Txn) error { return t.flush(c.log, merge) })
	if err != nil {
		c.log.rollback()
		_ = t.file.tx.Rollback()
		return errors.Join(errRetryAlone, err)
	}
	if back, noted := t.NewSetBack(); noted {
		// Before the commit, so that no crash leaves it in the database alone. It is true
		// also if the commit fails.
		if err := c.store.revokedLost(c.store.revoked.putRight(back)); err != nil {
			c.log.rollback()
			_ = t.file.tx.Rollback()
			return err
		}
	}
	if err := c.store.unchanged(); err != nil {
		c.log.rollback()
		_ = t.file.tx.Rollback()
		return err
	}
	id := uint64(t.file.tx.ID())
	c.store.fileSize.Store(t.file.tx.Size())
	// A reader may see the commit before Commit returns.
	c.store.layers.Store(&[2]layer{{id - 1, c.rows}, {id, t.file.changed}})
	if err := t.file.tx.Commit(); err != nil {
		c.log.rollback()
		return c.commitFailed(id, err)
	}
	if err := c.store.bearWitness(id); err != nil {
		return c.notWitnessed(err)
	}
	c.rows = t.file.changed
	c.committed(t, id)
	return nil
}

// admit refuses an event if its caller is gone, if it would be dated by a time that cannot be
// right, or if it brings payload and little room is left. The rest of the room is for claims,
// settlements and sweeps: they make room again, but need pages to do so.
func (c *committer) admit(t *fileTxn, e *queued, admitted int) error {
	if err := e.ctx.Err(); err != nil {
		return err
	}
	if clock := t.Clock(); clock.Impossible {
		return clock.Doubt()
	}
	if e.cost > 0 {
		return c.hasRoom(admitted, e.cost)
	}
	return nil
}

func (c *committer) committed(t *fileTxn, id uint64) {
	state := t.file.state // not &t.file.state, which would keep all of t
	c.store.state.Store(&state)
	c.mu.Lock()
	c.durable = id
	c.durableCond.Broadcast()
	c.mu.Unlock()
	c.store.Committed(&t.Txn)
}

func (c *committer) broken() bool { return c.reason() != nil }

// reason returns why the store cannot go on; nil if it can.
func (c *committer) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}

// wait returns when transaction id is durable. bbolt shows a commit to readers before its last
// sync, so what a reader saw may be gone after a power cut.
func (c *committer) wait(id uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.durable < id && c.failure == nil {
		c.durableCond.Wait()
	}
	if c.durable < id {
		return delivery.ErrOutcomeUnknown
	}
	return nil
}

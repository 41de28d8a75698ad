package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidwall/btree"

	"welcomed/delivery"
)

// A Memory is a database in the memory of this program. Any number of stores may be opened on
// it, like processes that serve one database. Their transactions write at the same time, and
// wait for each other only if they change rows with the same owner.
type Memory struct {
	mu      sync.Mutex
	free    *sync.Cond // on mu: owners are free again
	owned   map[Place]bool
	rows    memoryTrees
	totals  Totals
	seen    time.Time // the latest time
	number  uint64    // the last that was given
	commits int
	full    bool
	stores  map[*MemoryStore]bool
	open    map[*memoryRows]uint64 // the first number of each transaction that has one
	late    []lateWake             // whom to wake when Settled has caught up
	// inspect, if not nil, is shown each transaction before it is committed, in tests.
	inspect func(*memoryRows, *Txn)
}

// A lateWake is a transaction that was committed before one that had a lower number.
type lateWake struct {
	number uint64
	t      *Txn
}

// NewMemory returns an empty database.
func NewMemory() *Memory {
	m := &Memory{rows: memoryTrees{}, owned: make(map[Place]bool), stores: make(map[*MemoryStore]bool), open: make(map[*memoryRows]uint64)}
	m.free = sync.NewCond(&m.mu)
	for _, k := range Kinds {
		m.rows[k] = btree.NewBTreeGOptions(func(a, b memoryRow) bool { return a.key < b.key }, btree.Options{NoLocks: true})
	}
	m.Change(Create)
	return m
}

// Copy returns another database with what is in this one.
func (m *Memory) Copy() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	other := NewMemory()
	other.rows, other.totals, other.seen, other.number, other.commits = m.rows.copy(), m.totals, m.seen, m.number, m.commits
	other.inspect = m.inspect
	return other
}

// Change changes rows of a database on which no store is open.
func (m *Memory) Change(fn func(Rows)) {
	r := m.begin()
	defer m.end(r)
	fn(r)
	m.rows = r.now
}

// SetFull has the database take no more KeyPackages and Welcomes, or take them again, as
// if its disk were full. Claims, settlements and sweeps go on.
func (m *Memory) SetFull(full bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full = full
}

// hasRoom refuses an event that brings payload to a database that is full.
func (m *Memory) hasRoom(e *Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full && e.Cost > 0 {
		return fmt.Errorf("%w: as it was told to be", delivery.ErrDiskFull)
	}
	return nil
}

// Commits returns how many transactions have been committed.
func (m *Memory) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

// A memoryTree has the rows of a kind.
type memoryTree = btree.BTreeG[memoryRow]

type memoryRow struct {
	key   string
	value []byte
}

type memoryTrees map[*Kind]*memoryTree

// copy shares all rows with the original until one of the two is changed.
func (t memoryTrees) copy() memoryTrees {
	c := make(memoryTrees, len(t))
	for k, tree := range t {
		c[k] = tree.Copy()
	}
	return c
}

// memoryRows are the rows of a transaction.
type memoryRows struct {
	memory  *Memory
	was     memoryTrees // when it began
	now     memoryTrees
	seen    time.Time
	totals  Totals
	number  uint64 // the last that is known to be given
	settled uint64
	changed map[Place]bool
	known   *memoryKnown // nil: nobody counts
}

func (m *Memory) begin() *memoryRows {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryRows{
		memory: m, was: m.rows.copy(), now: m.rows.copy(), seen: m.seen, totals: m.totals, number: m.number, settled: m.settled(),
		changed: make(map[Place]bool),
	}
}

// settled is what Rows.Settled returns from now on, on mu.
func (m *Memory) settled() uint64 {
	settled := m.number
	for _, first := range m.open {
		settled = min(settled, first-1)
	}
	return settled
}

// end ends a transaction, whether or not it was committed.
func (m *Memory) end(r *memoryRows) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ended(r)
}

func (m *Memory) ended(r *memoryRows) {
	delete(m.open, r)
	settled := m.settled()
	m.late = slices.DeleteFunc(m.late, func(l lateWake) bool {
		if l.number > settled {
			return false
		}
		m.wake(l.t)
		return true
	})
}

func (m *Memory) wake(t *Txn) {
	for s := range m.stores {
		s.Committed(t)
	}
}

// Get implements Rows.
func (r *memoryRows) Get(k *Kind, key []byte) []byte {
	r.known.ask(k, string(key), string(key)+"\x00", string(key)+"\x00")
	row, _ := r.now[k].Get(memoryRow{key: string(key)})
	return row.value
}

// Put implements Rows.
func (r *memoryRows) Put(k *Kind, key, value []byte) {
	r.changed[Place{k, string(key)}] = true
	r.known.wrote(k, key)
	if value == nil {
		value = []byte{} // an empty row is one that there is
	}
	r.now[k].Set(memoryRow{string(key), bytes.Clone(value)})
}

// Delete implements Rows.
func (r *memoryRows) Delete(k *Kind, key []byte) {
	r.changed[Place{k, string(key)}] = true
	r.known.wrote(k, key)
	r.now[k].Delete(memoryRow{key: string(key)})
}

// Scan implements Rows.
func (r *memoryRows) Scan(k *Kind, prefix, from []byte) Cursor {
	c := &memoryCursor{rows: r.now[k].Iter(), prefix: bytes.Clone(prefix), from: string(from), kind: k, known: r.known}
	if c.end = keyBehind(prefix); c.end == "" {
		c.end = endOfKind
	}
	return c
}

type memoryCursor struct {
	rows   btree.IterG[memoryRow]
	prefix []byte
	from   string // where it goes on
	begun  bool

	kind  *Kind
	known *memoryKnown
	end   string // behind all with the prefix
}

// Next implements Cursor.
func (c *memoryCursor) Next() (key, value []byte) {
	more := false
	if c.begun {
		more = c.rows.Next()
	} else {
		c.begun, more = true, c.rows.Seek(memoryRow{key: c.from})
	}
	row := memoryRow{}
	if more {
		row = c.rows.Item()
	}
	if key = []byte(row.key); !more || !bytes.HasPrefix(key, c.prefix) {
		c.known.ask(c.kind, c.from, c.end, c.end)
		return nil, nil
	}
	c.known.ask(c.kind, c.from, row.key+"\x00", c.end)
	c.from = row.key + "\x00"
	return key, row.value
}

// Close implements Cursor.
func (c *memoryCursor) Close() { c.rows.Release() }

// owner returns the owner that the row at a place had when the transaction began. It returns
// false if the row had none, or one that this transaction has made.
func (r *memoryRows) owner(place Place) (Place, bool) {
	row, _ := r.was[place.Kind].Get(memoryRow{key: place.Key})
	owner, owned := OwnerOf(place.Kind, []byte(place.Key), row.value)
	if owned {
		_, owned = r.was[owner.Kind].Get(memoryRow{key: owner.Key})
	}
	return owner, owned
}

// Next implements Rows. The database has one sequence for all its stores.
func (r *memoryRows) Next() uint64 {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	r.memory.number++
	r.number = r.memory.number
	if r.memory.open[r] == 0 {
		r.memory.open[r] = r.number
	}
	return r.number
}

// Last implements Rows.
func (r *memoryRows) Last() uint64 { return r.number }

// Settled implements Rows: it is below the first number of all that are open.
func (r *memoryRows) Settled() uint64 { return r.settled }

// Raise implements Rows.
func (r *memoryRows) Raise(n uint64) {
	r.memory.mu.Lock()
	defer r.memory.mu.Unlock()
	r.memory.number = max(r.memory.number, n)
	r.number = r.memory.number
}

// Totals implements Rows.
func (r *memoryRows) Totals() Totals { return r.totals }

// A MemoryStore is a store opened on a Memory, and the Engine of that store. It stands for one
// process.
type MemoryStore struct {
	*Store
	memory *Memory
	closed atomic.Bool
	failed chan struct{}
	// observe, if not nil, is told how many rows each event that was committed has read and
	// written when it was run, in tests.
	observe func(reads, writes int)
	// observeRounds, if not nil, is told how often each transaction would have asked another
	// machine for rows.
	observeRounds func(rounds int)
}

var _ delivery.Store = (*MemoryStore)(nil)

// Open opens a store on the database. A nil clock is the clock of the machine. With trust, the
// clock is believed, see delivery.ClockGuard. Guard, Kept and Meta of the options are not used.
func (m *Memory) Open(clock delivery.Clock, trust bool, o Options) (*MemoryStore, error) {
	all, err := m.OpenProcesses(1, clock, trust, o)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// OpenProcesses is Open for n processes that start at the same time.
func (m *Memory) OpenProcesses(n int, clock delivery.Clock, trust bool, o Options) ([]*MemoryStore, error) {
	if clock == nil {
		clock = delivery.SystemClock()
	}
	meta, err := ReadMeta(m.begin())
	if err != nil {
		return nil, err
	}
	all, known := make([]*MemoryStore, n), m.known(clock)
	for i := range all {
		s := &MemoryStore{memory: m, failed: make(chan struct{})}
		o.Meta, o.Guard, o.Kept = meta, delivery.NewClockGuard(clock, known, trust), m.kept
		s.Store = New(s, o)
		all[i] = s
	}
	for i, s := range all {
		if err := s.Start(context.Background(), meta.Restored && i == 0); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range all {
		m.stores[s] = true
	}
	return all, nil
}

// known returns the latest time that the database has seen. It is zero for a new database; what
// the clock says now is known at the next opening.
func (m *Memory) known(clock delivery.Clock) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen.IsZero() {
		m.seen = clock.Now()
		return time.Time{}
	}
	return m.seen
}

// kept returns the latest time that a commit has kept.
func (m *Memory) kept() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seen
}

// Close implements delivery.Store. The database stays, and can be opened again.
func (s *MemoryStore) Close() error {
	s.closed.Store(true)
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	delete(s.memory.stores, s)
	return nil
}

// Failed implements delivery.Store. A store in memory never fails.
func (s *MemoryStore) Failed() <-chan struct{} { return s.failed }

// Ready implements delivery.Store.
func (s *MemoryStore) Ready(ctx context.Context) error {
	if s.closed.Load() {
		return delivery.ErrClosed
	}
	if look := s.Time(); look.Behind {
		return look.Doubt()
	}
	return ctx.Err()
}

// View implements Engine. Nothing becomes more durable later, so it is Peek too.
func (s *MemoryStore) View(ctx context.Context, fn func(*Txn) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	r, t := s.begin()
	defer s.tellRounds(r)
	return t.Run(fn)
}

func (s *MemoryStore) tellRounds(r *memoryRows) {
	if r.known != nil {
		s.observeRounds(r.known.rounds)
	}
}

// Peek implements Engine.
func (s *MemoryStore) Peek(ctx context.Context, fn func(*Txn) error) error { return s.View(ctx, fn) }

func (s *MemoryStore) usable(ctx context.Context) error {
	if s.closed.Load() {
		return delivery.ErrClosed
	}
	return ctx.Err()
}

func (s *MemoryStore) begin() (*memoryRows, *Txn) {
	r, t := s.memory.begin(), &Txn{}
	if s.observeRounds != nil {
		r.known = newMemoryKnown(r.number)
	}
	s.Begin(t, r, r.seen)
	return r, t
}

// memoryTries is how often an event is tried. Each try locks the owners that the one before has
// found, so a few are enough.
const memoryTries = 100

// Do implements Engine. It tries an event until the event changes only rows whose owners were
// locked before it began.
func (s *MemoryStore) Do(ctx context.Context, e *Event) (err error) {
	owners := make(map[Place]bool)
	for range memoryTries {
		if err := s.usable(ctx); err != nil {
			return err
		}
		if err = s.try(e, owners); !errors.Is(err, ErrMoved) {
			return err
		}
	}
	return fmt.Errorf("%w, %d times", err, memoryTries)
}

// try runs the event once with these owners locked. It returns ErrMoved if the event has to be
// tried again; then it has added the owners that were missing.
func (s *MemoryStore) try(e *Event, owners map[Place]bool) error {
	held := slices.Collect(maps.Keys(owners))
	s.memory.lock(held)
	defer s.memory.unlock(held)
	r, t := s.begin()
	defer s.memory.end(r)
	looked := 0
	err := t.Run(func(t *Txn) error {
		if e.Look != nil {
			if changes, err := e.Look(t); err != nil || !changes {
				return err
			}
		}
		if clock := t.Clock(); clock.Impossible {
			return clock.Doubt()
		}
		if err := s.memory.hasRoom(e); err != nil {
			return err
		}
		looked = t.Reads()
		return e.Run(t)
	})
	if err != nil && len(r.changed) > 0 && !IsDamage(err) {
		panic(fmt.Sprintf("an event failed after it had written: %v", err))
	}
	if err != nil || t.Writes() == 0 {
		if !errors.Is(err, ErrMoved) {
			s.tellRounds(r)
		}
		return err
	}
	reads, writes := t.Reads()-looked, t.Writes()
	if err := t.Run(func(t *Txn) error { t.Flush(); return nil }); err != nil {
		return err
	}
	all := true
	for place := range r.changed {
		if owner, owned := r.owner(place); owned && !owners[owner] {
			owners[owner], all = true, false
		}
	}
	if !all {
		return ErrMoved
	}
	if err := s.memory.commit(t, r); err != nil {
		return err
	}
	if s.observe != nil {
		s.observe(reads, writes)
	}
	s.tellRounds(r)
	return nil
}

// lock waits until none of the owners is locked, and locks all of them.
func (m *Memory) lock(owners []Place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for slices.ContainsFunc(owners, func(p Place) bool { return m.owned[p] }) {
		m.free.Wait()
	}
	for _, p := range owners {
		m.owned[p] = true
	}
}

func (m *Memory) unlock(owners []Place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range owners {
		delete(m.owned, p)
	}
	m.free.Broadcast()
}

// commit applies the changes of a transaction. It returns ErrMoved if another transaction has
// meanwhile changed a row whose owner this one had not locked.
func (m *Memory) commit(t *Txn, r *memoryRows) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for place := range r.changed {
		row := memoryRow{key: place.Key}
		was, had := r.was[place.Kind].Get(row)
		is, has := m.rows[place.Kind].Get(row)
		now, kept := r.now[place.Kind].Get(row)
		_, owned := r.owner(place)
		switch same := had == has && bytes.Equal(was.value, is.value); {
		case owned && !same:
			panic(fmt.Sprintf("row %x of %s was changed by who did not hold its owner", place.Key, place.Kind.Name))
		case !owned && had && kept && !bytes.Equal(was.value, now.value):
			panic(fmt.Sprintf("row %x of %s has no owner, and was changed", place.Key, place.Kind.Name))
		case !same:
			return ErrMoved
		}
	}
	if m.inspect != nil {
		m.inspect(r, t)
	}
	for place := range r.changed {
		row := memoryRow{key: place.Key}
		if now, has := r.now[place.Kind].Get(row); has {
			m.rows[place.Kind].Set(now)
		} else {
			m.rows[place.Kind].Delete(row)
		}
	}
	m.totals.Add(t.Counted())
	m.seen = t.Clock().Sure
	m.commits++
	m.ended(r)
	m.wake(t)
	if r.number > m.settled() {
		m.late = append(m.late, lateWake{r.number, t})
	}
	return nil
}

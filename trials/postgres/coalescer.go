package postgres

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// batchEvents is how many events a statement takes at most.
	batchEvents = 256
	// batchesUnderWay is how many statements run at a time: with two, one is
	// gathered and sent while the other waits for the disk.
	batchesUnderWay = 2
)

// A coalescer runs one statement for all events that have queued up. The
// statement takes a column of each argument and returns key and answer for each
// event that it grants.
type coalescer struct {
	pool    *pgxpool.Pool
	sql     string
	columns []column
	mu      sync.Mutex
	queue   []*request
	more    chan struct{} // a token per worker while the queue may have requests
	workers sync.WaitGroup
}

type request struct {
	key    string
	args   []any
	answer []byte
	err    error
	done   chan struct{}
}

// A column makes an array of the n-th arguments.
type column func(batch []*request, n int) any

func bytesColumn(batch []*request, n int) any  { return collect[[]byte](batch, n) }
func textColumn(batch []*request, n int) any   { return collect[string](batch, n) }
func numberColumn(batch []*request, n int) any { return collect[int64](batch, n) }

func collect[T any](batch []*request, n int) []T {
	values := make([]T, len(batch))
	for i, r := range batch {
		values[i] = r.args[n].(T)
	}
	return values
}

func newCoalescer(pool *pgxpool.Pool, sql string, columns ...column) *coalescer {
	c := &coalescer{pool: pool, sql: sql, columns: columns, more: make(chan struct{}, batchesUnderWay)}
	for range batchesUnderWay {
		c.workers.Go(c.work)
	}
	return c
}

// do queues an event and waits for its answer. It does not wait for ctx: what
// is under way is awaited.
func (c *coalescer) do(_ context.Context, key string, args ...any) ([]byte, error) {
	r := &request{key: key, args: args, err: ErrRefused, done: make(chan struct{})}
	c.mu.Lock()
	c.queue = append(c.queue, r)
	c.mu.Unlock()
	c.wake()
	<-r.done
	return r.answer, r.err
}

func (c *coalescer) wake() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

func (c *coalescer) work() {
	for range c.more {
		for batch := c.take(); len(batch) > 0; batch = c.take() {
			err := c.run(batch)
			for _, r := range batch {
				if err != nil {
					r.err = err
				}
				close(r.done)
			}
		}
	}
}

// take takes what one statement may hold, by key, so that two statements never
// wait for each other's rows. No key comes twice: the second waits for the next.
func (c *coalescer) take() []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch, rest []*request
	taken := make(map[string]bool, batchEvents)
	for _, r := range c.queue {
		if len(batch) == batchEvents || taken[r.key] {
			rest = append(rest, r)
			continue
		}
		taken[r.key] = true
		batch = append(batch, r)
	}
	c.queue = rest
	slices.SortFunc(batch, func(a, b *request) int { return strings.Compare(a.key, b.key) })
	return batch
}

func (c *coalescer) run(batch []*request) error {
	args := make([]any, len(c.columns))
	for n, column := range c.columns {
		args[n] = column(batch, n)
	}
	rows, err := c.pool.Query(context.Background(), c.sql, args...)
	if err != nil {
		return err
	}
	var key, answer []byte
	_, err = pgx.ForEachRow(rows, []any{&key, &answer}, func() error {
		i, ok := slices.BinarySearchFunc(batch, string(key), func(r *request, key string) int { return strings.Compare(r.key, key) })
		if ok {
			batch[i].answer, batch[i].err = answer, nil
			answer = nil
		}
		return nil
	})
	return err
}

func (c *coalescer) close() {
	close(c.more)
	c.workers.Wait()
}

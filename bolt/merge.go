package bolt

import (
	"cmp"
	"time"
)

const (
	// defaultLogSize bounds the memory for changed rows to about four times as
	// much, and the time that opening takes.
	defaultLogSize = 16 << 20
	// mergeStep is how many rows are merged at a time while nothing else is to
	// do.
	mergeStep = 512
	// A log with more than limit/idleShare is merged when nothing else is
	// to do for idleAfter.
	idleShare = 8
	idleAfter = 200 * time.Millisecond
)

// limit is how many bytes of the log wait to be merged at most: less in a file
// that may not become large.
func (c *committer) limit() int {
	limit := cmp.Or(c.store.opts.LogSize, defaultLogSize)
	if most := c.store.opts.MaxSize; most > 0 {
		limit = min(limit, most/16)
	}
	return int(limit)
}

// mergeRows is how many rows a transaction merges that has logged that many
// bytes. A burst that the log can hold costs no merging. From half of the limit
// on more is merged than is appended, so that the log stays within it.
func (c *committer) mergeRows(logged int) int {
	limit := c.limit()
	if c.log.bytes < limit/2 {
		return 0
	}
	waiting := max(1, c.log.bytes/max(1, c.rows.Len())) // bytes of the log per row
	return 2*logged/waiting + 16
}

// mergeIdle merges a part of the log in a transaction of its own, and reports
// whether there is more to do.
func (c *committer) mergeIdle() bool {
	if c.log.bytes < c.limit()/idleShare && !c.merging || c.broken() {
		return false
	}
	tx, err := c.store.db.Begin(true)
	if err != nil {
		return false
	}
	err = c.persist(c.store.newTxn(tx, c.rows.Copy()), mergeStep)
	c.merging = err == nil && c.log.bytes > 0
	return c.merging
}

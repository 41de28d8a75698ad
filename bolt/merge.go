package bolt

import (
	"cmp"
	"time"
)

const (
	// defaultLogSize bounds the memory for changed rows to about four times as
	// much, and the time that opening takes.
	defaultLogSize = 16 << 20
	// mergeLeast is how many rows a transaction merges in a round.
	mergeLeast = 16
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
// bytes. A burst that the log can hold costs no merging. A round begins when the
// log is half full, and is over by the time that the other half is: it merges
// the rows that there were when it began, and a quarter more for those that come
// meanwhile.
func (c *committer) mergeRows(logged int) int {
	limit := c.limit()
	if c.log.hand == nil {
		if c.log.bytes < limit/2 {
			return 0
		}
		c.log.round = c.rows.Len()
	}
	return c.log.round*logged*5/4/(limit/2+1) + mergeLeast
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

package bolt

import (
	"cmp"
	"time"
)

const (
	// defaultLogSize bounds the memory for changed rows to about four times as
	// much, and the time that opening takes.
	defaultLogSize = 16 << 20
	leastLogSize   = 64 << 10
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

// limit is how many bytes of the log may wait to be merged. It is less in a file that has
// little room left.
func (c *committer) limit() int {
	limit := cmp.Or(c.store.opts.LogSize, defaultLogSize)
	if c.store.opts.MaxSize > 0 {
		limit = min(limit, max(leastLogSize, c.store.room()/8))
	}
	return int(limit)
}

// mergeRows returns how many rows a transaction merges. A round of merging begins when the log
// is half full, so a burst that the log can hold costs no merging. The round ends before the
// other half is full: it merges the rows that there were when it began, and as many rows as
// come meanwhile, because they may all lie ahead of it.
func (c *committer) mergeRows(t *fileRows) int {
	limit := c.limit()
	if c.log.hand == nil {
		if c.log.bytes < limit/2 {
			return 0
		}
		c.log.round = t.changed.Len()
	}
	return c.log.round*len(t.logged)*5/4/(limit/2+1) + t.changes + mergeLeast
}

// mergeIdle merges a part of the log in a transaction of its own. It reports whether there is
// more to do. In a full file it merges smaller parts, which need fewer pages.
func (c *committer) mergeIdle() bool {
	if c.log.bytes < c.limit()/idleShare && !c.merging || c.log.bytes == 0 || c.broken() {
		c.merging = false
		return false
	}
	err := cmp.Or(c.store.checkPlace(), c.store.unchanged())
	if err == nil {
		err = c.holding(c.mergePart)
	}
	switch {
	case err == nil:
		c.smaller = 0
	case mergeStep>>c.smaller > mergeLeast:
		c.smaller++
	default:
		c.smaller, c.merging = 0, false // when something has changed, again
		return false
	}
	c.merging = c.log.bytes > 0
	return c.merging
}

func (c *committer) mergePart() error {
	tx, err := c.begin()
	if err != nil {
		return err
	}
	t := c.store.newTxn(tx, c.rows.Copy())
	return c.persist(t, func() int { return max(mergeLeast, mergeStep>>c.smaller) })
}

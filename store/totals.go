package store

import (
	"encoding/binary"

	"welcomed/delivery"
)

// Totals has what could otherwise only be found by counting. A transaction counts by how much
// it changes them. An engine keeps the sum.
type Totals struct {
	keyPackages [8]int64  // by delivery.KeyPackageState
	welcomes    [11]int64 // by delivery.WelcomeState
	stock       [5]int64  // devices by stockLevel; those behind stockEmpty from format 5 on
	overdue     int64
	holdsOver   int64
	shelves     [lastShelf + 1]int64 // KeyPackages by shelf; from format 4 on
	hints       [len(channels)]int64 // by channel
}

// Counters returns pointers to all counters, always in the same order.
func (c *Totals) Counters() []*int64 {
	all := make([]*int64, 0, counters5+len(c.hints))
	for i := range c.keyPackages {
		all = append(all, &c.keyPackages[i])
	}
	for i := range delivery.Damaged {
		all = append(all, &c.welcomes[i])
	}
	for i := range c.stock[:stockEmpty+1] {
		all = append(all, &c.stock[i])
	}
	all = append(all, &c.overdue, &c.holdsOver)
	for i := range c.shelves {
		all = append(all, &c.shelves[i])
	}
	for i := range c.stock[stockEmpty+1:] {
		all = append(all, &c.stock[int(stockEmpty)+1+i])
	}
	all = append(all, &c.welcomes[delivery.Damaged])
	for i := range c.hints {
		all = append(all, &c.hints[i])
	}
	return all
}

// Append appends the counters, 8 bytes for each.
func (c *Totals) Append(b []byte) []byte {
	for _, n := range c.Counters() {
		b = binary.BigEndian.AppendUint64(b, uint64(*n))
	}
	return b
}

// ReadTotals reads what Append has written, in this format or an older one. It panics with
// ErrCorrupt.
func ReadTotals(b []byte) (c Totals) {
	for i, n := range c.Counters() {
		if len(b) == 0 && (i == counters3 || i == counters4 || i >= counters5) {
			return c
		}
		*n, b = int64(readU64(b)), b[8:]
	}
	return c
}

// How many counters the formats have.
const (
	counters3 = 23
	counters4 = counters3 + int(lastShelf) + 1
	counters5 = counters4 + 3 // and those of hints, of which a later welcomed may have more
)

// Add adds what a transaction has counted.
func (c *Totals) Add(by *Totals) {
	counters := c.Counters()
	for i, n := range by.Counters() {
		*counters[i] += *n
	}
}

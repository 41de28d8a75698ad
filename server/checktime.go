package server

import (
	"errors"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// errTooManyChecks: a caller has used up its processor time for now.
var errTooManyChecks = errors.New("what this caller has sent took too much time to read and to check")

// A CheckTimeBudget is for how long large bodies are read and signatures are checked
// for a caller at once, and for how much longer in each second.
type CheckTimeBudget struct{ Burst, PerSecond time.Duration }

// A checkTime keeps each caller to the processor time that reading what it sends
// and checking signatures may take: with P-521 a check takes thirty times what it
// takes with Ed25519.
type checkTime struct {
	spent   *buckets        // microseconds
	typical [8]atomic.Int64 // nanoseconds of a check, by suite; 0: of those that are none
	observe func(string)
}

func newCheckTime(o Options) *checkTime {
	perHour := o.CheckTime.PerSecond * time.Duration(time.Hour/time.Second)
	return &checkTime{spent: newBuckets(int(o.CheckTime.Burst.Microseconds()), int(perHour.Microseconds()), o.BudgetClock), observe: o.OverBudget}
}

// firstGuess is what a check takes until some have been timed.
const firstGuess = time.Millisecond

// parsing calls parse, which reads a body of size bytes, and has the caller pay for
// the time. It refuses a caller that owes some, but not what is small: a device can
// always claim and acknowledge.
func (c *checkTime) parsing(caller delivery.Caller, size int, parse func() error) error {
	if size <= smallBytes || caller.Unrestricted() {
		return parse()
	}
	if wait, ok := c.spent.borrow(caller.ID(), 0); !ok {
		c.observe(BudgetCheckTime)
		return &laterError{errTooManyChecks, wait}
	}
	started := time.Now()
	err := parse()
	c.spent.charge(caller.ID(), int(time.Since(started).Microseconds()))
	return err
}

// begin has the caller owe what checks of these suites are expected to take, and
// pay for what took, which is over. It refuses one that owes something already. Who
// is not known owes nothing.
func (c *checkTime) begin(caller delivery.Caller, took time.Duration, suites []mls.CipherSuite) (*checkBill, error) {
	if caller.Unrestricted() {
		return &checkBill{}, nil
	}
	if len(suites) == 0 {
		c.spent.charge(caller.ID(), int(took.Microseconds()))
		return &checkBill{}, nil
	}
	expected := took
	for _, suite := range suites {
		expected += c.typically(suite)
	}
	if wait, ok := c.spent.borrow(caller.ID(), int(expected.Microseconds())); !ok {
		c.observe(BudgetCheckTime)
		return nil, &laterError{errTooManyChecks, wait}
	}
	bill := &checkBill{times: c, caller: caller.ID(), expected: expected}
	bill.took.Store(int64(took))
	return bill, nil
}

func (c *checkTime) of(suite mls.CipherSuite) *atomic.Int64 {
	if int(suite) < len(c.typical) {
		return &c.typical[suite]
	}
	return &c.typical[0]
}

func (c *checkTime) typically(suite mls.CipherSuite) time.Duration {
	if took := c.of(suite).Load(); took > 0 {
		return time.Duration(took)
	}
	return firstGuess
}

// A checkBill is what the checks of one publication took.
type checkBill struct {
	times    *checkTime // nil: nobody pays
	caller   string
	expected time.Duration
	took     atomic.Int64
}

// timed calls check and notes how long it took.
func (b *checkBill) timed(suite mls.CipherSuite, check func() error) error {
	if b.times == nil {
		return check()
	}
	started := time.Now()
	err := check()
	took := int64(time.Since(started))
	b.took.Add(took)
	b.times.of(suite).Store(max(1, int64(b.times.typically(suite))*7/8+took/8))
	return err
}

// end corrects what was expected by what was.
func (b *checkBill) end() {
	if b.times != nil {
		b.times.spent.charge(b.caller, int((time.Duration(b.took.Load()) - b.expected).Microseconds()))
	}
}

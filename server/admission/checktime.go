package admission

import (
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A CheckTimeBudget is for how long large bodies are read and signatures are checked
// for a caller at once, and for how much longer in each second.
type CheckTimeBudget struct{ Burst, PerSecond time.Duration }

// CheckTime keeps each caller to the processor time that reading what it sends
// and checking signatures may take: with P-521 a check takes thirty times what it
// takes with Ed25519.
type CheckTime struct {
	spent    *buckets        // microseconds
	typical  [8]atomic.Int64 // nanoseconds of a check, by suite; 0: of those that are none
	exceeded func(string)
}

// NewCheckTime returns one of which nothing has been taken.
func NewCheckTime(o BudgetOptions) *CheckTime {
	perHour := o.CheckTime.PerSecond * time.Duration(time.Hour/time.Second)
	return &CheckTime{spent: newBuckets(int(o.CheckTime.Burst.Microseconds()), int(perHour.Microseconds()), o.Clock), exceeded: o.Exceeded}
}

// firstGuess is what a check takes until some have been timed.
const firstGuess = time.Millisecond

// Parsing calls parse, which reads a body of size bytes, and has the caller pay for
// the time. It refuses a caller that owes some, but not what is small: a device can
// always claim and acknowledge.
func (c *CheckTime) Parsing(caller delivery.Caller, size int, parse func() error) error {
	if size <= SmallBytes || caller.Unrestricted() {
		return parse()
	}
	if wait, ok := c.spent.borrow(caller.ID(), 0); !ok {
		c.exceeded(BudgetCheckTime)
		return &RetryError{ErrTooManyChecks, wait}
	}
	started := time.Now()
	err := parse()
	c.spent.charge(caller.ID(), int(time.Since(started).Microseconds()))
	return err
}

// Begin has the caller owe what checks of these suites are expected to take, and
// pay for what took, which is over. It refuses one that owes something already. Who
// is not known owes nothing.
func (c *CheckTime) Begin(caller delivery.Caller, took time.Duration, suites []mls.CipherSuite) (*CheckBill, error) {
	if caller.Unrestricted() {
		return &CheckBill{}, nil
	}
	if len(suites) == 0 {
		c.spent.charge(caller.ID(), int(took.Microseconds()))
		return &CheckBill{}, nil
	}
	expected := took
	for _, suite := range suites {
		expected += c.typically(suite)
	}
	if wait, ok := c.spent.borrow(caller.ID(), int(expected.Microseconds())); !ok {
		c.exceeded(BudgetCheckTime)
		return nil, &RetryError{ErrTooManyChecks, wait}
	}
	bill := &CheckBill{times: c, caller: caller.ID(), expected: expected}
	bill.took.Store(int64(took))
	return bill, nil
}

func (c *CheckTime) of(suite mls.CipherSuite) *atomic.Int64 {
	if int(suite) < len(c.typical) {
		return &c.typical[suite]
	}
	return &c.typical[0]
}

func (c *CheckTime) typically(suite mls.CipherSuite) time.Duration {
	if took := c.of(suite).Load(); took > 0 {
		return time.Duration(took)
	}
	return firstGuess
}

// A CheckBill is what the checks of one publication took.
type CheckBill struct {
	times    *CheckTime // nil: nobody pays
	caller   string
	expected time.Duration
	took     atomic.Int64
}

// Timed calls check and notes how long it took.
func (b *CheckBill) Timed(suite mls.CipherSuite, check func() error) error {
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

// End corrects what was expected by what was.
func (b *CheckBill) End() {
	if b.times != nil {
		b.times.spent.charge(b.caller, int((time.Duration(b.took.Load()) - b.expected).Microseconds()))
	}
}

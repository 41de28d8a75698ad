package admission

import (
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A CheckTimeBudget is for how long the server reads large bodies and checks signatures for a
// caller at once, and for how much longer in each second.
type CheckTimeBudget struct{ Burst, PerSecond time.Duration }

// CheckTime bounds the processor time that reading and checking may take for each caller. It
// counts time and not signatures, because a check with P-521 takes thirty times as long as one
// with Ed25519.
type CheckTime struct {
	spent    *buckets        // microseconds
	typical  [8]atomic.Int64 // nanoseconds of a check, by suite; 0: of those that are none
	exceeded func(string)
}

// NewCheckTime returns budgets of which nothing has been taken.
func NewCheckTime(o BudgetOptions) *CheckTime {
	perHour := o.CheckTime.PerSecond * time.Duration(time.Hour/time.Second)
	return &CheckTime{spent: newBuckets(int(o.CheckTime.Burst.Microseconds()), int(perHour.Microseconds()), o.Clock), exceeded: o.Exceeded}
}

// firstGuess is how long a check is expected to take before any was timed.
const firstGuess = time.Millisecond

// ChargeReading begins the charge for reading a body of that size. It refuses a caller who owes
// time, but never for a small body, so that a device can always claim and acknowledge.
func (c *CheckTime) ChargeReading(caller delivery.Caller, size int) (ReadingCharge, error) {
	if size <= SmallBytes || caller.Unrestricted() {
		return ReadingCharge{}, nil
	}
	if wait, ok := c.spent.borrow(caller.ID(), 0); !ok {
		c.exceeded(BudgetCheckTime)
		return ReadingCharge{}, &RetryError{ErrTooManyChecks, wait}
	}
	return ReadingCharge{c.spent, caller.ID(), time.Now()}, nil
}

// A ReadingCharge is the charge for reading one body. The zero ReadingCharge charges nobody.
type ReadingCharge struct {
	spent   *buckets
	caller  string
	started time.Time
}

// Settle charges for the time that reading took, which ends now.
func (r ReadingCharge) Settle() {
	if r.spent != nil {
		r.spent.charge(r.caller, int(time.Since(r.started).Microseconds()))
	}
}

// ChargeChecks charges the caller for the time took, which is over, and for the time that
// checks of these suites are expected to take. It refuses a caller who owes time already. A
// caller without an identity owes nothing.
func (c *CheckTime) ChargeChecks(caller delivery.Caller, took time.Duration, suites []mls.CipherSuite) (*ChecksCharge, error) {
	if caller.Unrestricted() {
		return &ChecksCharge{}, nil
	}
	if len(suites) == 0 {
		c.spent.charge(caller.ID(), int(took.Microseconds()))
		return &ChecksCharge{}, nil
	}
	expected := took
	for _, suite := range suites {
		expected += c.typically(suite)
	}
	if wait, ok := c.spent.borrow(caller.ID(), int(expected.Microseconds())); !ok {
		c.exceeded(BudgetCheckTime)
		return nil, &RetryError{ErrTooManyChecks, wait}
	}
	charge := &ChecksCharge{of: c, caller: caller.ID(), expected: expected}
	charge.took.Store(int64(took))
	return charge, nil
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

// A ChecksCharge is for the checks of one publication.
type ChecksCharge struct {
	of       *CheckTime // nil: nobody pays
	caller   string
	expected time.Duration
	took     atomic.Int64
}

// Checked notes that a check of that suite took from started until now.
func (c *ChecksCharge) Checked(suite mls.CipherSuite, started time.Time) {
	if c.of == nil {
		return
	}
	took := int64(time.Since(started))
	c.took.Add(took)
	c.of.of(suite).Store(max(1, int64(c.of.typically(suite))*7/8+took/8))
}

// Settle corrects the expected time to the time that the checks took.
func (c *ChecksCharge) Settle() {
	if c.of != nil {
		c.of.spent.charge(c.caller, int((time.Duration(c.took.Load()) - c.expected).Microseconds()))
	}
}

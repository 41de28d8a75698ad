package admission

import (
	"slices"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// TestConcurrentChecksArePaidBeforehand: many requests at once do not all begin
// with the same money.
func TestConcurrentChecksArePaidBeforehand(t *testing.T) {
	c := NewCheckTime(BudgetOptions{CheckTime: CheckTimeBudget{time.Second, time.Millisecond}, Clock: time.Now, Exceeded: func(string) {}})
	suites := slices.Repeat([]mls.CipherSuite{5}, 100)
	for i := range 11 { // all are still under way
		if _, err := c.ChargeChecks(delivery.Caller{User: "alice"}, 0, suites); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if _, err := c.ChargeChecks(delivery.Caller{User: "alice"}, 0, suites); err == nil {
		t.Error("a twelfth of 0.1 s each begins with 1 s")
	}
}

// TestReadingIsPaidWithCheckTime: who owes time may send small bodies only.
func TestReadingIsPaidWithCheckTime(t *testing.T) {
	var exceeded []string
	alice, bob, clock := delivery.Caller{User: "alice"}, delivery.Caller{User: "bob"}, new(handClock)
	c := NewCheckTime(BudgetOptions{CheckTime: CheckTimeBudget{10 * time.Millisecond, time.Millisecond},
		Clock: clock.Now, Exceeded: func(budget string) { exceeded = append(exceeded, budget) }})
	read := func(caller delivery.Caller, size int) error {
		charge, err := c.ChargeReading(caller, size)
		if err != nil {
			return err
		}
		for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
			continue
		}
		charge.Settle()
		return nil
	}
	if err := read(alice, SmallBytes+1); err != nil {
		t.Fatal(err)
	}
	if read(alice, SmallBytes+1) == nil || !slices.Equal(exceeded, []string{BudgetCheckTime}) {
		t.Errorf("who owes 10 ms was let read more; told of %v", exceeded)
	}
	if err := read(alice, SmallBytes); err != nil {
		t.Error("a small body: ", err)
	}
	if err := read(bob, SmallBytes+1); err != nil {
		t.Error("another caller: ", err)
	}
}

package load

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"welcomed/mls"
)

func TestALedgerWithAnOpenInvitationDoesNotSettle(t *testing.T) {
	l := ledger{invitations: map[mls.KeyPackageRef]*invitation{}}
	alice, bob := &member{device: &device{user: "alice"}}, &member{device: &device{user: "bob"}}
	l.expect("1", alice, &group{})
	l.expect("2", bob, &group{})
	for ref, i := range l.invitations {
		if _, err := l.give(ref, i.to); err != nil {
			t.Fatal(err)
		}
	}
	l.close()
	if err := l.settle(t.Context(), time.Millisecond); err == nil || !strings.HasPrefix(err.Error(), "1 Welcomes were posted") {
		t.Errorf("got %v", err)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := l.settle(stopped, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	l.close()
	if err := l.settle(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
}

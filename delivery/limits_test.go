package delivery

import (
	"reflect"
	"testing"
)

func TestLimitsThatFollow(t *testing.T) {
	follow := func(l *Limits) { l.FollowShelf(); l.FollowMailbox(); l.FollowWelcome() }
	l := DefaultLimits()
	if follow(&l); !reflect.DeepEqual(l, DefaultLimits()) {
		t.Errorf("what follows from the defaults is %+v", l)
	}
	l.KeyPackagesPerDevice, l.PendingPerDevice, l.WelcomeBytes = 3, 2, 100
	follow(&l)
	want := DefaultLimits()
	want.KeyPackagesPerDevice, want.PendingPerDevice, want.WelcomeBytes = 3, 2, 100
	want.PendingPerPoster, want.ContextBytes = 1, 100 // the parts of something smaller
	if !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v, want %+v", l, want)
	}
}

package explain

import (
	"cmp"
	"slices"
	"time"

	"welcomed/delivery"
)

// A finding is something that may be the cause.
type finding struct {
	cause  Cause
	rank   rank
	at     time.Time // of two of the same rank the later one counts
	says   string
	advice []Advice
}

// A rank is the place of a finding in the order of findings. The first finding is taken for the
// cause. What certainly keeps somebody from joining now comes before what may have done so, and
// what is recent comes before what is over.
type rank int

// The order of findings, the most probable cause first.
const (
	serverNotReady rank = iota << 8 // the server serves nobody

	newDeviceRefused // the user has as many devices as may be, and a new one was refused
	neededRefused    // what the device needs to do now is refused; or the user's wish to add others, where nothing else is wrong
	tokenRefused     // as neededRefused, of somebody who shows no token for the device
	nothingThere     // the device never published, or was removed
	notPosted        // the Welcome
	mailboxFull      // so no Welcome is taken
	noPrivateKey     // the device said so
	passedOver       // the device claims, and leaves the Welcome
	refusedEarlier   // any of the refusals above, a day ago
	lost             // a Welcome that was lost, as to damage or to two installations of one device id
	mismatched       // a Welcome was refused
	notFetched       // a Welcome waits
	welcomeWithdrawn // because the device took its KeyPackage back
	deviceRejected   // the device said that it cannot join
	heldTooLong      // the poster has not released the Welcome

	// Of a finding above this line that is not the cause, the advice is given too.
	worthDoing

	shelfEmpty      // nobody can be given a KeyPackage
	notServed       // somebody asked for a KeyPackage and got none
	heldForMinutes  // a Welcome
	givenBack       // adders cannot use the KeyPackages
	mayMatter       // a user with as many devices as may be, an unknown ref, a Welcome that nobody fetched
	refusedLongAgo  // any of the refusals above, a week ago
	worthSaying     // a finding above this line has a line of its own where it is not the cause
	reservedNotUsed // whoever reserved posted nothing
	notSettled      // the device has the Welcome and says nothing
	lapsed          // the device never said whether it joined
	keyPackageWithdrawn
	posterCancelled
	keyPackageExpired
	notFetchedYet // a Welcome waits since some minutes

	aDayOld // behind this line is what was over more than a day ago, in this order

	notSettledYet   // the device has the Welcome since some minutes
	otherRefused    // a request is refused that the device need not make now
	heldForAMoment  // a Welcome
	lastResortOnly  // everybody is given the same KeyPackage
	strangerRefused // as otherRefused, of somebody who shows no token for the device
	someNotYetValid // of the KeyPackages on the shelf

	aWeekOld // behind this line is what was over more than a week ago, in this order

	standing        // where something stands, which is not wrong
	reservedJustNow // and there is no Welcome yet
	overcome        // whoever failed has succeeded since
	nothingWrong
	hasJoined
	unremarkable
)

// ranked returns the findings in their order.
func ranked(all []finding) []finding {
	best := slices.Clone(all)
	slices.SortStableFunc(best, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), b.at.Compare(a.at))
	})
	return best
}

// aged returns the rank of something that happened at a time and is over.
func (x explainer) aged(at time.Time, r rank) rank { return older(r, x.days(at)) }

// over returns the rank of the end of a Welcome. The end says less if the device has joined
// with another Welcome since.
func (x explainer) over(d Device, m delivery.RecipientHistory, r rank) rank {
	age := x.days(m.EndedAt)
	for _, other := range d.Welcomes {
		if other.State == delivery.Acknowledged && other.PostedAt.After(m.PostedAt) {
			age++
			break
		}
	}
	return older(r, age)
}

// refusal returns the rank of a refusal at a time, if the device has done nothing since.
func (x explainer) refusal(at time.Time, r rank) rank {
	switch x.days(at) {
	case 0:
		return r
	case 1:
		return max(r, refusedEarlier)
	}
	return max(r, refusedLongAgo)
}

// days is 0 for what happened within a day, 1 within a week, and 2 before.
func (x explainer) days(at time.Time) int {
	switch since := x.Now.Sub(at); {
	case since < 24*time.Hour:
		return 0
	case since < 7*24*time.Hour:
		return 1
	}
	return 2
}

// older moves a rank behind those that are more recent. Ranks of the same age keep their order.
func older(r rank, age int) rank {
	line := rank(0)
	switch {
	case age == 1:
		line = aDayOld
	case age > 1:
		line = aWeekOld
	}
	if r <= line {
		return line | r>>8
	}
	return r
}

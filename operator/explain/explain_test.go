package explain

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"welcomed/delivery"
	"welcomed/mls"
)

var (
	now   = time.Date(2030, 3, 4, 12, 0, 0, 0, time.UTC)
	phone = delivery.DeviceID{User: "alice", Name: "phone"}
)

const day = 24 * time.Hour

func refOf(n byte) mls.KeyPackageRef { return mls.KeyPackageRef(strings.Repeat(string(rune(n)), 32)) }

// A life is Alice's phone, to which things happen so long ago.
type life struct{ Device }

func born(ago time.Duration) *life {
	l := &life{Device{Known: true}}
	l.DeviceHistory = delivery.DeviceHistory{At: now, Device: phone, SeenAt: now.Add(-ago)}
	return l
}

func (l *life) only() *life { l.LastResortsOnly, l.Stock.Low = true, len(l.LastResort) == 0; return l }

func (l *life) seen(ago time.Duration) *life { l.SeenAt = now.Add(-ago); return l }

// has adds n KeyPackages in a state to which something happened so long ago.
func (l *life) has(n int, s delivery.KeyPackageState, ago time.Duration, change ...func(*delivery.KeyPackageRecord)) *life {
	for range n {
		r := delivery.KeyPackageRecord{Ref: refOf(byte('a' + len(l.KeyPackages))), Suite: 1, State: s, PublishedAt: now.Add(-60 * day)}
		switch s {
		case delivery.Reserved:
			r.ReservedBy, r.ReservedAt = "bob", now.Add(-ago)
		case delivery.Consumed, delivery.Expired, delivery.Withdrawn:
			r.EndedAt = now.Add(-ago)
		default:
			r.PublishedAt = now.Add(-ago)
		}
		for _, c := range change {
			c(&r)
		}
		l.KeyPackages = append(l.KeyPackages, r)
		if len(l.Counts) == 0 {
			l.Counts = []delivery.SuiteCounts{{Suite: 1}}
		}
		switch c := &l.Counts[0]; s {
		case delivery.Available:
			if r.NotBefore().After(now) {
				c.NotYetValid++
				l.Stock.NotYetValid++
				continue
			}
			c.Available++
			if r.LastResort {
				l.LastResort = append(l.LastResort, delivery.LastResort{Ref: r.Ref, Suite: 1})
			} else {
				l.Stock.Available++
			}
		case delivery.Reserved:
			c.Reserved++
		case delivery.Retired:
			c.Retired++
		}
	}
	l.Stock.Low = l.Stock.Available < 10
	return l
}

// atTheLimit gives the user as many devices as one may have.
func atTheLimit(f *Facts) {
	for n := range delivery.DefaultLimits().DevicesPerUser - 1 {
		f.Own = append(f.Own, delivery.KnownDevice{Name: fmt.Sprint("old", n), SeenAt: now.Add(time.Duration(-n) * day)})
	}
	f.Device = ""
	f.Own = append(f.Own, delivery.KnownDevice{Name: "phone", SeenAt: now}, delivery.KnownDevice{Name: "sold", Removed: true, SeenAt: now.Add(-500 * day)})
}

func lastResort(r *delivery.KeyPackageRecord) { r.LastResort = true }

// gets adds a Welcome of Bob's that was posted so long ago.
func (l *life) gets(s delivery.WelcomeState, ago time.Duration, change ...func(*delivery.RecipientHistory)) *life {
	posted := now.Add(-ago)
	m := delivery.RecipientHistory{ID: delivery.WelcomeID{byte(len(l.Welcomes) + 1)}, Ref: refOf('A'), PostedBy: "bob"}
	m.State, m.PostedAt, m.ReleasedAt, m.Until = s, posted, posted, posted.Add(30*day)
	switch s {
	case delivery.Held:
		m.Hold, m.ReleasedAt = true, time.Time{}
		l.Held++
	case delivery.Pending:
		l.Pending++
		l.OldestPending = posted
	case delivery.Delivered:
		m.DeliveredAt = posted.Add(time.Second)
		l.Delivered++
	case delivery.Cancelled, delivery.WelcomeWithdrawn, delivery.WelcomeExpired, delivery.Damaged:
		m.EndedAt = posted.Add(time.Second)
	default:
		m.DeliveredAt, m.EndedAt = posted.Add(time.Second), posted.Add(2*time.Second)
	}
	for _, c := range change {
		c(&m)
	}
	l.Welcomes = append([]delivery.RecipientHistory{m}, l.Welcomes...)
	return l
}

// from is a lifetime that begins so long after now.
func from(ahead time.Duration) func(*delivery.KeyPackageRecord) {
	return func(r *delivery.KeyPackageRecord) { r.Lifetime.NotBefore = uint64(now.Add(ahead).Unix()) }
}

// back was given back by Carol so long ago.
func back(reason delivery.GiveBackReason, ago time.Duration) func(*delivery.KeyPackageRecord) {
	return func(r *delivery.KeyPackageRecord) {
		r.Returned = delivery.Return{Reservation: 7, By: "carol", At: now.Add(-ago), Reason: reason}
	}
}

func (l *life) overdue(m *delivery.RecipientHistory) { m.Overdue = true; l.Overdue++ }
func withheld(m *delivery.RecipientHistory)          { m.WithheldAt = m.PostedAt.Add(time.Minute) }
func rejected(r delivery.Reason, detail string) func(*delivery.RecipientHistory) {
	return func(m *delivery.RecipientHistory) { m.Reason, m.Detail = r, detail }
}

func again(times int, r Refusal) Refusal {
	r.Count = times
	return r
}

func refusal(request string, status int, code string, ago time.Duration) Refusal {
	return Refusal{First: now.Add(-ago), Last: now.Add(-ago), Count: 1, Request: request, Status: status, Code: code}
}

func unmatched(code, by string, ref mls.KeyPackageRef, ago time.Duration) Refusal {
	r := refusal("", 0, code, ago)
	r.Who, r.Ref = by, ref
	return r
}

func (l *life) with(change func(*Device)) *life { change(&l.Device); return l }

func (l *life) facts() Facts {
	return Facts{Question: Question{User: "alice", Device: "phone"}, Devices: []Device{l.Device}}
}

// ofRef are the facts of a question about a KeyPackage of the phone.
func (l *life) ofRef(ref mls.KeyPackageRef) Facts {
	f := Facts{Question: Question{Ref: ref}}
	k := KeyPackage{Ref: ref, Owner: l.Device}
	for _, r := range l.KeyPackages {
		if r.Ref == ref {
			k.Known, k.KeyPackageRecord, k.Device = true, r, phone
		}
	}
	for _, m := range l.Welcomes {
		if m.Ref == ref {
			k.Welcomes = append(k.Welcomes, m)
		}
	}
	for _, r := range l.Unmatched {
		if r.Ref == ref {
			k.Unmatched = append(k.Unmatched, r)
		}
	}
	f.KeyPackages = []KeyPackage{k}
	return f
}

// ofWelcome are the facts of a question about a Welcome for these KeyPackages.
func ofWelcome(posted bool, recipients ...KeyPackage) Facts {
	w := &Welcome{Posted: posted, Recipients: recipients}
	if posted {
		w.ID, w.PostedBy, w.PostedAt = delivery.WelcomeID{1}, "bob", now.Add(-time.Hour)
	}
	return Facts{Welcome: w}
}

func (f Facts) changed(change func(*Facts)) Facts { change(&f); return f }

func healthy() *life { return born(time.Hour).has(12, delivery.Available, 2*day) }

var cases = []struct {
	sentence string
	facts    Facts
	cause    Cause
	says     []string // in the headline
	advises  Reader
}{
	{"the clock of a device is ahead", born(time.Hour).has(3, delivery.Available, time.Hour, from(5*time.Hour)).facts(),
		ClockAhead, []string{"the clock of alice/phone was at least 6 hours ahead", "3 KeyPackages of it cannot be handed out before 2030-03-04T17:00:00Z"}, User},
	{"the clock of a device is ahead, and something is left", healthy().has(3, delivery.Available, time.Hour, from(5*time.Hour)).facts(),
		ClockAhead, []string{"at least 6 hours ahead"}, Operator},
	{"the clock of a device is so far ahead that it is refused", born(day).with(func(d *Device) {
		r := refusal("POST …/key-packages", 422, "invalid_key_package", time.Hour)
		r.Item, r.Detail = delivery.ItemNotYetValid, "item 0: not_before is 3 days ahead of the server's clock"
		d.Refused = []Refusal{r}
	}).facts(), ClockAhead, []string{"3 days ahead of the server's clock"}, User},
	{"two installations withdraw each other's KeyPackages", born(10*day).has(5, delivery.Withdrawn, time.Hour).with(func(d *Device) {
		d.Refused = []Refusal{again(3, refusal("POST …/key-packages/sync", 0, CodeFreshWithdrawn, time.Hour))}
	}).facts(), SharedDevice, []string{"two installations seem to use the device id alice/phone", "3 times"}, Developer},
	{"an installation that lost its keys twice is no second one", born(10*day).has(5, delivery.Withdrawn, time.Hour).with(func(d *Device) {
		d.Refused = []Refusal{again(2, refusal("POST …/key-packages/sync", 0, CodeFreshWithdrawn, time.Hour))}
	}).facts(), AllWithdrawn, nil, Developer},
	{"an adder whose group the device does not fit", healthy().has(1, delivery.Retired, time.Hour, back(delivery.GivenBackIncompatible, time.Hour)).facts(),
		GivenBack, []string{`"carol" gave KeyPackage`, "alice/phone back as incompatible", "2030-03-04T11:00:00Z (60 minutes ago)"}, Developer},
	{"adders that refuse the device's credential", healthy().has(2, delivery.Retired, 2*time.Hour, back(delivery.GivenBackInvalid, time.Hour)).facts(),
		GivenBack, []string{"2 KeyPackages of alice/phone were given back as invalid", `the last by "carol"`}, Operator},
	{"what was given back unused keeps nobody from joining", healthy().has(1, delivery.Available, time.Hour, back(delivery.GivenBackUnused, time.Minute)).facts(),
		NothingWrong, nil, User},
	{"a user nobody has heard of never published", Facts{Question: Question{User: "alice"}},
		NeverPublished, []string{`no device of "alice" has ever published`}, Operator},
	{"a device nobody has heard of never published", Facts{Question: Question{User: "alice", Device: "phone"}},
		NeverPublished, []string{"alice/phone has never published"}, Developer},
	{"a device whose publications are refused never published because of that",
		Facts{Question: Question{User: "alice"}, Devices: []Device{{DeviceHistory: delivery.DeviceHistory{Device: phone},
			Refused: []Refusal{refusal("POST …/key-packages", 422, "invalid_key_package", time.Hour)}}}},
		Refused, []string{"alice/phone is refused", "422 invalid_key_package"}, Developer},
	{"a device whose token is refused cannot ask for what waits",
		born(10*day).has(3, delivery.Available, 10*day).gets(delivery.Pending, 2*time.Hour).
			with(func(d *Device) { d.Strangers = []Refusal{refusal("POST …/claim", 401, "invalid_token", time.Minute)} }).facts(),
		TokenRefused, []string{"shows no token that is good for it", "401 invalid_token"}, User},
	{"a stranger's guesses explain nothing about a device that is well",
		healthy().with(func(d *Device) { d.Strangers = []Refusal{refusal("POST …/claim", 401, "invalid_token", time.Minute)} }).
			gets(delivery.Held, 2*time.Hour).facts(),
		Held, nil, Developer},
	{"a token of before the removal is refused",
		born(10*day).has(3, delivery.Available, 10*day).gets(delivery.Pending, 2*time.Hour).
			with(func(d *Device) { d.Refused = []Refusal{refusal("POST …/claim", 403, "device_removed", time.Minute)} }).facts(),
		Refused, []string{"403 device_removed"}, Operator},
	{"a refusal before the device was seen is over",
		healthy().with(func(d *Device) {
			d.Refused = []Refusal{refusal("POST …/claim", 429, "too_many_requests", 2*time.Hour)}
		}).
			gets(delivery.Pending, 3*time.Hour).facts(),
		NotFetched, nil, Developer},
	{"a stranger's guess before the device was seen is over",
		healthy().with(func(d *Device) { d.Strangers = []Refusal{refusal("POST …/claim", 401, "invalid_token", 2*time.Hour)} }).
			gets(delivery.Pending, 3*time.Hour).facts(),
		NotFetched, nil, Developer},
	{"an empty shelf that was handed out", born(20*day).has(4, delivery.Consumed, 3*day).has(1, delivery.Reserved, time.Minute).facts(),
		AllHandedOut, []string{"its shelf is empty", "4 used up, 1 reserved"}, Developer},
	{"an empty shelf that one adder has emptied", born(20*day).has(5, delivery.Reserved, 30*day).facts(),
		AllHandedOut, []string{`"bob" has reserved 5 of them and posted no Welcome`}, Operator},
	{"a shelf with only the last resort", born(time.Hour).has(1, delivery.Available, day, lastResort).has(3, delivery.Consumed, 30*day).facts(),
		LastResortOnly, []string{"only the last-resort KeyPackage"}, Developer},
	{"a device that wants nothing but last resorts, and has one",
		born(time.Hour).has(1, delivery.Available, day, lastResort).has(1, delivery.Retired, 30*day, lastResort).only().with(func(d *Device) {
			d.Refused = []Refusal{refusal("POST …/key-packages", 422, "invalid_key_package", time.Minute)}
		}).facts(),
		Refused, []string{"422 invalid_key_package"}, Developer},
	{"a device that wants nothing but last resorts, and nothing is wrong", born(time.Hour).has(1, delivery.Available, day, lastResort).only().facts(),
		NothingWrong, []string{"a last resort (cipher suite 1) on the shelf, and it publishes no others, by design"}, Operator},
	{"a device that wants nothing but last resorts, and has none", born(time.Hour).has(1, delivery.Withdrawn, day, lastResort).only().facts(),
		AllWithdrawn, []string{"its shelf is empty"}, Developer},
	{"a user with as many devices as one may have", healthy().facts().changed(atTheLimit),
		DeviceLimit, []string{`"alice" has 50 devices`, `not seen for longest: "old48" 2030-01-15T12:00:00Z (48 days ago), "old47"`, `and "old44"`}, Operator},
	{"a user who goes on with another device", Facts{Question: Question{User: "alice"}, Devices: []Device{
		born(120*day).has(5, delivery.Expired, 30*day).Device, healthy().Device}},
		NothingWrong, []string{"12 KeyPackages"}, Operator},
	{"a user whose only device was not seen for long", Facts{Question: Question{User: "alice"}, Devices: []Device{
		born(120*day).has(5, delivery.Expired, 30*day).Device}},
		AllExpired, []string{"its shelf is empty"}, User},
	{"a device too many", (&life{}).with(func(d *Device) {
		d.DeviceHistory.Device = delivery.DeviceID{User: "alice", Name: "new"}
		d.Refused = []Refusal{refusal("POST …/key-packages", 409, "device_limit", time.Minute)}
	}).facts().changed(atTheLimit).changed(func(f *Facts) { f.Device = "new" }),
		DeviceLimit, []string{"not seen for longest"}, Operator},
	{"a device of a user with as many as one may have", healthy().facts().changed(atTheLimit).changed(func(f *Facts) { f.Device = "phone" }),
		NothingWrong, nil, Operator},
	{"an empty shelf of which all has expired", born(90*day).has(4, delivery.Expired, day).facts(),
		AllExpired, []string{"4 KeyPackages expired"}, User},
	{"an empty shelf that the device itself has withdrawn", born(time.Hour).has(4, delivery.Withdrawn, time.Hour).facts(),
		AllWithdrawn, []string{"the device itself took 4 KeyPackages back"}, Developer},
	{"an empty shelf that was retired", born(90*day).has(4, delivery.Retired, 90*day).facts(),
		AllRetired, []string{"4 KeyPackages came off it"}, User},
	{"a shelf that a restore has emptied", born(90*day).has(4, delivery.Retired, 90*day).facts().changed(func(f *Facts) { f.RestoredAt = now.Add(-day) }),
		Restored, []string{"when a backup was restored"}, User},
	{"a shelf that a restore has emptied, and that old KeyPackages do not fill",
		born(90*day).has(2, delivery.Retired, time.Hour, func(r *delivery.KeyPackageRecord) { r.BeforeRestore, r.PublishedAt = true, now.Add(-time.Hour) }).
			facts().changed(func(f *Facts) { f.RestoredAt = now.Add(-day) }),
		Restored, []string{"may have been handed out before", "not_after_restore"}, Developer},
	{"only other cipher suites",
		healthy().with(func(d *Device) {
			d.Unserved = []Refusal{unmatched("incompatible", "carol", "", time.Hour)}
			d.Unserved[0].Detail = "cipher suites 2 and 5 asked for"
		}).facts(),
		Incompatible, []string{`"carol" asked for a KeyPackage`, "cipher suites 2 and 5 asked for"}, Developer},
	{"a budget that has nothing left", healthy().with(func(d *Device) { d.Unserved = []Refusal{unmatched("target_budget", "carol", "", time.Hour)} }).facts(),
		Budget, []string{"as many of the user's KeyPackages were taken"}, Developer},
	{"a Welcome that was taken by another adder, who is named",
		healthy().has(1, delivery.Matched, 30*day, func(r *delivery.KeyPackageRecord) { r.Ref = refOf('A') }).gets(delivery.Acknowledged, 2*time.Hour).
			with(func(d *Device) { d.Unmatched = []Refusal{unmatched("taken", "carol", refOf('A'), time.Hour)} }).facts(),
		Mismatch, []string{`a Welcome of "carol" for alice/phone was refused`, `taken ("bob" posted a Welcome for it at 2030-03-04T10:00:00Z)`}, Developer},
	{"a mismatch after which the poster has posted again is over",
		healthy().gets(delivery.Held, 2*time.Hour).with(func(d *Device) { d.Unmatched = []Refusal{unmatched("taken", "bob", refOf('A'), 3*time.Hour)} }).facts(),
		Held, nil, Developer},
	{"a Welcome that is still held", healthy().gets(delivery.Held, 2*time.Hour).facts(),
		Held, []string{`"bob" still holds back`, "(2 hours ago)", "never released"}, Developer},
	{"a Welcome that was damaged", healthy().gets(delivery.Damaged, 2*time.Hour).facts(),
		Damaged, []string{"the server found its copy of it damaged"}, Operator},
	{"a Welcome that was cancelled", healthy().gets(delivery.Cancelled, 2*time.Hour).facts(),
		Cancelled, []string{`"bob" took Welcome`, "back at"}, User},
	{"a Welcome that the device never asks for", healthy().seen(3*day).gets(delivery.Pending, 2*day).facts(),
		NotFetched, []string{"has not asked for its Welcomes since"}, Operator},
	{"a device that says it has no such key", healthy().gets(delivery.Pending, day, withheld).facts(),
		NoKey, []string{"has no private key for", "NoMatchingKeyPackage"}, Developer},
	{"a device that claims and leaves the Welcome", func() Facts { l := healthy(); return l.gets(delivery.Pending, day, l.overdue).facts() }(),
		PassedOver, []string{"did not take Welcome"}, Developer},
	{"a Welcome that is delivered and not acknowledged", healthy().gets(delivery.Delivered, day).facts(),
		NotSettled, []string{"has not said whether it joined"}, Developer},
	{"a rejection for want of the key", healthy().gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonNoMatchingKeyPackage, "")).facts(),
		Rejected, []string{"holds no private key"}, Developer},
	{"a rejection as undecryptable", healthy().gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonUndecryptable, "bad tag")).facts(),
		Rejected, []string{"could not decrypt", `said "bad tag"`}, Developer},
	{"a rejection as declined", healthy().gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonDeclined, "")).facts(),
		Rejected, []string{"declined"}, User},
	{"a rejection as unsupported", healthy().gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonUnsupported, "")).facts(),
		Rejected, []string{"does not support"}, User},
	{"a rejection for another reason", healthy().gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonOther, "")).facts(),
		Rejected, []string{"gave no reason"}, Developer},
	{"a rejection for a reason of tomorrow", healthy().gets(delivery.Rejected, time.Hour, rejected("mood", "")).facts(),
		Rejected, []string{"gave no reason"}, Developer},
	{"a Welcome that lapsed", healthy().gets(delivery.Lapsed, 15*time.Hour).facts(),
		Lapsed, []string{"never said whether it joined"}, Developer},
	{"a Welcome that expired", healthy().gets(delivery.WelcomeExpired, 5*time.Hour).facts(),
		Unfetched, []string{"did not fetch", "within 30 days"}, User},
	{"a Welcome that was withdrawn with its KeyPackage", healthy().gets(delivery.WelcomeWithdrawn, 5*time.Hour).facts(),
		Withdrawn, []string{"was lost", "took back the KeyPackage"}, Developer},
	{"a mailbox that is full by count", func() Facts {
		f := born(40*day).has(3, delivery.Available, 40*day).gets(delivery.Pending, 20*day).facts()
		f.Devices[0].Pending = 1000
		return f
	}(), MailboxFull, []string{"1000 Welcomes wait"}, User},
	{"a mailbox that is full by size", func() Facts {
		f := born(40*day).has(3, delivery.Available, 40*day).gets(delivery.Pending, 20*day).facts()
		f.Devices[0].WaitingBytes = 64 << 20
		return f
	}(), MailboxFull, []string{"67108864 bytes"}, Developer},
	{"a Welcome that was refused because the mailbox was full", healthy().with(func(d *Device) { d.Unmatched = []Refusal{unmatched("mailbox_full", "carol", refOf('a'), time.Hour)} }).facts(),
		Mismatch, []string{"too many Welcomes wait"}, Developer},
	{"a device that was removed", born(day).has(2, delivery.Withdrawn, day).with(func(d *Device) { d.Removed, d.RemovedAt = true, now.Add(-day) }).facts(),
		Removed, []string{"alice/phone was removed at 2030-03-03T12:00:00Z (24 hours ago)"}, Operator},
	{"a removed device beside one that is well explains nothing", func() Facts {
		gone := born(day).with(func(d *Device) { d.Removed, d.RemovedAt, d.DeviceHistory.Device.Name = true, now.Add(-day), "old" })
		return Facts{Question: Question{User: "alice"}, Devices: []Device{healthy().gets(delivery.Held, 2*time.Hour).Device, gone.Device}}
	}(), Held, nil, Developer},
	{"the device that cannot join is found among those that can", func() Facts {
		tablet := healthy().gets(delivery.Pending, day, withheld).with(func(d *Device) { d.DeviceHistory.Device.Name = "tablet" })
		return Facts{Question: Question{User: "alice"}, Devices: []Device{healthy().Device, tablet.Device}}
	}(), NoKey, []string{"alice/tablet"}, Developer},
	{"somebody reserved and never posted", healthy().has(1, delivery.Reserved, 2*day).facts(),
		NeverUsed, []string{"2 days ago"}, Developer},
	{"a device to which nobody has posted", healthy().facts(),
		NothingWrong, []string{"nobody has posted a Welcome for alice/phone"}, Developer},
	{"somebody reserved today and never posted", healthy().has(1, delivery.Reserved, time.Hour).facts(),
		NeverUsed, []string{`"bob" reserved KeyPackage`, "has posted no Welcome for it"}, Developer},
	{"a server without a clock", healthy().facts().changed(func(f *Facts) { f.Trouble = "clock not trusted: it says 1970" }),
		NotReady, []string{"the server serves nobody", "clock not trusted"}, Operator},
	{"a device that is well and joined before", healthy().gets(delivery.Acknowledged, day).facts(),
		NothingWrong, []string{"nothing that is known here keeps alice/phone from joining", "12 KeyPackages"}, Operator},
	{"what is under way is not yet a failure", healthy().gets(delivery.Held, time.Second).facts(),
		Held, nil, Developer},

	{"an unknown ref", born(day).ofRef(refOf('z')), UnknownRef, []string{"is known here"}, Operator},
	{"an unknown ref that a Welcome named", born(day).with(func(d *Device) { d.Unmatched = []Refusal{unmatched("unknown", "carol", refOf('z'), time.Hour)} }).ofRef(refOf('z')),
		UnknownRef, []string{"a Welcome named KeyPackage"}, Developer},
	{"a ref on the shelf", healthy().ofRef(refOf('a')), OnShelf, []string{"nobody has reserved it"}, Developer},
	{"a ref that was reserved and not used", healthy().has(1, delivery.Reserved, 3*day).ofRef(refOf('m')), NeverUsed, []string{`"bob" reserved`}, User},
	{"a ref that expired", healthy().has(1, delivery.Expired, 3*day).ofRef(refOf('m')), Expired, []string{"expired at"}, User},
	{"a ref that was withdrawn", healthy().has(1, delivery.Withdrawn, 3*day).ofRef(refOf('m')), Withdrawn, []string{"took KeyPackage"}, User},
	{"a ref that was retired", healthy().has(1, delivery.Retired, 3*day).ofRef(refOf('m')), OffShelf, []string{"off the shelf"}, Developer},
	{"a ref with which the device joined", healthy().has(1, delivery.Consumed, 3*day, func(r *delivery.KeyPackageRecord) { r.Ref = refOf('A') }).gets(delivery.Acknowledged, 3*day).ofRef(refOf('A')),
		Joined, []string{"alice/phone joined with Welcome"}, Operator},
	{"a ref whose Welcome waits", healthy().has(1, delivery.Matched, 3*day, func(r *delivery.KeyPackageRecord) { r.Ref = refOf('A') }).gets(delivery.Pending, 3*day).ofRef(refOf('A')),
		NotFetched, []string{"has not asked"}, User},

	{"a Welcome of another server", ofWelcome(false, KeyPackage{Ref: refOf('z')}), NotPosted, []string{"was not posted here", "nor is any of its KeyPackages known"}, Developer},
	{"a Welcome that was never posted here", ofWelcome(false, healthy().ofRef(refOf('a')).KeyPackages...), NotPosted, []string{"was not posted here", "its KeyPackages are known"}, Developer},
	{"a Welcome that was not for all", ofWelcome(true, func() KeyPackage {
		k := healthy().ofRef(refOf('a')).KeyPackages[0]
		k.Verdict = delivery.StatusTaken
		return k
	}()), Mismatch, []string{`"bob" posted the Welcome`, "it is of no use to alice/phone (KeyPackage", "taken"}, Developer},
	{"a Welcome that is held", ofWelcome(true, func() KeyPackage {
		return healthy().has(1, delivery.Matched, time.Hour, func(r *delivery.KeyPackageRecord) { r.Ref = refOf('A') }).gets(delivery.Held, 2*time.Hour).ofRef(refOf('A')).KeyPackages[0]
	}()), Held, []string{`"bob" still holds back`}, Developer},
}

func TestEveryWayOfNotJoiningHasItsWords(t *testing.T) {
	for _, c := range cases {
		t.Run(c.sentence, func(t *testing.T) {
			f := c.facts
			f.Now, f.Limits, f.Remembers = now, delivery.DefaultLimits(), now.Add(-90*day)
			e := Explain(f)
			if e.Cause != c.cause {
				t.Errorf("the cause is %s, want %s: %s\n%v", e.Cause, c.cause, e.Headline, e.Also)
			}
			for _, says := range c.says {
				if !strings.Contains(e.Headline, says) {
					t.Errorf("the headline does not say %q: %s", says, e.Headline)
				}
			}
			if !slices.ContainsFunc(e.Advice, func(a Advice) bool { return a.For == c.advises }) {
				t.Errorf("there is no advice for the %s: %v", c.advises, e.Advice)
			}
			check(t, e)
		})
	}
}

// check holds for every explanation.
func check(t *testing.T, e Explanation) {
	t.Helper()
	text := e.Text()
	first := strings.Join(strings.Fields(e.Headline), " ")
	if all := strings.Join(strings.Fields(text), " "); !strings.HasPrefix(all, first) {
		t.Errorf("the answer does not come first:\n%s", text)
	}
	if !strings.Contains(text, "\nWhat to do\n") || len(e.Advice) == 0 {
		t.Errorf("it does not say what to do:\n%s", text)
	}
	for _, r := range text {
		if r != '\n' && !unicode.IsPrint(r) {
			t.Fatalf("%U is in the text: %q", r, text)
		}
	}
	if strings.Contains(text, "%!") || strings.Contains(text, "()") || strings.Contains(text, ": .") {
		t.Errorf("a hole in the text:\n%s", text)
	}
	for _, p := range e.Parts {
		if !slices.IsSortedFunc(p.Events, func(a, b Event) int { return a.At.Compare(b.At) }) {
			t.Errorf("the events of %s are not in order", p.Title)
		}
	}
	b, err := json.Marshal(e)
	var back Explanation
	if err == nil {
		err = json.Unmarshal(b, &back)
	}
	if err != nil || back.Text() != text {
		t.Errorf("it does not survive JSON: %v", err)
	}
}

// What a stranger may have chosen does nothing to a terminal, nor to a page.
func TestAStrangersTextTakesNoEffect(t *testing.T) {
	const evil = "\x1b]0;owned\a\x1b[2J\u202egnp.exe\x00%s%d\r\nWhat to do\n\u0085\u200b<script>alert(1)</script>"
	l := healthy().has(1, delivery.Reserved, time.Hour, func(r *delivery.KeyPackageRecord) { r.ReservedBy = evil })
	l.gets(delivery.Rejected, time.Hour, rejected(evil, evil), func(m *delivery.RecipientHistory) { m.PostedBy = evil })
	l.gets(delivery.Held, 2*time.Hour, func(m *delivery.RecipientHistory) { m.PostedBy = "service/" + evil })
	l.with(func(d *Device) {
		d.DeviceHistory.Device.Name = evil
		bad := Refusal{First: now, Last: now, Count: 3, Who: evil, Request: evil, Status: 400, Code: evil, Detail: evil}
		d.Refused, d.Strangers = []Refusal{bad}, []Refusal{bad}
		bad.Status, bad.Ref = 0, refOf(0x1b)
		d.Unmatched, d.Unserved = []Refusal{bad}, []Refusal{bad}
	})
	f := l.facts()
	f.Now, f.Limits, f.Trouble, f.User = now, delivery.DefaultLimits(), evil, evil
	e := Explain(f)
	check(t, e)
	for line := range strings.Lines(e.Text()) {
		if line == "What to do\n" || !strings.HasPrefix(line, "What to do") {
			continue
		}
		t.Errorf("a line of a stranger: %q", line)
	}
	if n := strings.Count(e.Text(), "\nWhat to do\n"); n != 1 {
		t.Errorf("%d headings", n)
	}
	b, _ := json.Marshal(e)
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			t.Errorf("%U is in the JSON", r)
		}
	}
}

func TestMuchIsToldInBounds(t *testing.T) {
	l := born(day)
	for i := range 3000 {
		l.has(1, delivery.Consumed, time.Duration(i)*time.Minute)
	}
	for range 500 {
		l.gets(delivery.Rejected, time.Hour, rejected(delivery.ReasonOther, strings.Repeat("x", 10_000)))
	}
	f := l.facts()
	f.Now, f.Limits = now, delivery.DefaultLimits()
	e := Explain(f)
	check(t, e)
	if n := len(e.Text()); n > 40_000 {
		t.Errorf("%d bytes", n)
	}
	if len(e.Parts[0].Events) > mostEvents || e.Parts[0].LeftOut == 0 || len(e.Also) > 5 {
		t.Errorf("%d events, %d left out, %d also", len(e.Parts[0].Events), e.Parts[0].LeftOut, len(e.Also))
	}
}

func TestAQuestionIsReadOneWay(t *testing.T) {
	ref := strings.Repeat("ab", 32)
	for text, want := range map[string]string{
		"alice":                  "alice//",
		"alice phone":            "alice/phone/",
		"alice/phone":            "alice/phone/",
		"  alice \t phone\n":     "alice/phone/",
		ref:                      "//" + ref,
		strings.ToUpper(ref):     "//" + ref,
		ref + ref:                "//" + ref + ref,
		ref + "ab":               ref + "ab//",
		ref[:62]:                 ref[:62] + "//",
		"@alice:example.org":     "@alice:example.org//",
		"":                       "error",
		"a b c":                  "error",
		"al\x1bice":              "error",
		"alice ph\u202eone":      "error",
		strings.Repeat("a", 256): "error",
		"..":                     "error",
	} {
		q, err := Parse(text)
		got := fmt.Sprintf("%s/%s/%s", q.User, q.Device, q.Ref)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

package explain

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/codes"
)

// user explains a user or a device.
func (x explainer) user() Explanation {
	e := Explanation{Subject: "user " + quote(string(x.User))}
	if x.Device != "" {
		e.Subject = "device " + x.asked().String()
	}
	gone := !slices.ContainsFunc(x.Devices, func(d Device) bool { return d.Known && !d.Removed })
	away := !slices.ContainsFunc(x.Devices, func(d Device) bool { return d.Known && !d.Removed && !x.idle(d) })
	var all []finding
	for _, d := range x.Devices {
		e.Known = e.Known || d.Known || len(d.Refused)+len(d.Strangers) > 0
		found := x.device(d)
		part := x.part(d)
		part.Verdict = ranked(found)[0].says
		e.Parts = append(e.Parts, part)
		if d.Removed && !gone || x.idle(d) && !away {
			continue // its user goes on with another
		}
		all = append(all, found...)
	}
	if len(x.Asked) > 0 {
		e.Known = true
		e.Parts = append(e.Parts, x.askedPart())
		all = append(all, x.adderRefused(len(all) == 0))
	}
	if len(all) == 0 {
		all = append(all, x.neverPublished())
	}
	return x.conclude(e, append(all, x.deviceLimit()...))
}

// idle reports whether a device was not seen for so long that it is counted as idle.
func (x explainer) idle(d Device) bool {
	return d.Known && !d.Removed && !x.Now.Before(d.SeenAt.Add(delivery.IdleApart))
}

// deviceLimit says, for a user who has as many devices as allowed, which of them were not seen
// for longest.
func (x explainer) deviceLimit() []finding {
	const most = 5
	own := slices.DeleteFunc(slices.Clone(x.Own), func(d delivery.KnownDevice) bool { return d.Removed })
	exists := x.Device != "" && slices.ContainsFunc(own, func(d delivery.KnownDevice) bool { return d.Name == x.Device })
	if x.Limits.DevicesPerUser == 0 || len(own) < x.Limits.DevicesPerUser || exists {
		return nil
	}
	slices.SortStableFunc(own, func(a, b delivery.KnownDevice) int { return a.SeenAt.Compare(b.SeenAt) })
	var oldest []string
	for _, d := range own[:min(most, len(own))] {
		oldest = append(oldest, quote(d.Name)+" "+ago(d.SeenAt, x.Now))
	}
	rank, at := mayMatter, x.Now
	for _, d := range x.Devices {
		for _, r := range d.Refused {
			if refused := x.refusal(r.Last, newDeviceRefused); r.Code == "device_limit" && refused < rank {
				rank, at = refused, r.Last
			}
		}
	}
	return []finding{{DeviceLimit, rank, at,
		fmt.Sprintf("%s has %s, as many as a user may have, and a new one is refused (device_limit); not seen for longest: %s.",
			quote(string(x.User)), plural(len(own), "device"), joined(oldest)),
		[]Advice{
			{Operator, "remove devices that are gone: DELETE /v1/users/{user}/devices/{device}, with a service's token or one of the user without a device. `serve --forget-devices-after 400d` removes those that do not come back; --max-devices-per-user allows more."},
			{Developer, "keep the device id when the app is installed anew on the same device, and remove a device when its user signs out of it."},
		}}}
}

// askedPart returns the requests of the user to add others that were refused.
func (x explainer) askedPart() Part {
	p := Part{Title: "what " + quote(string(x.User)) + " asked of others"}
	var l log
	for _, r := range x.Asked {
		l.refusal(r)
	}
	p.Events, p.LeftOut = l.events()
	return p
}

// adderRefused says what keeps the user from adding others. It is the cause if there is no
// other cause, and else one more line.
func (x explainer) adderRefused(only bool) finding {
	last := x.Asked[len(x.Asked)-1]
	rank := x.aged(last.Last, mayMatter)
	if only {
		rank = neededRefused
	}
	says := fmt.Sprintf("%s wanted to add others, and %s was answered %d %s, last %s.", quote(string(x.User)), clean(last.Request), last.Status, clean(last.Code), ago(last.Last, x.Now))
	return finding{AdderRefused, rank, last.Last, says, []Advice{
		{Developer, doAs(last)},
		{Operator, "where it is a budget that honest use needs more of, raise it: --budgets pair=…, caller=… or store=…."},
	}}
}

func (x explainer) neverPublished() finding {
	what := "no device of " + quote(string(x.User))
	if x.Device != "" {
		what = x.asked().String()
	}
	verb := " has ever published a KeyPackage here"
	if x.Device != "" {
		verb = " has never published a KeyPackage here"
	}
	says := what + verb + ", so nobody can add it"
	if !x.RestoredAt.IsZero() {
		says += fmt.Sprintf("; a backup was restored at %s, and what was published after that backup was made is not known", ago(x.RestoredAt, x.Now))
	}
	return finding{NeverPublished, nothingThere, x.Now, says + ".", x.publishAdvice()}
}

func (x explainer) publishAdvice() []Advice {
	return []Advice{
		{Operator, "check the spelling: ids are case-sensitive, and those of this server are what the app makes of its own."},
		{Developer, "see in the device's log whether POST /v1/users/{user}/devices/{device}/key-packages was sent to this server, with this user and device, and what was answered."},
		{User, "open the app once, with a network."},
	}
}

// device says what may keep a device from joining. If nothing does, it says so.
func (x explainer) device(d Device) []finding {
	if !d.Known || d.Removed && d.RemovedAt.IsZero() {
		f, refused := x.neverPublished(), x.refusals(d)
		f.says = d.Device.String() + " has never published a KeyPackage here, so nobody can add it."
		if len(refused) > 0 {
			f.rank = standing // which is why
		}
		return append(refused, f)
	}
	found := []finding{x.unremarkable(d)}
	found = append(found, x.refusals(d)...)
	if d.Removed {
		return append(found, x.removed(d))
	}
	for _, m := range d.Welcomes {
		found = append(found, x.matched(d, m))
	}
	found = append(found, x.mismatches(d)...)
	found = append(found, x.shelf(d)...)
	found = append(found, x.shared(d)...)
	found = append(found, x.unused(d)...)
	found = append(found, x.returned(d)...)
	return append(found, x.mailbox(d)...)
}

func (x explainer) unremarkable(d Device) finding {
	says := fmt.Sprintf("nothing that is known here keeps %s from joining: no Welcome waits, and there is %s.", d.Device, x.stock(d))
	if len(d.Welcomes) == 0 {
		says = fmt.Sprintf("nobody has posted a Welcome for %s that is still known here; there is %s.", d.Device, x.stock(d))
	}
	return finding{NothingWrong, nothingWrong, x.Now, says, x.fine()}
}

func (x explainer) removed(d Device) finding {
	return finding{Removed, nothingThere, d.RemovedAt,
		fmt.Sprintf("%s was removed at %s: what it had was withdrawn, and nobody can add it until it publishes again.", d.Device, ago(d.RemovedAt, x.Now)),
		[]Advice{
			{Operator, "if the device was not to be removed, find out who asked for DELETE /v1/users/" + url.PathEscape(string(d.Device.User)) + "/devices/" + url.PathEscape(d.Device.Name) + ". A token that was bound to it and issued before is refused: it needs a new one."},
			{User, "sign in again on that device."},
		}}
}

// refusals says which requests were refused that the device needs in order to join, since it
// was last seen.
func (x explainer) refusals(d Device) (found []finding) {
	waits := d.Pending > d.Overdue // something came, and it has not claimed since
	empty := d.Stock.Available == 0 && !suffices(d)
	for _, r := range latest(d.Refused) {
		rank := x.aged(r.Last, otherRefused)
		switch {
		case r.Last.Before(d.SeenAt):
			continue
		case r.publishes() && (empty || !d.Known), r.claims() && waits:
			rank = x.refusal(r.Last, neededRefused)
		}
		cause := Refused
		if r.Item == delivery.ItemNotYetValid {
			cause = ClockAhead
		}
		found = append(found, finding{cause, rank, r.Last,
			fmt.Sprintf("%s is refused: %s.", d.Device, r.words(x)), codeAdvice(r)})
	}
	for _, r := range latest(d.Strangers) {
		rank := x.aged(r.Last, strangerRefused)
		switch {
		case r.Last.Before(d.SeenAt):
			continue
		case waits || empty || !d.Known:
			rank = x.refusal(r.Last, tokenRefused) // more than that it does not ask, or never published
		}
		f := finding{TokenRefused, rank, r.Last,
			fmt.Sprintf("whoever asks for %s shows no token that is good for it: %s.", d.Device, r.words(x)), codeAdvice(r)}
		if r.Status != 401 && r.Status != 403 {
			f.cause = Refused
			f.says = fmt.Sprintf("whoever asks for %s is refused: %s.", d.Device, r.words(x))
		}
		found = append(found, f)
	}
	return found
}

// latest returns the last refusal with each code, of requests that a device needs in order to
// join.
func latest(all []Refusal) (last []Refusal) {
	for _, r := range slices.Backward(all) {
		same := func(other Refusal) bool { return other.Code == r.Code }
		if r.Status != 0 && needed(r) && !slices.ContainsFunc(last, same) {
			last = append(last, r)
		}
	}
	return last
}

// needed reports whether a device needs that request in order to join.
func needed(r Refusal) bool { return r.publishes() || r.claims() }

func (r Refusal) claims() bool { return strings.HasSuffix(r.Request, "/claim") }

func (r Refusal) publishes() bool {
	return strings.HasSuffix(r.Request, "/key-packages") && !strings.HasPrefix(r.Request, "GET ") || strings.HasSuffix(r.Request, "/key-packages/sync")
}

// words returns a refusal as part of a sentence.
func (r Refusal) words(x explainer) string {
	s := clean(r.Request) + " was answered " + fmt.Sprint(r.Status) + " " + clean(r.Code)
	if r.Count > 1 {
		s += fmt.Sprintf(" %d times, last", r.Count)
	}
	s += " at " + ago(r.Last, x.Now)
	if r.Detail != "" {
		s += ": " + quote(r.Detail)
	}
	return s
}

// codeAdvice says what to do about a refusal.
func codeAdvice(r Refusal) []Advice {
	switch {
	case r.Code == "device_removed":
		return []Advice{{Operator, "the device was removed after its token was issued: give it a new one (`welcomed token add`)."}, {User, "sign in again on that device."}}
	case r.Item == delivery.ItemNotYetValid:
		return clockAdvice
	case r.Code == "not_yours":
		return []Advice{
			{Operator, "another device has published the same bytes first, as somebody can who was shown them before a restore. If this device is their owner, give them back: `welcomed give REF USER/DEVICE` (`welcomed explain REF` says who has them now)."},
			{Developer, "if one installation has two device ids, give each its own KeyPackages."},
		}
	case r.Status == 401:
		return []Advice{
			{Operator, "see with `welcomed token list` whether the token was revoked or has expired; with --auth oidc, whether issuer, audience and clocks agree."},
			{Developer, doAs(r)},
			{User, "sign out and in again."},
		}
	case r.Code == "forbidden":
		return []Advice{
			{Operator, "the path is of another user or device than the token that was shown, or only a service may use it."},
			{Developer, doAs(r) + " Ids are case-sensitive."},
		}
	case r.Status == 429:
		return []Advice{{Developer, doAs(r)}, {Operator, "if that is ordinary use, raise the limit (`welcomed serve --help`)."}}
	case r.Status == 507:
		return []Advice{{Operator, "the disk or --max-size is full: make room, or `welcomed compact`."}}
	case r.Status >= 500:
		return []Advice{{Operator, "that is the server's: look in its log at that time."}, {Developer, "try again later; nothing of the request was lost."}}
	}
	return []Advice{{Developer, doAs(r)}}
}

// doAs returns what the answer said to do, with its code.
func doAs(r Refusal) string {
	do := "the answer's detail says what to change"
	if r.Advice != "" {
		do = clean(r.Advice)
	}
	return do + " (" + clean(r.Code) + ")."
}

// mismatches says which Welcomes and reservations for the device were of no use.
func (x explainer) mismatches(d Device) (found []finding) {
	for _, r := range d.Unmatched {
		rank := x.aged(r.Last, mismatched)
		if x.postedSince(d, r) {
			rank = overcome
		}
		found = append(found, finding{Mismatch, rank, r.Last,
			fmt.Sprintf("a Welcome of %s for %s was refused at %s: %s is %s (%s).", who(r.Who), d.Device, ago(r.Last, x.Now), shortRef(r.Ref), clean(r.Code), cmp.Or(taker(d, r), codes.OfMismatch(r.Code).Means)),
			[]Advice{{Developer, codes.OfMismatch(r.Code).Do}, {User, "ask " + who(r.Who) + " to add you again."}}})
	}
	for _, r := range d.Unserved {
		cause := map[string]Cause{"incompatible": Incompatible, "target_budget": Budget}[r.Code]
		if cause == "" || x.postedSince(d, r) {
			continue // an empty shelf speaks for itself
		}
		says := fmt.Sprintf("%s asked for a KeyPackage of %s at %s and got none: %s", who(r.Who), d.Device, ago(r.Last, x.Now), codes.OfMismatch(r.Code).Means)
		if r.Detail != "" {
			says += " (" + clean(r.Detail) + ")"
		}
		found = append(found, finding{cause, x.aged(r.Last, notServed), r.Last, says + ".", []Advice{{Developer, codes.OfMismatch(r.Code).Do}}})
	}
	return found
}

// taker says who has the KeyPackage that another user wanted; empty if that is not known.
func taker(d Device, r Refusal) string {
	if r.Code != "taken" && r.Code != "consumed" {
		return ""
	}
	for _, m := range d.Welcomes {
		if m.Ref == r.Ref && m.State != delivery.Cancelled {
			return who(m.PostedBy) + " posted a Welcome for it at " + stamp(m.PostedAt)
		}
	}
	for _, k := range d.KeyPackages {
		if k.Ref == r.Ref && k.State == delivery.Reserved {
			return who(k.ReservedBy) + " had reserved it at " + stamp(k.ReservedAt)
		}
	}
	return ""
}

// postedSince reports whether the user who was refused has posted a Welcome for the device
// since.
func (x explainer) postedSince(d Device, r Refusal) bool {
	return slices.ContainsFunc(d.Welcomes, func(m delivery.RecipientHistory) bool {
		return m.PostedBy == r.Who && m.PostedAt.After(r.Last)
	})
}

// shelf says why no KeyPackage of the device can be handed out, or soon none can.
func (x explainer) shelf(d Device) []finding {
	refill := Advice{Developer, fmt.Sprintf("a device publishes new KeyPackages when `stock.low` says so in the answers to its claims (below %d), and one last-resort KeyPackage, which is never used up.", x.Limits.LowWatermark)}
	open := Advice{User, "open the app on that device, with a network: it fills its shelf again."}
	early, ok := x.clockAhead(d)
	switch {
	case ok && usableNow(d) == 0:
		early.rank = shelfEmpty
		return []finding{early}
	case ok:
		return []finding{early}
	case d.Stock.Available == 0 && len(d.LastResort) == 0:
		f := x.empty(d)
		f.advice = append(f.advice, refill, open)
		return []finding{f}
	case suffices(d):
		return nil
	case d.Stock.Available == 0:
		return []finding{{LastResortOnly, lastResortOnly, x.Now,
			fmt.Sprintf("only the last-resort KeyPackage of %s is left on its shelf (%s): it can be added, but everybody is given the same KeyPackage.", d.Device, suites(suitesOf(d))),
			[]Advice{refill, open}}}
	}
	return nil
}

// freshAgain is after how many syncs that withdraw fresh KeyPackages two installations are
// suspected. An app that was installed again does so once, perhaps twice.
const freshAgain = 3

// shared says that two installations seem to use the id of the device: each withdraws what the
// other has published.
func (x explainer) shared(d Device) (found []finding) {
	for _, r := range d.Refused {
		if r.Code != CodeFreshWithdrawn || r.Count < freshAgain {
			continue
		}
		found = append(found, finding{SharedDevice, x.aged(r.Last, lost), r.Last,
			fmt.Sprintf("two installations seem to use the device id %s: since %s a sync took back %d times what had been published less than a day before, last at %s.",
				d.Device, stamp(r.First), r.Count, ago(r.Last, x.Now)),
			[]Advice{
				{Developer, "each installation needs a device id of its own: look for an id that is copied with a backup, made from the account alone, or used in two browsers or processes. If there is one installation only, it loses its private keys: it has to keep them where they outlive a restart."},
				{User, "if the app is there twice, on two phones or as a copy, sign out of one of them and in again."},
			}})
	}
	return found
}

// suffices reports whether the device wants to have only last resorts, and has one.
func suffices(d Device) bool {
	return d.LastResortsOnly && d.Stock.Available == 0 && len(d.LastResort) > 0
}

// usableNow counts what can be handed out, last resorts too.
func usableNow(d Device) int {
	return sum(d.Counts, func(c delivery.SuiteCounts) int { return c.Available })
}

// clockAdvice says what to do about a device whose clock is ahead.
var clockAdvice = []Advice{
	{Operator, "compare this server's clock with others (`timedatectl`): if it is behind, every device seems to be ahead."},
	{Developer, "begin lifetimes an hour or a day before now: clocks differ (RFC 9420 §7.2)."},
	{User, "have the device set its date and time by itself, and open the app again."},
}

// clockAhead says by how much at least the clock of a device was ahead, if it has KeyPackages
// that are not yet valid. No client begins a lifetime later than now by its own clock.
func (x explainer) clockAhead(d Device) (f finding, ok bool) {
	var last delivery.KeyPackageRecord // of those that were published last the one that begins last
	var first time.Time
	n := 0
	for _, r := range d.KeyPackages {
		at := r.NotBefore()
		if r.State != delivery.Available || !at.After(x.Now) {
			continue
		}
		n++
		if first.IsZero() || at.Before(first) {
			first = at
		}
		if ahead := r.NotBefore().Sub(r.PublishedAt); last.Ref == "" || ahead > last.NotBefore().Sub(last.PublishedAt) {
			last = r
		}
	}
	if n == 0 {
		return f, false
	}
	f = finding{ClockAhead, someNotYetValid, x.Now, fmt.Sprintf(
		"the clock of %s was at least %s ahead of this server's when it published at %s: %s of it cannot be handed out before %s.",
		d.Device, span(last.NotBefore().Sub(last.PublishedAt)), stamp(last.PublishedAt), plural(n, "KeyPackage"), stamp(first)), clockAdvice}
	return f, true
}

// empty finds out where all KeyPackages of a device have gone.
func (x explainer) empty(d Device) finding {
	where := make(map[delivery.KeyPackageState]int)
	holders := make(map[string]int)
	var last delivery.KeyPackageRecord
	for _, r := range d.KeyPackages {
		where[r.State]++
		if r.State == delivery.Reserved {
			holders[r.ReservedBy]++
		}
		if last.Ref == "" || r.LastAt().After(last.LastAt()) {
			last = r
		}
	}
	f := finding{rank: shelfEmpty, at: x.Now}
	begin := fmt.Sprintf("nobody can add %s, its shelf is empty: ", d.Device)
	handed := where[delivery.Reserved] + where[delivery.Matched] + where[delivery.Consumed]
	switch {
	case !x.RestoredAt.IsZero() && !publishedSince(d, x) && where[delivery.Retired] > 0:
		f.cause = Restored
		f.says = begin + fmt.Sprintf("it was emptied at %s, when a backup was restored, and the device has not filled it again.", ago(x.RestoredAt, x.Now))
	case last.BeforeRestore && last.State == delivery.Retired:
		f.cause = Restored
		f.says = begin + fmt.Sprintf("a backup was restored at %s, and what the device has published since may have been handed out before (`not_after_restore`).", ago(x.RestoredAt, x.Now))
		f.advice = []Advice{{Developer, "make new KeyPackages, and publish them with the `restore_epoch` that the device had read from the server before it made them."}}
	case len(d.KeyPackages) == 0:
		f.cause = AllExpired
		f.says = begin + "whatever it published has ended so long ago that it is forgotten."
	case last.State == delivery.Withdrawn && where[delivery.Withdrawn] > handed:
		f.cause = AllWithdrawn
		f.says = begin + fmt.Sprintf("the device itself took %s back at %s, and has published nothing since.", plural(where[delivery.Withdrawn], "KeyPackage"), ago(last.EndedAt, x.Now))
		f.advice = []Advice{{Developer, "a sync that leaves refs out says that their private keys are lost, as after a reinstallation; the app has to publish new ones right after it."}}
	case where[delivery.Expired] > handed:
		f.cause = AllExpired
		f.says = begin + fmt.Sprintf("%s expired (the last at %s), and the device has published nothing since %s.", plural(where[delivery.Expired], "KeyPackage"), stamp(lastEnd(d, delivery.Expired)), stamp(lastPublished(d)))
	case handed == 0 && where[delivery.Retired] > 0:
		f.cause = AllRetired
		f.says = begin + plural(where[delivery.Retired], "KeyPackage") + " came off it because of age, a replacement or too short a lifetime."
	default:
		f.cause = AllHandedOut
		f.says = begin + fmt.Sprintf("all its KeyPackages were handed out (%d used up, %d reserved or waiting), and the device has published nothing since %s.",
			where[delivery.Consumed], where[delivery.Reserved]+where[delivery.Matched], ago(lastPublished(d), x.Now))
		if by, n := most(holders); n >= 3 && n*2 > handed {
			f.says = strings.TrimSuffix(f.says, ".") + fmt.Sprintf("; %s has reserved %d of them and posted no Welcome.", who(by), n)
			f.advice = []Advice{{Operator, "if " + who(by) + " is emptying shelves, revoke its tokens, and lower the budgets of what one user may take of another (`welcomed serve --help`)."}}
		}
	}
	return f
}

func publishedSince(d Device, x explainer) bool { return lastPublished(d).After(x.RestoredAt) }

func most(counts map[string]int) (name string, n int) {
	for k, v := range counts {
		if v > n || v == n && k < name {
			name, n = k, v
		}
	}
	return name, n
}

// unused says who has reserved a KeyPackage and not used it.
func (x explainer) unused(d Device) (found []finding) {
	for _, r := range d.KeyPackages {
		if r.State == delivery.Reserved {
			found = append(found, x.reserved(d, r))
		}
	}
	return found
}

func (x explainer) reserved(d Device, r delivery.KeyPackageRecord) finding {
	rank := x.aged(r.ReservedAt, reservedNotUsed)
	switch age := x.Now.Sub(r.ReservedAt); {
	case age < soon:
		rank = reservedJustNow
	case x.postedSince(d, Refusal{Who: r.ReservedBy, Last: r.ReservedAt}):
		rank = overcome
	}
	return finding{NeverUsed, rank, r.ReservedAt,
		fmt.Sprintf("%s reserved %s of %s at %s and has posted no Welcome for it.", who(r.ReservedBy), shortRef(r.Ref), d.Device, ago(r.ReservedAt, x.Now)),
		[]Advice{
			{Developer, "see in the adder's log what happened between its reservation and its Welcome: it never called POST /v1/welcomes, or was refused."},
			{User, "ask " + who(r.ReservedBy) + " to add you again."},
		}}
}

// returned says that adders give KeyPackages of the device back because they cannot use them:
// the last one for each reason.
func (x explainer) returned(d Device) (found []finding) {
	for _, reason := range []delivery.GiveBackReason{delivery.GivenBackInvalid, delivery.GivenBackIncompatible} {
		n := 0
		var last delivery.KeyPackageRecord
		for _, r := range d.KeyPackages {
			if r.Returned.Reservation == 0 || r.Returned.Reason != reason {
				continue
			}
			if n++; last.Ref == "" || r.Returned.At.After(last.Returned.At) {
				last = r
			}
		}
		if n == 0 {
			continue
		}
		rank := x.aged(last.Returned.At, givenBack)
		if x.postedSince(d, Refusal{Who: last.Returned.By, Last: last.Returned.At}) {
			rank = overcome
		}
		found = append(found, finding{GivenBack, rank, last.Returned.At, x.returnedWords(d, last, n), returnedAdvice(d, last)})
	}
	return found
}

func (x explainer) returnedWords(d Device, last delivery.KeyPackageRecord, n int) string {
	words := fmt.Sprintf("%s gave %s of %s back as %s", who(last.Returned.By), shortRef(last.Ref), d.Device, clean(string(last.Returned.Reason)))
	if n > 1 {
		words = fmt.Sprintf("%s of %s were given back as %s, the last by %s", plural(n, "KeyPackage"), d.Device, clean(string(last.Returned.Reason)), who(last.Returned.By))
	}
	return words + " at " + ago(last.Returned.At, x.Now) + ": nobody is handed it again."
}

func returnedAdvice(d Device, last delivery.KeyPackageRecord) []Advice {
	if last.Returned.Reason == delivery.GivenBackIncompatible {
		return []Advice{{Developer, fmt.Sprintf("the group of %s needs what the KeyPackages of %s do not list in their capabilities (extensions, credentials, proposals): see in the adder's log which, and have the device list it, or the group do without.", who(last.Returned.By), d.Device)}}
	}
	return []Advice{
		{Developer, fmt.Sprintf("the adder refuses the KeyPackages of %s for what this server does not check, mostly its credential: see in the adder's log why, and have the device publish new ones.", d.Device)},
		{Operator, "if only " + who(last.Returned.By) + " gives KeyPackages back as invalid, and of many devices, look at that application first."},
	}
}

func (x explainer) mailbox(d Device) []finding {
	l, n := x.Limits, d.Pending+d.Held
	full := l.PendingPerDevice > 0 && n >= l.PendingPerDevice || l.PendingBytesPerDevice > 0 && d.WaitingBytes >= l.PendingBytesPerDevice-l.PendingBytesPerDevice/64 ||
		l.OpenPerDevice > 0 && n+d.Delivered >= l.OpenPerDevice
	if !full {
		return nil
	}
	return []finding{{MailboxFull, mailboxFull, x.Now,
		fmt.Sprintf("the mailbox of %s is full: %s (%d bytes) and %d are not acknowledged, so no other is taken.", d.Device, waiting(n), d.WaitingBytes, d.Delivered),
		[]Advice{
			x.lastSeen(d),
			{Developer, "a device claims until `more` is false, and acknowledges or rejects each Welcome."},
			{User, "open the app on that device and leave it open for some minutes."},
		}}}
}

// stock says what is on the shelf now.
func (x explainer) stock(d Device) string {
	var parts []string
	for _, c := range d.Counts {
		if n := c.Available - lastResorts(d, c.Suite); n > 0 {
			parts = append(parts, fmt.Sprintf("%s (cipher suite %d)", plural(n, "KeyPackage"), c.Suite))
		}
	}
	for _, l := range d.LastResort {
		later := ""
		if !l.UsableFrom.IsZero() {
			later = " that will be valid later"
		}
		parts = append(parts, fmt.Sprintf("a last resort (cipher suite %d)%s", l.Suite, later))
	}
	if n := d.Stock.NotYetValid; n > 0 {
		parts = append(parts, plural(n, "KeyPackage")+" that will be valid later")
	}
	if len(parts) == 0 {
		return "nothing on the shelf"
	}
	low := ""
	switch {
	case suffices(d):
		low = ", and it publishes no others, by design"
	case d.Stock.Low:
		low = ", which is low"
	}
	return joined(parts) + " on the shelf" + low
}

func lastResorts(d Device, suite mls.CipherSuite) (n int) {
	for _, l := range d.LastResort {
		if l.Suite == suite && l.UsableFrom.IsZero() {
			n++
		}
	}
	return n
}

func suitesOf(d Device) (list []mls.CipherSuite) {
	for _, c := range d.Counts {
		if c.Available > 0 {
			list = append(list, c.Suite)
		}
	}
	return list
}

package explain

import (
	"fmt"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/codes"
)

// asked returns the device that the question is about.
func (x explainer) asked() delivery.DeviceID { return delivery.DeviceID{User: x.User, Name: x.Device} }

// keyPackage explains a ref.
func (x explainer) keyPackage() Explanation {
	k := x.KeyPackages[0]
	e := Explanation{Subject: "KeyPackage " + k.Ref.String(), Known: k.Known}
	found := x.keyPackageFindings(k)
	e.Parts = []Part{x.keyPackagePart(k)}
	return x.conclude(e, found)
}

// keyPackageFindings says what became of a KeyPackage, and what may keep its device from
// joining with it. It returns at least one finding.
func (x explainer) keyPackageFindings(k KeyPackage) (found []finding) {
	if !k.Known {
		return append(x.unmatched(k), finding{UnknownRef, mayMatter, x.Now,
			fmt.Sprintf("no %s is known here: it was published on another server or not at all, or it ended so long ago that it is forgotten (after %s at the latest).",
				shortRef(k.Ref), span(x.Limits.TombstoneKeptMost)),
			[]Advice{
				{Operator, "compare the address of the server in both apps. `welcomed explain USER` says what is here of a user."},
				{Developer, "an adder that keeps KeyPackages for later finds them gone: reserve one right before the Commit."},
			}})
	}
	found = append(found, x.unmatched(k)...)
	for _, m := range k.Welcomes {
		found = append(found, x.matched(k.Owner, m))
	}
	if k.Owner.Removed {
		f := x.removed(k.Owner)
		f.rank = standing
		found = append(found, f)
	}
	return append(found, x.stateOf(k))
}

// unmatched says which Welcomes for a KeyPackage were refused.
func (x explainer) unmatched(k KeyPackage) (found []finding) {
	for _, f := range x.mismatches(Device{DeviceHistory: delivery.DeviceHistory{Device: k.Device}, Unmatched: k.Unmatched}) {
		if !k.Known {
			f.says = fmt.Sprintf("a Welcome named %s, which is not known here: it was published on another server or not at all, or is forgotten.", shortRef(k.Ref))
			f.cause = UnknownRef
		}
		found = append(found, f)
	}
	return found
}

// stateOf says in which state a KeyPackage is, if no Welcome says more.
func (x explainer) stateOf(k KeyPackage) finding {
	name, ref := k.Device.String(), shortRef(k.Ref)
	again := []Advice{
		{Developer, "the adder has to reserve another KeyPackage, commit with it, and post a new Welcome."},
		{User, "ask to be added again."},
	}
	switch k.State {
	case delivery.Available:
		if k.LastResort {
			return finding{OnShelf, standing, x.Now, fmt.Sprintf("%s is the last resort of %s, on its shelf since %s.", ref, name, stamp(k.PublishedAt)), x.fine()}
		}
		return finding{OnShelf, standing, x.Now, fmt.Sprintf("%s lies on the shelf of %s since %s: nobody has reserved it, and no Welcome for it was taken.", ref, name, stamp(k.PublishedAt)), x.fine()}
	case delivery.Reserved:
		f := x.reserved(k.Owner, k.KeyPackageRecord)
		f.rank = min(f.rank, standing)
		return f
	case delivery.Retired:
		if g := k.Returned; g.Reservation != 0 && g.Reason != delivery.GivenBackUnused {
			return finding{GivenBack, mayMatter, g.At, x.returnedWords(k.Owner, k.KeyPackageRecord, 1), returnedAdvice(k.Owner, k.KeyPackageRecord)}
		}
		return finding{OffShelf, standing, x.Now, fmt.Sprintf("%s of %s is off the shelf (replaced, too old, or a backup was restored) and no Welcome for it was taken; one that names it still is until %s.", ref, name, stamp(k.MatchableUntil)), x.fine()}
	case delivery.Expired:
		return finding{Expired, keyPackageExpired, k.EndedAt, fmt.Sprintf("%s of %s expired at %s: no Welcome for it was taken before, and none is since.", ref, name, ago(k.EndedAt, x.Now)), again}
	case delivery.Withdrawn:
		return finding{Withdrawn, keyPackageWithdrawn, k.EndedAt, fmt.Sprintf("%s took %s back at %s: no Welcome for it is taken since.", name, ref, ago(k.EndedAt, x.Now)), again}
	}
	return finding{NothingWrong, unremarkable, x.Now, fmt.Sprintf("%s of %s is %s.", ref, name, k.State), x.fine()}
}

// welcome explains a Welcome.
func (x explainer) welcome() Explanation {
	w := *x.Welcome
	e := Explanation{Known: w.Posted}
	e.Subject = "a Welcome for " + plural(len(w.Recipients)+w.More, "KeyPackage")
	if w.Posted {
		e.Subject = "Welcome " + w.ID.String()
	}
	var found []finding
	for _, k := range w.Recipients {
		e.Known = e.Known || k.Known
		of := x.recipient(w, k)
		part := x.keyPackagePart(k)
		if part.Verdict = ranked(of)[0].says; !w.Posted && !k.Known {
			part.Now = nil
		}
		e.Parts = append(e.Parts, part)
		found = append(found, of...)
	}
	if !w.Posted {
		found = append(found, x.notPosted(w))
	}
	e = x.conclude(e, found)
	if w.More > 0 {
		e.Notes = append(e.Notes, plural(w.More, "recipient")+" "+are(w.More)+" left out.")
	}
	return e
}

// recipient says what a Welcome means for one of its recipients.
func (x explainer) recipient(w Welcome, k KeyPackage) []finding {
	switch {
	case k.Verdict != "":
		why := codes.OfMismatch(string(k.Verdict))
		f := finding{Mismatch, lost, w.PostedAt,
			fmt.Sprintf("%s posted the Welcome at %s, but it is of no use to %s: the post was told %s (%s).",
				who(w.PostedBy), ago(w.PostedAt, x.Now), ownerName(k), k.Verdict, why.Means),
			[]Advice{{Developer, "the poster is told so at once: with require=all nothing is posted unless it is for everybody."}, {Developer, why.Do}, {User, "ask to be added again."}}}
		return []finding{f}
	case !w.Posted:
		return x.keyPackageFindings(k)
	}
	for _, m := range k.Welcomes {
		if m.ID == w.ID {
			return []finding{x.matched(k.Owner, m)}
		}
	}
	return x.keyPackageFindings(k)
}

func ownerName(k KeyPackage) string {
	if k.Device == (delivery.DeviceID{}) {
		return "the owner of " + shortRef(k.Ref)
	}
	return k.Device.String() + " (" + shortRef(k.Ref) + ")"
}

// notPosted says that the Welcome was not posted. That is the cause only if nothing is wrong
// with its KeyPackages.
func (x explainer) notPosted(w Welcome) finding {
	known := 0
	for _, k := range w.Recipients {
		if k.Known {
			known++
		}
	}
	says := "this Welcome was not posted here, or so long ago that it is forgotten"
	switch n := len(w.Recipients); {
	case known == 0:
		says += "; nor is any of its KeyPackages known."
	case known < n:
		says += fmt.Sprintf("; %d of its %s are known.", known, plural(n, "KeyPackage"))
	default:
		says += "; its KeyPackages are known."
	}
	return finding{NotPosted, notPosted, x.Now, says, []Advice{
		{Operator, "a Welcome that a device was given is a part of the posted one and not the same bytes: ask for its KeyPackage's ref instead (`welcomed inspect` prints it)."},
		{Developer, "see in the adder's log whether POST /v1/welcomes was sent to this server, and what was answered."},
		{User, "ask to be added again."},
	}}
}

// refsOf is what a Welcome names.
func refsOf(w *mls.Welcome) []mls.KeyPackageRef {
	var refs []mls.KeyPackageRef
	for _, s := range w.Secrets {
		refs = append(refs, s.NewMember)
	}
	return refs
}

// Package explain says in words why somebody cannot join.
//
// It promises that the most probable cause comes first, that everything behind it is a fact
// with a time, and that the text can be written to a terminal: names are quoted, and text of
// clients has no effect on the terminal. It does not use the disk, the network or the clock.
// What is known comes as [Facts], which [Gather] collects from a store.
package explain

import (
	"slices"
	"time"
)

// A Cause is the name of the most probable reason. Names do not change.
type Cause string

// The causes.
const (
	NotReady       Cause = "not_ready"        // the server serves nobody
	Removed        Cause = "removed"          // the device was
	NeverPublished Cause = "never_published"  // nothing of the user or device is known
	UnknownRef     Cause = "unknown_ref"      // of a KeyPackage
	NotPosted      Cause = "not_posted"       // the Welcome is not known here
	Refused        Cause = "refused"          // the device's requests are
	AdderRefused   Cause = "adder_refused"    // the user wants to add others, and that is refused
	TokenRefused   Cause = "token_refused"    // somebody without a valid token asks for the device
	NoKey          Cause = "no_matching_key"  // the device says that it lacks the private key
	PassedOver     Cause = "passed_over"      // the device claims, and leaves the Welcome
	NotFetched     Cause = "not_fetched"      // the device does not ask
	Held           Cause = "held"             // the poster has not released the Welcome
	NotSettled     Cause = "not_acknowledged" // the device has the Welcome and says nothing
	Rejected       Cause = "rejected"         // the device said that it cannot join
	Lapsed         Cause = "lapsed"           // the device never said whether it joined
	Unfetched      Cause = "expired_unclaimed"
	Cancelled      Cause = "cancelled"
	Withdrawn      Cause = "withdrawn" // the device took the KeyPackage back
	Damaged        Cause = "damaged"   // the server's copy of the Welcome
	Mismatch       Cause = "mismatch"  // a Welcome was refused for the KeyPackage that it names
	MailboxFull    Cause = "mailbox_full"
	AllHandedOut   Cause = "all_handed_out" // the shelf is empty because …
	AllWithdrawn   Cause = "all_withdrawn"
	AllExpired     Cause = "all_expired"
	AllRetired     Cause = "all_retired"
	Restored       Cause = "restored"
	LastResortOnly Cause = "last_resort_only"
	Incompatible   Cause = "incompatible_suites"
	SharedDevice   Cause = "shared_device"     // two installations use its id
	ClockAhead     Cause = "clock_ahead"       // the device's, so that its KeyPackages are not yet valid
	Budget         Cause = "budget"            // what may be taken of the user was taken
	GivenBack      Cause = "given_back"        // adders cannot use the device's KeyPackages
	DeviceLimit    Cause = "device_limit"      // the user has as many devices as one may have
	NeverUsed      Cause = "reserved_not_used" // whoever reserved posted nothing
	OnShelf        Cause = "on_shelf"          // nobody has taken the KeyPackage
	Expired        Cause = "expired"           // the KeyPackage
	OffShelf       Cause = "off_shelf"         // the KeyPackage was retired
	Joined         Cause = "joined"
	NothingWrong   Cause = "nothing_wrong"
)

// An Explanation is the answer to a Question.
type Explanation struct {
	Subject string `json:"subject"` // what was asked about
	// Known is false where the server knows nothing of it.
	Known    bool     `json:"known"`
	Cause    Cause    `json:"cause"`
	Headline string   `json:"headline"`
	Also     []string `json:"also,omitempty"` // what else is wrong
	Parts    []Part   `json:"parts,omitempty"`
	Advice   []Advice `json:"advice"`
	Notes    []string `json:"notes,omitempty"` // what may be missing
}

// A Part is the evidence about one device or KeyPackage.
type Part struct {
	Title   string   `json:"title"`
	Verdict string   `json:"verdict,omitempty"`
	Now     []string `json:"now,omitempty"`
	Events  []Event  `json:"events,omitempty"` // in the order of time
	LeftOut int      `json:"left_out,omitempty"`
}

// An Event is something that happened, to Count things at once.
type Event struct {
	At      time.Time `json:"at"`
	Text    string    `json:"text"`
	Ref     string    `json:"ref,omitempty"`     // of the KeyPackage, if it is one
	Welcome string    `json:"welcome,omitempty"` // its id
}

// A Reader says who an advice is for.
type Reader string

// The readers, in the order in which they are told.
const (
	Operator  Reader = "operator"
	Developer Reader = "developer" // of the app
	User      Reader = "user"
)

// An Advice says what somebody can do about it.
type Advice struct {
	For Reader `json:"for"`
	Do  string `json:"do"`
}

// Explain finds the most probable cause in the facts.
func Explain(f Facts) Explanation {
	x := explainer{f}
	e := x.explain()
	e.scrub()
	return e
}

// An explainer has the facts.
type explainer struct{ Facts }

func (x explainer) explain() Explanation {
	switch {
	case x.Welcome != nil:
		return x.welcome()
	case x.Ref != "":
		return x.keyPackage()
	}
	return x.user()
}

// scrub escapes what does not print, in case that something was not quoted.
func (e *Explanation) scrub() {
	texts := []*string{&e.Subject, &e.Headline}
	each := func(list []string) {
		for i := range list {
			texts = append(texts, &list[i])
		}
	}
	each(e.Also)
	each(e.Notes)
	for i := range e.Advice {
		texts = append(texts, &e.Advice[i].Do)
	}
	for i := range e.Parts {
		p := &e.Parts[i]
		texts = append(texts, &p.Title, &p.Verdict)
		each(p.Now)
		for j := range p.Events {
			texts = append(texts, &p.Events[j].Text)
		}
	}
	for _, t := range texts {
		*t = clean(*t)
	}
}

// conclude completes an explanation from findings. There is at least one finding.
func (x explainer) conclude(e Explanation, all []finding) Explanation {
	if x.Trouble != "" {
		all = append(all, finding{NotReady, serverNotReady, x.Now, "the server serves nobody: " + clean(x.Trouble), []Advice{
			{Operator, "put that right first; `welcomed health` says when it is ready again. A clock is put right with NTP, or, if it is right, with --trust-clock."},
		}})
	}
	best := ranked(all)
	e.Cause, e.Headline, e.Advice = best[0].cause, best[0].says, best[0].advice
	for _, other := range best[1:] {
		if other.rank > worthSaying || slices.Contains(e.Also, other.says) || other.says == e.Headline {
			continue
		}
		const most = 5
		if len(e.Also) == most {
			break
		}
		e.Also = append(e.Also, other.says)
		if other.rank < worthDoing {
			e.Advice = append(e.Advice, other.advice...)
		}
	}
	e.Advice = inOrder(e.Advice)
	e.Notes = append(e.Notes, x.notes()...)
	return e
}

// inOrder sorts advice by reader and leaves out what is said twice.
func inOrder(advice []Advice) []Advice {
	readers := []Reader{Operator, Developer, User}
	var sorted []Advice
	for _, r := range readers {
		for _, a := range advice {
			if a.For == r && !slices.Contains(sorted, a) {
				sorted = append(sorted, a)
			}
		}
	}
	return sorted
}

// notes says what the explanation may lack.
func (x explainer) notes() (notes []string) {
	if x.Remembers.IsZero() {
		notes = append(notes, "No server was asked, so what it has refused is not known: only what is in the file.")
	} else {
		notes = append(notes, "Refused requests are remembered since "+ago(x.Remembers, x.Now)+", when the server started; of each device the last few.")
	}
	if x.Unopened {
		notes = append(notes, "The file is a copy or a backup that no server has opened: the first one takes every KeyPackage off its shelf but last-resort ones.")
	}
	if x.MoreDevices > 0 {
		notes = append(notes, plural(x.MoreDevices, "device")+" of the user "+are(x.MoreDevices)+" left out: name one.")
	}
	return notes
}

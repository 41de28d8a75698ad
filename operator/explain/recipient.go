package explain

import (
	"fmt"
	"time"

	"welcomed/delivery"
	"welcomed/operator/codes"
)

const (
	// soon is how long a Welcome may wait, or a reservation be unused, before that
	// says anything: things are under way.
	soon = 10 * time.Minute
	// momentary is how long a hold takes where nothing is wrong.
	momentary = time.Minute
)

// matched says what is wrong with a Welcome that matched a KeyPackage of a device.
func (x explainer) matched(d Device, m delivery.RecipientHistory) finding {
	name, id, poster := d.Device.String(), shortWelcome(m.ID), who(m.PostedBy)
	switch m.State {
	case delivery.Held:
		return x.held(name, m)
	case delivery.Pending:
		return x.pending(d, m)
	case delivery.Delivered:
		rank := notSettled
		if x.Now.Sub(m.DeliveredAt) < soon {
			rank = notSettledYet
		}
		return finding{NotSettled, rank, m.DeliveredAt,
			fmt.Sprintf("%s was given %s of %s at %s and has not said whether it joined.", name, id, poster, ago(m.DeliveredAt, x.Now)),
			[]Advice{
				{Developer, "look in the device's log for what happened after it claimed. It acknowledges or rejects each Welcome; until it does, every claim gives it again, until " + stamp(m.Until) + ", so a client that crashed only has to claim again."},
				{User, "open the app again and wait a minute. If the group is there, all is well."},
			}}
	case delivery.Acknowledged:
		return finding{Joined, hasJoined, m.EndedAt, fmt.Sprintf("%s joined with %s of %s at %s.", name, id, poster, ago(m.EndedAt, x.Now)), x.fine()}
	case delivery.Rejected:
		return x.rejected(name, m)
	case delivery.Lapsed:
		return finding{Lapsed, x.over(d, m, lapsed), m.EndedAt,
			fmt.Sprintf("%s was given %s of %s at %s and never said whether it joined; since %s it is not given it again.", name, id, poster, stamp(m.DeliveredAt), stamp(m.EndedAt)),
			[]Advice{
				{Developer, "find out why the device neither acknowledged nor rejected within " + span(x.Limits.Redelivery) + ": that needs a claim, a join and a POST …/ack."},
				{User, "if the group is missing, ask to be added again."},
			}}
	case delivery.Cancelled:
		return finding{Cancelled, x.over(d, m, posterCancelled), m.EndedAt,
			fmt.Sprintf("%s took %s for %s back at %s.", poster, id, name, ago(m.EndedAt, x.Now)),
			[]Advice{
				{Developer, "an adder cancels when its Commit was not accepted. It then has to commit again and post a new Welcome: see why it did not."},
				{User, "ask to be added again."},
			}}
	case delivery.WelcomeWithdrawn:
		return finding{Withdrawn, x.over(d, m, welcomeWithdrawn), m.EndedAt,
			fmt.Sprintf("%s of %s for %s was lost at %s: the device took back the KeyPackage for which it was made.", id, poster, name, ago(m.EndedAt, x.Now)),
			[]Advice{
				{Developer, "a sync that leaves out a ref says that its private key is lost, as after a reinstallation. If it was not lost, the list was incomplete: keep private keys before publishing, and let one process sync."},
				{User, "ask to be added again: the new Welcome will be for a KeyPackage that the device has."},
			}}
	}
	if m.State == delivery.Damaged {
		return finding{Damaged, x.over(d, m, lost), m.EndedAt,
			fmt.Sprintf("%s of %s for %s was lost at %s: the server found its copy of it damaged.", id, poster, name, ago(m.EndedAt, x.Now)),
			[]Advice{
				{Operator, "the disk or the memory of the server changes what it keeps: see WelcomedDamageFound in docs/runbook.md."},
				{Developer, "the adder sees `damaged` in GET /v1/welcomes/{id}. The KeyPackage is reserved for it again: it removes the member and adds it with that or another KeyPackage, and posts the new Welcome."},
				{User, "ask to be added again."},
			}}
	}
	return finding{Unfetched, x.over(d, m, mayMatter), m.EndedAt, // WelcomeExpired
		fmt.Sprintf("%s did not fetch %s of %s within %s, so it expired at %s.", name, id, poster, span(x.Limits.WelcomeKept), ago(m.EndedAt, x.Now)),
		[]Advice{
			x.lastSeen(d),
			{User, "open the app on that device, and ask to be added again."},
		}}
}

func (x explainer) held(name string, m delivery.RecipientHistory) finding {
	rank := heldTooLong
	switch age := x.Now.Sub(m.PostedAt); {
	case age < momentary:
		rank = heldForAMoment
	case age < x.Limits.HoldOverdue:
		rank = heldForMinutes
	}
	return finding{Held, rank, m.PostedAt,
		fmt.Sprintf("%s still holds back %s for %s, posted at %s: it was never released.", who(m.PostedBy), shortWelcome(m.ID), name, ago(m.PostedAt, x.Now)),
		[]Advice{
			{Developer, "the adder's app did not send its Commit, or ended before it called POST /v1/welcomes/" + m.ID.String() + "/release. When it starts again it has to release what was committed, and cancel (DELETE) the rest."},
			{User, "ask whoever adds you to open the app again; if that does not help, to add you once more."},
		}}
}

func (x explainer) pending(d Device, m delivery.RecipientHistory) finding {
	name, id, poster := d.Device.String(), shortWelcome(m.ID), who(m.PostedBy)
	switch {
	case !m.WithheldAt.IsZero():
		return finding{NoKey, noPrivateKey, m.WithheldAt,
			fmt.Sprintf("%s has no private key for %s: it said so at %s, so %s of %s cannot be opened (in the client that is NoMatchingKeyPackage).",
				name, shortRef(m.Ref), ago(m.WithheldAt, x.Now), id, poster),
			[]Advice{
				{Developer, "the app lost the private key (reinstalled, restored, storage cleared), or the `refs` of its claim are incomplete. At its start it has to sync (POST …/key-packages/sync) with all refs that it holds: that withdraws the others, before anybody uses them. A private key is saved before its KeyPackage is published."},
				{User, "ask " + poster + " to remove you from the group and to add you again, after you have opened the app once."},
			}}
	case m.Overdue:
		return finding{PassedOver, passedOver, m.ReleasedAt,
			fmt.Sprintf("%s has asked for its Welcomes since %s and did not take %s of %s.", name, stamp(m.ReleasedAt), id, poster),
			[]Advice{
				{Developer, "the claim names the Welcome in `skip` although the app does not have it, or it stops before it has them all: as long as the answer says `\"more\": true`, claim again."},
				{User, "close the app and open it again."},
			}}
	}
	rank := notFetched
	if x.Now.Sub(m.ReleasedAt) < soon {
		rank = notFetchedYet
	}
	return finding{NotFetched, rank, m.ReleasedAt,
		fmt.Sprintf("%s has not asked for its Welcomes since %s of %s came for it at %s.", name, id, poster, ago(m.ReleasedAt, x.Now)),
		[]Advice{
			x.lastSeen(d),
			{Developer, "a device claims when it starts and when it is woken; with ?wait=30s it is given a Welcome at once. See in its log whether it calls POST …/claim, for this user and this device, on this server."},
			{User, "open the app on that device, with a network. Nothing is lost: the Welcome waits until " + stamp(m.Until) + "."},
		}}
}

func (x explainer) lastSeen(d Device) Advice {
	return Advice{Operator, fmt.Sprintf("the device was last seen at %s. If it was used since, look for its requests in the log of the proxy in front: they do not reach this server, or name another user or device.", ago(d.SeenAt, x.Now))}
}

func (x explainer) rejected(name string, m delivery.RecipientHistory) finding {
	r := codes.OfRejection(m.Reason)
	says := fmt.Sprintf("%s rejected %s of %s at %s: %s", name, shortWelcome(m.ID), who(m.PostedBy), ago(m.EndedAt, x.Now), r.Means)
	if m.Detail != "" {
		says += ", and said " + quote(m.Detail)
	}
	return finding{Rejected, x.aged(m.EndedAt, deviceRejected), m.EndedAt, says + ".", []Advice{{Developer, r.Developer}, {User, r.User}}}
}

// fine is what to do where nothing is wrong here.
func (x explainer) fine() []Advice {
	return []Advice{
		{Operator, "nothing to do here: look at the adder's side, and whether both use this server."},
		{Developer, "see in the adder's log what it reserved and posted: GET /v1/welcomes/{id} tells it what became of a Welcome."},
		{User, "open the app and wait a minute; then ask to be added again."},
	}
}

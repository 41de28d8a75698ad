// Package codes says in words what the codes mean that a server answers with and counts.
// Answers, explain and the status page all take their words from here.
package codes

import "welcomed/delivery"

// A Mismatch says in words why a Welcome is of no use to one of its recipients, or why nothing
// of a device was handed out.
type Mismatch struct {
	Means string // a clause that stands behind "because" or a colon
	Do    string // what can be done about it, mostly by the adder's app; a sentence
}

// Codes of mismatches that package delivery does not have as a status.
const (
	Withheld     = "withheld"      // the device has asked and has no private key
	TargetBudget = "target_budget" // of a reservation, as of an answer
)

var mismatches = map[string]Mismatch{
	// Of Welcomes.
	string(delivery.StatusUnknown): {"the KeyPackage is not known here",
		"the adder has KeyPackages from elsewhere, or kept one for too long: reserve a new one here, right before the Commit."},
	string(delivery.StatusConsumed): {"the KeyPackage was used up by another Welcome",
		"the adder kept a KeyPackage that it had used before, or took it from a listing: reserve one for each add."},
	string(delivery.StatusTaken): {"somebody else had the KeyPackage first",
		"two adders took the same KeyPackage from a listing: reserve (POST /v1/key-packages/reserve) gives one to nobody else. The later adder has to pick another and commit again."},
	string(delivery.StatusExpired): {"the KeyPackage had expired",
		"reserve right before the Commit, and have devices publish KeyPackages that live longer. Are their clocks right?"},
	string(delivery.StatusWithdrawn): {"the device had taken the KeyPackage back",
		"the adder has to reserve another one and commit again."},
	string(delivery.StatusWrongSuite): {"the Welcome has another cipher suite than the KeyPackage",
		"the adder asks for the group's cipher suite when it reserves (`cipher_suites`)."},
	string(delivery.StatusMailboxFull): {"too many Welcomes wait for the device, or too many of that poster",
		"the device has to claim, acknowledge or reject what waits; then the adder posts again. A device that is gone has to be removed by its owner; --max-pending-per-device allows more."},
	string(delivery.StatusNotReserved): {"the adder had not reserved the KeyPackage",
		"this server only takes Welcomes for reserved KeyPackages (--match reserved): reserve first; a list is not enough."},
	string(delivery.StatusCancelled): {"the Welcome was cancelled",
		"post a new Welcome."},
	string(delivery.StatusDamaged): {"the server's copy was found damaged",
		"remove the member and add it with a KeyPackage that is reserved anew, and post the new Welcome."},
	Withheld: {"the device no longer has the private key",
		"a device lost its keys: it was restored, or set up anew, and must sync its inventory so that no more of the old ones are handed out."},
	string(delivery.StatusRejected): {"the device could not open the Welcome",
		"ask the server to explain such a user: it says what the device gave as the reason."},
	string(delivery.DeviceGivenBack): {"its KeyPackage was given back since, by the adder or to another device",
		"reserve again, with another Idempotency-Key."},

	// Of reservations.
	string(delivery.DeviceExhausted): {"nothing was left on the device's shelf",
		"the device has to publish more, and a last-resort KeyPackage."},
	string(delivery.DeviceNotYetValid): {"the lifetime of its KeyPackages had not begun",
		"the device's clock is ahead: have not_before be an hour or a day before now. Until then try again at `usable_from`."},
	string(delivery.DeviceUnknown): {"the device was removed, or never published here",
		"see GET /v1/users/{user}/key-packages for the user's devices, and leave out those that are gone."},
	string(delivery.DeviceIdle): {"the device was not seen for longer than the adder wanted",
		"reserve without `max_idle_days`, or with more."},
	string(delivery.DeviceIncompatible): {"the device has no KeyPackage of a cipher suite that was asked for",
		"the device has to publish KeyPackages of the group's cipher suite, or the group be made with one of the device's."},
	TargetBudget: {"as many of the user's KeyPackages were taken as may be for now",
		"try again in an hour; a last-resort KeyPackage on the device's shelf would have served."},
}

// OfMismatch returns the words for a code.
func OfMismatch(code string) Mismatch {
	if words, ok := mismatches[code]; ok {
		return words
	}
	return Mismatch{"its code is " + code, "the adder has to reserve another KeyPackage and commit again."}
}

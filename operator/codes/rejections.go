package codes

import "welcomed/delivery"

// A Rejection says in words why a device rejected a Welcome.
type Rejection struct {
	Means     string // a clause that stands behind "because" or a colon
	Developer string // what the developer of the app can do
	User      string // what the user can do
}

var rejections = map[delivery.Reason]Rejection{
	delivery.ReasonNoMatchingKeyPackage: {"it holds no private key for the KeyPackage",
		"the app lost the private key. It has to sync at its start, so that KeyPackages whose keys are lost are withdrawn before anybody uses them; a private key is saved before its KeyPackage is published.",
		"open the app once, then ask to be removed from the group and added again."},
	delivery.ReasonUndecryptable: {"it could not decrypt the Welcome",
		"the Welcome was made for another KeyPackage than its ref says, was damaged, or the two clients differ in how they read RFC 9420: `welcomed inspect` says what the Welcome is; compare the versions of both.",
		"ask to be removed from the group and added again."},
	delivery.ReasonDeclined: {"it declined: the user, or the app for them, did not want to join",
		"nothing failed here. If the user did not decline, the app did.",
		"ask to be added again, and accept."},
	delivery.ReasonUnsupported: {"it does not support what the group needs",
		"the group needs an extension, a proposal type, a credential type or a version that the KeyPackage's capabilities lack; the adder should have seen that in the KeyPackage (RFC 9420 §11.1).",
		"update the app, then ask to be added again."},
	delivery.ReasonOther: {"it gave no reason of those that are known",
		"look in the device's log at that time.",
		"ask to be added again."},
}

// OfRejection returns the words for a reason. For a reason that is not known it returns those
// of "other".
func OfRejection(r delivery.Reason) Rejection {
	if words, ok := rejections[r]; ok {
		return words
	}
	return rejections[delivery.ReasonOther]
}

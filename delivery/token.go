package delivery

import "time"

// A Token lets whoever has its secret act for a user, a user's device or a
// service. The secret is not kept, only its hash.
type Token struct {
	ID   string   // names it in lists and logs; no secret
	Hash [32]byte // SHA-256 of the secret

	Owner    TokenOwner
	ReadOnly bool // changes nothing
	// CreatedBy is the service that made it, empty if the operator did.
	CreatedBy string
	CreatedAt time.Time
	Expires   time.Time // zero: it does not
}

// A TokenOwner is whom a token acts for: a user, a device of a user, or a
// service, which may act for any user.
type TokenOwner struct {
	User    UserID
	Device  string // empty: any device of User
	Service string // if set, User and Device are not
}

// Valid returns [ErrBadIdentifier] with the reason unless o is a well-formed
// user, device or service.
func (o TokenOwner) Valid() error {
	switch {
	case o.Service != "" && o.User == "" && o.Device == "":
		return ValidIdentifier(o.Service)
	case o.Service == "" && o.Device == "":
		return ValidIdentifier(string(o.User))
	case o.Service == "":
		return DeviceID{o.User, o.Device}.Valid()
	}
	return ErrBadIdentifier
}

// String returns "user", "user/device" or "service name", for people.
func (o TokenOwner) String() string {
	switch {
	case o.Service != "":
		return "service " + o.Service
	case o.Device != "":
		return string(o.User) + "/" + o.Device
	}
	return string(o.User)
}

// Within reports whether o is the same or a part of it: a user's devices are
// within the user, and everybody is within the zero TokenOwner.
func (o TokenOwner) Within(within TokenOwner) bool {
	return within == TokenOwner{} || o == within || within.Service == "" && within.Device == "" && o.User == within.User
}

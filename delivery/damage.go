package delivery

// A DamagedKind says what kind of thing a store has found damaged.
type DamagedKind string

// The kinds.
const (
	DamagedKeyPackage DamagedKind = "key_package" // its bytes
	DamagedWelcome    DamagedKind = "welcome"     // what all recipients share
	DamagedRecipient  DamagedKind = "recipient"   // what one recipient of a Welcome has alone
)

// DamagedKinds lists every kind.
var DamagedKinds = []DamagedKind{DamagedKeyPackage, DamagedWelcome, DamagedRecipient}

// A DamagedPart is what a store has found damaged, and what ended because of it.
type DamagedPart struct {
	Kind  DamagedKind
	Name  string // the ref or the id in hexadecimal; the store's own name if that cannot be read
	Ended int    // recipients for whom a Welcome has ended
}

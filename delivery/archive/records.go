package archive

import (
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

const (
	formatName    = "welcomed-archive"
	formatVersion = 2

	// PieceBytes is how much of a payload one Data has at most.
	PieceBytes = 192 << 10
	// lineBytes is the longest line: a KeyPackage of 48 MiB fits.
	lineBytes = 64 << 20
	// orderMost is the highest order; what comes after it has to fit in 48 bits.
	orderMost = 1 << 47
	// reservationBits stand behind the order in what a reservation is called.
	reservationBits = 16
)

// A Record is one of the types below, as a pointer.
type Record interface {
	// name is the type of the line.
	name() string
	// check returns what is wrong with the record by itself.
	check() error
}

// Shelves says what becomes of what could be handed out.
type Shelves string

const (
	Retire Shelves = "retire"
	Keep   Shelves = "keep"
)

// A Header is the first record. Format, Version, WrittenAt and WrittenBy are filled
// in by a Writer.
type Header struct {
	Format    string    `json:"format"`
	Version   int       `json:"version"`
	WrittenAt time.Time `json:"written_at"`
	WrittenBy string    `json:"written_by"`
	SeenAt    time.Time `json:"seen_at"`
	// DatedAt is the latest time by which something is dated, if that is later: the clock
	// was ahead, and nobody knew yet whether it was right.
	DatedAt    time.Time `json:"dated_at,omitzero"`
	Shelves    Shelves   `json:"shelves"`
	RestoredAt time.Time `json:"restored_at,omitzero"`
	// RestoreEpoch is that of the store, see [delivery.Restore].
	RestoreEpoch string `json:"restore_epoch,omitzero"`
	// RestoredOrder is the order at that restore.
	RestoredOrder uint64 `json:"restored_order,omitzero"`
	Order         uint64 `json:"order"`
	// UserEncoding is how user ids are made of an identity provider's subjects; empty:
	// not at all.
	UserEncoding string `json:"user_encoding,omitzero"`
}

// A Device is one that exists, or that was removed and is not forgotten.
type Device struct {
	User       delivery.UserID `json:"user"`
	Device     string          `json:"device"`
	Life       uint64          `json:"life,omitzero"` // how many with that id there were before
	SeenAt     time.Time       `json:"seen_at,omitzero"`
	ClaimOrder uint64          `json:"claim_order,omitzero"`
	Removed    bool            `json:"removed,omitzero"`
	RemovedAt  time.Time       `json:"removed_at,omitzero"` // the last time; it may be back
	// Replaced is the order when the shelf of each suite was replaced last, by suite.
	Replaced []uint64 `json:"replaced,omitempty"`
	// LastResortsOnlySince is since when it has published nothing but last resorts.
	LastResortsOnlySince time.Time `json:"last_resorts_only_since,omitzero"`
	// Idle: it was not seen for so long that it is counted apart, see [delivery.IdleApart].
	Idle bool `json:"idle,omitzero"`
	// Hints are those about it that wait.
	Hints []Hint `json:"hints,omitempty"`
}

// A Hint is a [delivery.Hint] that waits.
type Hint struct {
	Channel delivery.HintChannel `json:"channel"`
	Kind    delivery.EventKind   `json:"kind"`
	ID      string               `json:"id"`
	At      time.Time            `json:"at"`
	Due     time.Time            `json:"due"`
	Attempt int                  `json:"attempt,omitzero"`
}

// ID returns the device's name.
func (d *Device) ID() delivery.DeviceID { return delivery.DeviceID{User: d.User, Name: d.Device} }

// A KeyPackage belongs to the Device before it. Times are those of a
// [delivery.KeyPackageRecord].
type KeyPackage struct {
	User           delivery.UserID `json:"user"`
	Device         string          `json:"device"`
	Ref            Ref             `json:"ref"`
	Suite          mls.CipherSuite `json:"cipher_suite"`
	LastResort     bool            `json:"last_resort,omitzero"`
	State          KeyPackageState `json:"state"`
	NotBefore      uint64          `json:"not_before,string"`
	NotAfter       uint64          `json:"not_after,string"`
	PublishedAt    time.Time       `json:"published_at"`
	ShelfUntil     time.Time       `json:"shelf_until,omitzero"`
	MatchableUntil time.Time       `json:"matchable_until,omitzero"`
	ReservedBy     string          `json:"reserved_by,omitzero"`
	ReservedAt     time.Time       `json:"reserved_at,omitzero"`
	Abandoned      bool            `json:"abandoned,omitzero"`
	HandedOutAt    time.Time       `json:"handed_out_at,omitzero"`
	EndedAt        time.Time       `json:"ended_at,omitzero"`
	ClosedAt       time.Time       `json:"closed_at,omitzero"`
	Open           int             `json:"open,omitzero"`
	BeforeRestore  bool            `json:"before_restore,omitzero"`
	NotYetValid    bool            `json:"not_yet_valid,omitzero"` // when a sweep has looked last
	// Reservation is the one that holds or held it. What a reservation is called is an
	// order with 16 bits of its time behind it.
	Reservation uint64 `json:"reservation,omitzero"`
	// GivenBack is the reservation that gave it back the last time.
	GivenBack       uint64                  `json:"given_back,omitzero"`
	GivenBackBy     string                  `json:"given_back_by,omitzero"`
	GivenBackAt     time.Time               `json:"given_back_at,omitzero"`
	GivenBackReason delivery.GiveBackReason `json:"given_back_reason,omitzero"`
	InitKey         Start                   `json:"init_key"`
	Bytes           []byte                  `json:"bytes,omitempty"` // bare
}

// A Welcome is what its recipients share.
type Welcome struct {
	ID          Hash            `json:"id"`
	PostedBy    string          `json:"posted_by,omitzero"` // Caller.ID
	Suite       mls.CipherSuite `json:"cipher_suite"`
	Recipients  int             `json:"recipients"`
	Hold        bool            `json:"hold,omitzero"`
	RequireAll  bool            `json:"require_all,omitzero"`
	PostedAt    time.Time       `json:"posted_at"`
	ReleasedAt  time.Time       `json:"released_at,omitzero"`
	CancelledAt time.Time       `json:"cancelled_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"` // of the last recipient that has ended so far
	HoldOverdue bool            `json:"hold_overdue,omitzero"`
	Context     []byte          `json:"context,omitempty"`
	GroupInfo   int             `json:"encrypted_group_info_size,omitzero"` // 0 when the payload was put away
	Tree        int             `json:"ratchet_tree_size,omitzero"`         // as posted
	TreeHash    Hash            `json:"ratchet_tree_sha256,omitzero"`
}

// A Part is a payload that the recipients of a Welcome share.
type Part string

const (
	GroupInfo Part = "encrypted_group_info"
	Tree      Part = "ratchet_tree"
)

// Data is a piece of a payload of the Welcome before it.
type Data struct {
	Welcome Hash   `json:"welcome"`
	Of      Part   `json:"of"`
	Bytes   []byte `json:"bytes"`
}

// A Recipient is an entry of secrets[] of the Welcome before it: a mismatch, or
// what became of it.
type Recipient struct {
	Welcome Hash            `json:"welcome"`
	Index   int             `json:"index"`
	Ref     Ref             `json:"ref"`
	Status  delivery.Status `json:"status"`
	Matched bool            `json:"matched,omitzero"`
	// User and Device are set where it matched, or where the poster may know.
	User   delivery.UserID `json:"user,omitzero"`
	Device string          `json:"device,omitzero"`
	Life   uint64          `json:"life,omitzero"`
	By     Hash            `json:"by,omitzero"`      // the poster's own Welcome that took the KeyPackage
	Secret []byte          `json:"secret,omitempty"` // what follows the ref in EncryptedGroupSecrets
	// Last: no other Welcome has matched the KeyPackage after this one.
	Last bool `json:"last,omitzero"`
	// Forgotten: it has ended so long ago that its KeyPackage is not here any more,
	// or another with the same ref is.
	Forgotten bool `json:"forgotten,omitzero"`

	Size        int64           `json:"size,omitzero"`
	Order       uint64          `json:"order,omitzero"`
	ReleasedAt  time.Time       `json:"released_at,omitzero"`
	DeliveredAt time.Time       `json:"delivered_at,omitzero"`
	WithheldAt  time.Time       `json:"withheld_at,omitzero"`
	EndedAt     time.Time       `json:"ended_at,omitzero"`
	Until       time.Time       `json:"until,omitzero"` // when it expires or lapses
	Reason      delivery.Reason `json:"reason,omitzero"`
	Detail      string          `json:"detail,omitzero"`
}

// ID returns the name of the recipient's device; its zero value if it has none.
func (r *Recipient) ID() delivery.DeviceID { return delivery.DeviceID{User: r.User, Name: r.Device} }

// State returns what became of a recipient that matched.
func (r *Recipient) State() delivery.WelcomeState {
	for _, s := range delivery.WelcomeStates {
		if s.Status() == r.Status {
			return s
		}
	}
	return 0
}

// A Token is a [delivery.Token].
type Token struct {
	ID        string          `json:"id"`
	Hash      Hash            `json:"sha256"`
	User      delivery.UserID `json:"user,omitzero"`
	Device    string          `json:"device,omitzero"`
	Service   string          `json:"service,omitzero"`
	ReadOnly  bool            `json:"read_only,omitzero"`
	CreatedBy string          `json:"created_by,omitzero"`
	CreatedAt time.Time       `json:"created_at,omitzero"`
	ExpiresAt time.Time       `json:"expires_at,omitzero"`
}

// Owner returns whom the token acts for.
func (t *Token) Owner() delivery.TokenOwner {
	return delivery.TokenOwner{User: t.User, Device: t.Device, Service: t.Service}
}

// A Reservation is an answer that is kept so that a retry gets it again.
type Reservation struct {
	Key         Key             `json:"key"`
	Request     Hash            `json:"request"`
	ExpiresAt   time.Time       `json:"expires_at"`
	Reservation uint64          `json:"reservation,omitzero"`
	Suite       mls.CipherSuite `json:"cipher_suite,omitzero"`
	Users       []ReservedUser  `json:"users,omitempty"`
}

// A ReservedUser is the answer for one user.
type ReservedUser struct {
	User    delivery.UserID            `json:"user"`
	Status  delivery.UserReserveStatus `json:"status"`
	Devices []ReservedDevice           `json:"devices,omitempty"`
}

// A ReservedDevice is the answer for one device; Ref is empty unless something was
// reserved.
type ReservedDevice struct {
	Device     string                       `json:"device"`
	Status     delivery.DeviceReserveStatus `json:"status"`
	Ref        Ref                          `json:"ref,omitzero"`
	Suites     []mls.CipherSuite            `json:"cipher_suites,omitempty"`
	UsableFrom time.Time                    `json:"usable_from,omitzero"`
	IdleSince  time.Time                    `json:"idle_since,omitzero"`
}

// end is the last line.
type end struct {
	Counts Counts `json:"counts"`
	SHA256 Hash   `json:"sha256"`
}

// Counts are how many lines of each type there are.
type Counts struct {
	Devices      int `json:"device"`
	KeyPackages  int `json:"key_package"`
	Welcomes     int `json:"welcome"`
	Data         int `json:"data"`
	Recipients   int `json:"recipient"`
	Tokens       int `json:"token"`
	Reservations int `json:"reservation"`
}

func (*Header) name() string      { return "header" }
func (*Device) name() string      { return "device" }
func (*KeyPackage) name() string  { return "key_package" }
func (*Welcome) name() string     { return "welcome" }
func (*Data) name() string        { return "data" }
func (*Recipient) name() string   { return "recipient" }
func (*Token) name() string       { return "token" }
func (*Reservation) name() string { return "reservation" }
func (*end) name() string         { return "end" }

// newRecord returns an empty record of a type; nil if there is none.
func newRecord(name string) Record {
	for _, r := range []Record{new(Header), new(Device), new(KeyPackage), new(Welcome), new(Data), new(Recipient), new(Token), new(Reservation), new(end)} {
		if r.name() == name {
			return r
		}
	}
	return nil
}

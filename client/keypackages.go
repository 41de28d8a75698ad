package client

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// A DeviceID names a device of a user.
type DeviceID struct {
	User string `json:"user"`
	Name string `json:"device"`
}

// String returns "user/device", as [Client.OnBehalfOf] has it.
func (d DeviceID) String() string { return d.User + "/" + d.Name }

func (d DeviceID) path(more ...string) string {
	return path(append([]string{"users", d.User, "devices", d.Name}, more...)...)
}

// A KeyPackage is what the server says of one.
type KeyPackage struct {
	Ref         string `json:"ref"` // KeyPackageRef in hexadecimal
	CipherSuite uint16 `json:"cipher_suite"`
	LastResort  bool   `json:"last_resort"`
	NotBefore   uint64 `json:"not_before,string"` // seconds since 1970
	NotAfter    uint64 `json:"not_after,string"`
}

// A PublishedStatus says what a publication did with one KeyPackage.
type PublishedStatus string

// What a publication does with a KeyPackage.
const (
	PublishedStored          PublishedStatus = "stored"
	PublishedAlreadyStored   PublishedStatus = "already_stored"    // before; nothing changed
	PublishedSpent           PublishedStatus = "spent"             // it was used up before
	PublishedNotAfterRestore PublishedStatus = "not_after_restore" // kept, but handed out to nobody: make a new one
	PublishedNotYetValid     PublishedStatus = "not_yet_valid"     // handed out from UsableFrom on
	PublishedTooShortLived   PublishedStatus = "too_short_lived"   // kept, but handed out to nobody
	PublishedSuperseded      PublishedStatus = "superseded"        // by another last resort of the same publication
)

// A PublishedKeyPackage is the answer for one KeyPackage of a publication.
type PublishedKeyPackage struct {
	KeyPackage
	Status     PublishedStatus `json:"status"`
	OffShelfBy time.Time       `json:"off_shelf_by"` // at the latest; zero if it is not on the shelf
	UsableFrom time.Time       `json:"usable_from"`  // zero: now
}

// A Stock is what a device has on its shelf, last resorts not counted.
type Stock struct {
	Available   int  `json:"available"`
	NotYetValid int  `json:"not_yet_valid"` // on the shelf too, and can be handed out later
	Low         bool `json:"low"`           // the server advises to publish more
}

// A Shelf is a [Stock] as the answer to a publication has it.
type Shelf struct {
	Stock
	Room int `json:"room"` // how many more the shelf takes
}

// Publications answers [Client.Publish] and [Client.Replace].
type Publications struct {
	KeyPackages  []PublishedKeyPackage `json:"key_packages"` // in the order of the request
	Stock        Shelf                 `json:"stock"`
	RestoreEpoch string                `json:"restore_epoch"`
}

type publicationBody struct {
	KeyPackages [][]byte `json:"key_packages"`
}

// Publish puts KeyPackages on the shelf of a device, all or none. Save their private keys
// first. What was published before is published once.
//
// restoreEpoch is the RestoreEpoch that was read before the KeyPackages were made, or "".
// After the operator has restored a backup, the server hands out only KeyPackages that were
// made after it, and by this it knows them.
func (c *Client) Publish(ctx context.Context, device DeviceID, restoreEpoch string, keyPackages ...[]byte) (p Publications, err error) {
	return c.publish(ctx, http.MethodPost, device, epochQuery(restoreEpoch), keyPackages)
}

// Replace takes everything off the shelf of a device, or what is of one cipher suite if that
// is not 0, and publishes other KeyPackages, of which there may be none. An app rarely needs
// it: it publishes what is missing.
func (c *Client) Replace(ctx context.Context, device DeviceID, cipherSuite uint16, restoreEpoch string, keyPackages ...[]byte) (p Publications, err error) {
	query := epochQuery(restoreEpoch)
	if cipherSuite != 0 {
		query.Set("cipher_suite", strconv.Itoa(int(cipherSuite)))
	}
	return c.publish(ctx, http.MethodPut, device, query, keyPackages)
}

func epochQuery(restoreEpoch string) url.Values {
	query := url.Values{}
	if restoreEpoch != "" {
		query.Set("restore_epoch", restoreEpoch)
	}
	return query
}

func (c *Client) publish(ctx context.Context, method string, device DeviceID, query url.Values, keyPackages [][]byte) (p Publications, err error) {
	if keyPackages == nil {
		keyPackages = [][]byte{} // a list that is there
	}
	r := call{method: method, path: device.path("key-packages"), query: query}
	return p, c.do(ctx, r.withJSON(publicationBody{keyPackages}), &p)
}

// Counts are of the KeyPackages of one cipher suite, by their state, last resorts included.
type Counts struct {
	CipherSuite uint16 `json:"cipher_suite"`
	Available   int    `json:"available"`     // can be handed out
	NotYetValid int    `json:"not_yet_valid"` // on the shelf, and can be handed out later
	Reserved    int    `json:"reserved"`      // handed out to one adder
	Retired     int    `json:"retired"`       // off the shelf; a Welcome may still name it
	Matched     int    `json:"matched"`       // a Welcome waits
	Delivered   int    `json:"delivered"`     // a Welcome was claimed and is not settled
}

// A LastResort is a last-resort KeyPackage on the shelf.
type LastResort struct {
	Ref         string    `json:"ref"`
	CipherSuite uint16    `json:"cipher_suite"`
	HandedOutAt time.Time `json:"handed_out_at"` // zero: never. Else publish a new one
	UsableFrom  time.Time `json:"usable_from"`   // zero: now
}

// A ReturnedKeyPackage was reserved, and given back.
type ReturnedKeyPackage struct {
	Ref         string         `json:"ref"`
	CipherSuite uint16         `json:"cipher_suite"`
	GivenBackAt time.Time      `json:"given_back_at"`
	Reason      GiveBackReason `json:"reason"`
}

// An Inventory is what the server knows of a device's KeyPackages.
type Inventory struct {
	Counts     []Counts             `json:"counts"` // by cipher suite
	LastResort []LastResort         `json:"last_resort"`
	GivenBack  []ReturnedKeyPackage `json:"given_back"`
	// Refs are those whose private keys the device still needs.
	Refs         []string `json:"refs"`
	Digest       string   `json:"digest"` // of Refs, see [Digest]
	RestoreEpoch string   `json:"restore_epoch"`
}

// Inventory returns what the server knows of a device's KeyPackages.
func (c *Client) Inventory(ctx context.Context, device DeviceID) (i Inventory, err error) {
	return i, c.do(ctx, call{method: http.MethodGet, path: device.path("key-packages")}, &i)
}

// A Comparison answers [Client.Compare].
type Comparison struct {
	InSync bool     `json:"in_sync"`
	Counts []Counts `json:"counts"`
}

// Compare asks whether the server believes that the device holds the private keys that it
// holds. The digest is that of their refs, see [Digest]. The request has the same size for
// any number of them.
func (c *Client) Compare(ctx context.Context, device DeviceID, digest string) (a Comparison, err error) {
	r := call{method: http.MethodPost, path: device.path("key-packages", "sync")}
	return a, c.do(ctx, r.withJSON(map[string]string{"digest": digest}), &a)
}

// Synced answers [Client.Sync].
type Synced struct {
	Withdrawn []string `json:"withdrawn"` // refs that were not named
	// WithdrawnFresh is how many of Withdrawn were on the shelf and less than a day old. If
	// this installation has lost no keys, another one uses its device id.
	WithdrawnFresh int      `json:"withdrawn_fresh"`
	Unknown        []string `json:"unknown"` // publish these
	Spent          []string `json:"spent"`   // the private keys of these may be deleted
	Digest         string   `json:"digest"`  // of the inventory now
}

// Sync tells the server of which KeyPackages the device holds the private keys. The server
// withdraws all others, so read digest with [Client.Inventory] before you look at what you
// hold. CodeInventoryChanged says that something was published or used up in between, or
// that a repeated request had succeeded the first time: begin again. If refs is empty, all
// is withdrawn.
func (c *Client) Sync(ctx context.Context, device DeviceID, digest string, refs []string) (s Synced, err error) {
	r := call{
		method: http.MethodPost, path: device.path("key-packages", "sync"),
		header: map[string]string{"If-Match": `"` + digest + `"`},
	}
	if len(refs) == 0 {
		r.query, refs = url.Values{"all": {"1"}}, []string{}
	}
	return s, c.do(ctx, r.withJSON(map[string][]string{"refs": refs}), &s)
}

// Withdraw takes one KeyPackage back. Welcomes that wait for it end.
func (c *Client) Withdraw(ctx context.Context, device DeviceID, ref string) error {
	return c.do(ctx, call{method: http.MethodDelete, path: device.path("key-packages", ref)}, nil)
}

// Give makes device the owner of a KeyPackage that another device has published as its own,
// as may happen after a restore. Only a service may do this.
func (c *Client) Give(ctx context.Context, device DeviceID, ref string) error {
	return c.do(ctx, call{method: http.MethodPut, path: device.path("key-packages", ref)}, nil)
}

// A KeyPackageState is what became of a KeyPackage. Times that have not come are zero.
type KeyPackageState struct {
	KeyPackage
	User             string    `json:"user"`
	Device           string    `json:"device"`
	State            string    `json:"state"` // available, reserved, retired, matched, consumed, expired or withdrawn
	PublishedAt      time.Time `json:"published_at"`
	ReservedAt       time.Time `json:"reserved_at"`
	HandedOutAt      time.Time `json:"handed_out_at"`
	UsableFrom       time.Time `json:"usable_from"`
	EndedAt          time.Time `json:"ended_at"`
	MatchedByWelcome string    `json:"matched_by_welcome"`
}

// KeyPackage returns what became of a KeyPackage, for its owner, who has reserved it, and
// who has posted a Welcome for it.
func (c *Client) KeyPackage(ctx context.Context, ref string) (k KeyPackageState, err error) {
	return k, c.do(ctx, call{method: http.MethodGet, path: path("key-packages", ref)}, &k)
}

// An OfferedKeyPackage is one with which its device can be added to a group. Check its
// credential: the server cannot.
type OfferedKeyPackage struct {
	KeyPackage
	OffShelfBy time.Time `json:"off_shelf_by"` // in a list: at the latest
	Bytes      []byte    `json:"bytes"`        // bare
}

// ListOptions narrow [Client.List]. The zero value lists all.
type ListOptions struct {
	CipherSuites []uint16
	Devices      []string
	Limit        int    // KeyPackages in one answer; 0: the server's
	After        string // Next of the answer before
}

// A Listing is one page of what is on a user's shelves.
type Listing struct {
	User    string         `json:"user"`
	Devices []ListedDevice `json:"devices"`
	Next    string         `json:"next"` // for ListOptions.After; empty: this is the last page
}

// A ListedDevice is the part of a [Listing] that is of one device.
type ListedDevice struct {
	Device      string              `json:"device"`
	KeyPackages []OfferedKeyPackage `json:"key_packages"`
}

// List returns what is on the shelves of a user's devices. It reserves nothing: another
// adder may choose the same. [Client.Reserve] is better for nearly everybody.
func (c *Client) List(ctx context.Context, user string, o ListOptions) (l Listing, err error) {
	query := url.Values{"device": o.Devices}
	for _, suite := range o.CipherSuites {
		query.Add("cipher_suite", strconv.Itoa(int(suite)))
	}
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	if o.After != "" {
		query.Set("after", o.After)
	}
	return l, c.do(ctx, call{method: http.MethodGet, path: path("users", user, "key-packages"), query: query}, &l)
}

// A Reserving says of which devices KeyPackages are asked for: of all devices of Users, and
// of Devices, but not of Except and not of the device that asks.
type Reserving struct {
	Users        []string   `json:"users,omitempty"`
	Devices      []DeviceID `json:"devices,omitempty"`
	Except       []DeviceID `json:"except,omitempty"`
	CipherSuites []uint16   `json:"cipher_suites,omitempty"` // by preference; none: any
	// MaxIdleDays leaves out devices that were not seen for so many days, 30 or more; 0: none.
	MaxIdleDays int `json:"max_idle_days,omitempty"`
	// IdempotencyKey has the server answer a repeated request with the same KeyPackages.
	// Empty: each call of Reserve has a key of its own, so that only its own repeats are
	// answered so. Choose one to call Reserve again after a crash.
	IdempotencyKey string `json:"-"`
}

// A Reservation answers [Client.Reserve]. Its KeyPackages are all of one cipher suite.
type Reservation struct {
	ID          string         `json:"reservation"`  // for [Client.GiveBack]; empty if there is nothing to give back
	CipherSuite uint16         `json:"cipher_suite"` // 0: nothing was reserved
	Users       []ReservedUser `json:"users"`
}

// A ReservedUser is the part of a [Reservation] that is of one user.
type ReservedUser struct {
	User    string           `json:"user"`
	Status  string           `json:"status"` // success, partial, exhausted, incompatible, left_out or unknown_user
	Devices []ReservedDevice `json:"devices"`
}

// A DeviceStatus says what a reservation got of one device.
type DeviceStatus string

// What a reservation gets of a device. docs/lifecycle.md says what to do.
const (
	DeviceReserved     DeviceStatus = "reserved"
	DeviceLastResort   DeviceStatus = "last_resort"    // others may have it too
	DeviceExhausted    DeviceStatus = "exhausted"      // add it later
	DeviceNotYetValid  DeviceStatus = "not_yet_valid"  // try again at UsableFrom
	DeviceIncompatible DeviceStatus = "incompatible"   // it has CipherSuites only
	DeviceUnknown      DeviceStatus = "unknown_device" // leave it out
	DeviceIdle         DeviceStatus = "idle"           // longer than MaxIdleDays
	DeviceGivenBack    DeviceStatus = "given_back"     // since the first time this was asked
	DeviceDamaged      DeviceStatus = "damaged"        // since then, on the server
)

// A ReservedDevice is the part of a [Reservation] that is of one device.
type ReservedDevice struct {
	Device       string             `json:"device"`
	Status       DeviceStatus       `json:"status"`
	KeyPackage   *OfferedKeyPackage `json:"key_package"` // nil unless reserved or last_resort
	CipherSuites []uint16           `json:"cipher_suites"`
	UsableFrom   time.Time          `json:"usable_from"`
	IdleSince    time.Time          `json:"idle_since"` // zero: it was seen in the last 30 days
}

// KeyPackages returns all that was reserved, for the MLS library to add.
func (r Reservation) KeyPackages() (all []OfferedKeyPackage) {
	for _, u := range r.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil {
				all = append(all, *d.KeyPackage)
			}
		}
	}
	return all
}

// Reserve gets a KeyPackage of each device. Nobody else is given these, unless they are
// given back, but for those of last resort.
//
// If a user's budget is used up, the error has CodePairBudget, and its Detail names the
// user: reserve again without them. A device of which nothing could be reserved is no error;
// it has another Status.
func (c *Client) Reserve(ctx context.Context, what Reserving) (r Reservation, err error) {
	key := what.IdempotencyKey
	if key == "" {
		key = rand.Text()
	}
	request := call{
		method: http.MethodPost, path: path("key-packages", "reserve"),
		header: map[string]string{"Idempotency-Key": key},
	}
	return r, c.do(ctx, request.withJSON(what), &r)
}

// A GiveBackReason says why KeyPackages are given back.
type GiveBackReason string

// Why KeyPackages are given back. With any other than the first nobody is given them again.
const (
	GiveBackUnused       GiveBackReason = "unused"
	GiveBackIncompatible GiveBackReason = "incompatible"
	GiveBackInvalid      GiveBackReason = "invalid"
)

// A GivenBack is what became of a KeyPackage that was given back.
type GivenBack struct {
	Ref    string `json:"ref"`
	Status string `json:"status"` // given_back, used, ended, last_resort or not_held
}

// GiveBack returns KeyPackages of a reservation, all that it still holds if refs is empty.
// Give back only what no group and no Commit will use. An empty reason is GiveBackUnused.
func (c *Client) GiveBack(ctx context.Context, reservation string, reason GiveBackReason, refs ...string) ([]GivenBack, error) {
	body := struct {
		Reservation string         `json:"reservation"`
		Refs        []string       `json:"refs,omitempty"`
		Reason      GiveBackReason `json:"reason,omitempty"`
	}{reservation, refs, reason}
	var a struct {
		KeyPackages []GivenBack `json:"key_packages"`
	}
	r := call{method: http.MethodPost, path: path("key-packages", "give-back")}
	err := c.do(ctx, r.withJSON(body), &a)
	return a.KeyPackages, err
}

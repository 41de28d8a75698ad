package harness

import (
	"context"
	"net/url"
)

// A Device is named as the API names it.
type Device struct {
	User string `json:"user"`
	Name string `json:"device"`
}

// String returns USER/DEVICE.
func (d Device) String() string { return d.User + "/" + d.Name }

// Path returns the path of the device.
func (d Device) Path() string {
	return UserPath(d.User) + "/devices/" + url.PathEscape(d.Name)
}

// Shelf returns the path of its KeyPackages.
func (d Device) Shelf() string { return d.Path() + "/key-packages" }

// Claim returns the path of a claim.
func (d Device) Claim() string { return d.Path() + "/claim" }

// Acknowledgement returns the path on which the device says that it has joined with a
// Welcome; Rejection, that it could not; Tree, of the ratchet tree of a Welcome.
func (d Device) Acknowledgement(id string) string { return d.welcome(id) + "/ack" }

// Rejection returns the path on which the device says that it could not join.
func (d Device) Rejection(id string) string { return d.welcome(id) + "/reject" }

// Tree returns the path of the ratchet tree that belongs to a Welcome.
func (d Device) Tree(id string) string { return d.welcome(id) + "/ratchet-tree" }

func (d Device) welcome(id string) string { return d.Path() + "/welcomes/" + id }

// Paths of the API that are of no device.
const (
	About       = "/v1"
	Reserve     = "/v1/key-packages/reserve"
	GiveBack    = "/v1/key-packages/give-back"
	AllWelcomes = "/v1/welcomes"
)

// UserPath returns the path of a user.
func UserPath(user string) string { return "/v1/users/" + url.PathEscape(user) }

// ListPath returns that of what all devices of a user have on their shelves.
func ListPath(user string) string { return UserPath(user) + "/key-packages" }

// KeyPackagePath returns the path of what became of a KeyPackage.
func KeyPackagePath(ref string) string { return "/v1/key-packages/" + ref }

// WelcomePath returns the path of what became of a Welcome.
func WelcomePath(id string) string { return AllWelcomes + "/" + id }

// ReleasePath returns that of its release.
func ReleasePath(id string) string { return WelcomePath(id) + "/release" }

// A Publishing is the body of a publication.
type Publishing struct {
	KeyPackages [][]byte `json:"key_packages"`
}

// A Reserving is the body of a reservation.
type Reserving struct {
	Users   []string `json:"users,omitempty"`
	Devices []Device `json:"devices,omitempty"`
	Except  []Device `json:"except,omitempty"`
	Suites  []int    `json:"cipher_suites,omitempty"`
}

// A Posting is the body of a post that is more than a Welcome.
type Posting struct {
	Welcome     []byte `json:"welcome"`
	RatchetTree []byte `json:"ratchet_tree,omitempty"`
	Context     []byte `json:"context,omitempty"`
}

// A Claiming is the body of a claim.
type Claiming struct {
	Refs *[]string `json:"refs,omitempty"` // nil: of all KeyPackages
	Skip []string  `json:"skip,omitempty"`
	Max  int       `json:"max,omitempty"`
}

// A Problem is what a refusal says.
type Problem struct{ Code, Detail string }

// An Item is one KeyPackage in the answer to a publication, or one that is handed out.
type Item struct {
	Ref        string
	Status     string
	LastResort bool `json:"last_resort"`
	Bytes      []byte
}

// Published is the answer to a publication.
type Published struct {
	KeyPackages []Item `json:"key_packages"`
	Stock       struct{ Available int }
	Epoch       string `json:"restore_epoch"`
}

// An Inventory is what a device has.
type Inventory struct {
	Counts     []struct{ Available, Reserved, Retired, Matched, Delivered int }
	LastResort []Item `json:"last_resort"`
	Refs       []string
	Digest     string
	Epoch      string `json:"restore_epoch"`
}

// A Listing is what is on the shelves of a user.
type Listing struct {
	Devices []struct {
		Device      string
		KeyPackages []Item `json:"key_packages"`
	}
	Next string
}

// A Reservation is the answer to one.
type Reservation struct {
	ID    string `json:"reservation"`
	Users []struct {
		User, Status string
		Devices      []struct {
			Device, Status string
			KeyPackage     *Item `json:"key_package"`
		}
	}
}

// An Outcome is what a poster is told of a Welcome.
type Outcome struct {
	ID         string
	Cancelled  bool
	Recipients []struct{ Ref, Status, User, Device string }
}

// A Delivery is one Welcome in the answer to a claim.
type Delivery struct {
	ID, Ref         string
	Welcome         []byte
	Context         []byte
	RatchetTree     []byte `json:"ratchet_tree"`
	RatchetTreeSize int    `json:"ratchet_tree_size"`
	Redelivered     bool
}

// Claimed is the answer to a claim.
type Claimed struct {
	Welcomes []Delivery
	More     bool
}

// Publish publishes KeyPackages of a device.
func (c *Client) Publish(ctx context.Context, d Device, keyPackages ...[]byte) (p Published, err error) {
	return p, c.Do(ctx, "POST", d.Shelf(), Publishing{keyPackages}, &p)
}

// Inventory returns what a device has.
func (c *Client) Inventory(ctx context.Context, d Device) (i Inventory, err error) {
	return i, c.Do(ctx, "GET", d.Shelf(), nil, &i)
}

// Reserve reserves a KeyPackage of each device that is named.
func (c *Client) Reserve(ctx context.Context, what Reserving) (r Reservation, err error) {
	return r, c.Do(ctx, "POST", Reserve, what, &r)
}

// Post posts a Welcome. A query is empty, or begins with a question mark.
func (c *Client) Post(ctx context.Context, welcome []byte, query string) (o Outcome, err error) {
	return o, c.Do(ctx, "POST", AllWelcomes+query, welcome, &o)
}

// Claim claims what waits for a device; what is nil, or a Claiming.
func (c *Client) Claim(ctx context.Context, d Device, what any) (g Claimed, err error) {
	return g, c.Do(ctx, "POST", d.Claim(), what, &g)
}

// Acknowledge says that a device has joined with a Welcome.
func (c *Client) Acknowledge(ctx context.Context, d Device, id string) error {
	return c.Do(ctx, "POST", d.Acknowledgement(id), nil, nil)
}

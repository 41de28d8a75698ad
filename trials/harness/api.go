package harness

import (
	"net/url"

	"welcomed/client"
)

// A Device has the paths of a device.
type Device client.DeviceID

// ID returns the device as the Go client names it.
func (d Device) ID() client.DeviceID { return client.DeviceID(d) }

// String returns USER/DEVICE.
func (d Device) String() string { return d.ID().String() }

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

// A Claiming is the body of a claim.
type Claiming struct {
	Refs *[]string `json:"refs,omitempty"` // nil: of all KeyPackages
	Skip []string  `json:"skip,omitempty"`
	Max  int       `json:"max,omitempty"`
}

package load

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

const (
	mediaJSON = "application/json"
	mediaMLS  = "message/mls"
)

// An object is a KeyPackage and then the Welcome for it.
type object struct {
	device     *device
	keyPackage []byte
	ref        mls.KeyPackageRef // of the KeyPackage that was reserved
	welcome    []byte            // as it is posted
	slice      []byte            // as the joiner has to get it
	id         string            // of the Welcome, once it is claimed
	claimed    atomic.Bool
}

// newObjects makes n KeyPackages, for each device in turn.
func (d *Driver) newObjects(ctx context.Context, devices []*device, n int) ([]*object, error) {
	objects, now := make([]*object, n), time.Now()
	err := d.prepare(ctx, "signing KeyPackages", n, func(i int) {
		owner := devices[i%len(devices)]
		objects[i] = &object{device: owner, keyPackage: owner.keyPackage(now)}
	})
	return objects, err
}

// publishing returns the request that publishes KeyPackages: raw if it is one.
func (d *Driver) publishing(owner *device, keyPackages ...[]byte) []byte {
	owner.used.Store(true)
	if len(keyPackages) == 1 {
		return d.target.request("POST", d.target.shelf(owner), mediaMLS, keyPackages[0])
	}
	body, err := json.Marshal(map[string][][]byte{"key_packages": keyPackages})
	if err != nil {
		panic(err) // bytes always encode
	}
	return d.target.request("POST", d.target.shelf(owner), mediaJSON, body)
}

// published checks that n KeyPackages were stored.
func published(a answer, n int) error {
	return a.all(http.StatusCreated, `"status":"stored"`, n)
}

// all returns an error unless the answer has the status, and the words n times.
func (a answer) all(status int, words string, n int) error {
	if err := a.expect(status); err != nil {
		return err
	}
	if found := bytes.Count(a.body, []byte(words)); found != n {
		return fmt.Errorf("the server answered with %d times %s instead of %d", found, words, n)
	}
	return nil
}

// reserving returns the request that reserves one KeyPackage of each device.
func (d *Driver) reserving(devices ...*device) []byte {
	b := []byte(`{"devices":[`)
	for i, one := range devices {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"user":"`+one.user+`","device":"`+deviceName+`"}`...)
	}
	b = append(b, `],"cipher_suites":[`+strconv.Itoa(int(d.suite))+`]}`...)
	return d.target.request("POST", "/v1/key-packages/reserve", mediaJSON, b)
}

// A reserved is what a reservation says of one device.
type reserved struct {
	user, status string
	ref          mls.KeyPackageRef // empty if there was no KeyPackage
}

// readReservation reads the body of an answer to reserving.
func readReservation(body []byte) ([]reserved, error) {
	var a struct {
		Users []struct {
			User    string
			Devices []struct {
				Status     string
				KeyPackage struct{ Ref string } `json:"key_package"`
			}
		}
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("read the reservation: %w", err)
	}
	list := make([]reserved, 0, len(a.Users))
	for _, u := range a.Users {
		for _, one := range u.Devices {
			ref, err := hex.DecodeString(one.KeyPackage.Ref)
			if err != nil {
				return nil, fmt.Errorf("read the reservation: %w", err)
			}
			list = append(list, reserved{u.User, one.Status, mls.KeyPackageRef(ref)})
		}
	}
	return list, nil
}

// posting returns the request that posts a Welcome.
func (d *Driver) posting(welcome []byte, hold bool) []byte {
	path := "/v1/welcomes"
	if hold {
		path += "?hold=1&require=all"
	}
	return d.target.request("POST", path, mediaMLS, welcome)
}

// claiming returns the request that claims one raw Welcome, and waits for it.
func (d *Driver) claiming(owner *device, wait time.Duration) []byte {
	path := owner.path() + "/claim"
	if wait > 0 {
		path += "?wait=" + wait.String()
	}
	return d.target.request("POST", path, "", nil, "Accept: "+mediaMLS)
}

func (d *Driver) acknowledging(owner *device, id string) []byte {
	return d.target.request("POST", owner.path()+"/welcomes/"+id+"/ack", "", nil)
}

// invite makes the Welcome for one object alone.
func (d *Driver) invite(o *object) {
	o.welcome = mls.Wrap(mls.WireFormatWelcome, mlstest.Welcome(d.suite, o.ref))
	o.slice = o.welcome
}

// expected are the objects whose Welcomes may come back, by ref in hexadecimal.
type expected map[string]*object

func newExpected(objects []*object) expected {
	m := make(expected, len(objects))
	for _, o := range objects {
		m[o.ref.String()] = o
	}
	return m
}

// receive checks that what was claimed is a Welcome for the device, as it was
// posted, and for the first time.
func (m expected) receive(a answer, owner *device) (*object, error) {
	if err := a.expect(http.StatusOK); err != nil {
		return nil, err
	}
	ref := a.header.Get("Key-Package-Ref")
	o := m[ref]
	switch {
	case o == nil || o.device != owner:
		return nil, fmt.Errorf("%s was given a Welcome for %q, which is not for it", owner.user, ref)
	case o.claimed.Swap(true) || a.header.Get("Welcome-Redelivered") != "false":
		return nil, fmt.Errorf("the Welcome for %s was delivered twice", ref)
	case !bytes.Equal(a.body, o.slice):
		return nil, fmt.Errorf("the Welcome for %s is not the one that was posted", ref)
	}
	o.id = a.header.Get("Welcome-Id")
	return o, nil
}

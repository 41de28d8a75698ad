package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"

	api "welcomed/client"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// An owner looks after the shelf of a device.
type owner struct {
	*client
	device *device
	signer *mlstest.Signer
	made   []*keyPackage // the newest last
	stock  int           // as the server said last
	epoch  string        // of the last restore, as the server said last
}

// fullShelf is the stock with which an owner is content.
const fullShelf = 30

func (r *run) newOwner(d *device) *owner {
	return &owner{client: r.newClient("owner of " + d.id.String()), device: d, signer: mlstest.NewSigner(d.suite, d.id.String())}
}

func (d *device) path() harness.Device {
	return harness.Device{User: string(d.id.User), Name: d.id.Name}
}

// act does one thing.
func (o *owner) act() error {
	switch n := o.rng.IntN(100); {
	case o.stock < fullShelf && n < 55:
		return o.publish()
	case n < 60:
		return o.replace()
	case n < 70:
		return o.withdraw()
	case n < 76:
		return o.sync()
	case n < 84:
		return o.status(o.any())
	case n < 91:
		_, _, err := o.inventory()
		return err
	case n < 98:
		return o.list(o.device.id.User)
	case n == 98:
		return o.remove()
	}
	return nil
}

// make returns n new KeyPackages; now and then one is a last resort.
func (o *owner) make(n int) []*keyPackage {
	list := make([]*keyPackage, n)
	for i := range list {
		var options []mlstest.Option
		last := i == 0 && o.chance(15)
		if last {
			options = append(options, mlstest.LastResort())
		}
		list[i] = o.run.books.addKeyPackage(o.device, o.signer.KeyPackage(options...), last)
		list[i].epoch = o.epoch
	}
	o.made = append(o.made, list...)
	o.made = o.made[max(0, len(o.made)-100):]
	return list
}

// any returns one of the last KeyPackages made; nil if there are none.
func (o *owner) any() *keyPackage {
	if len(o.made) == 0 {
		return nil
	}
	return o.made[o.rng.IntN(len(o.made))]
}

func (o *owner) publish() error {
	list := o.make(o.between(1, 8))
	if old := o.any(); o.chance(20) && !slices.Contains(list, old) {
		list = append(list, old)
	}
	q := request{method: "POST", path: o.device.path().Shelf(), media: mediaMLS, body: list[0].bytes}
	if len(list) > 1 {
		q.media, q.body = mediaJSON, publication(list)
	}
	r := &record{what: publish, device: o.device, sent: list}
	q.path += o.name(r)
	return o.ask(q, r, o.readPublication)
}

// name has most publications name the restore epoch, if all was made after the device
// had read it, and returns the query that does.
func (o *owner) name(r *record) string {
	older := func(kp *keyPackage) bool { return kp.epoch != o.epoch }
	if o.epoch == "" || slices.ContainsFunc(r.sent, older) || o.chance(10) {
		return "?"
	}
	r.epoch = o.epoch
	return "?restore_epoch=" + o.epoch
}

func publication(list []*keyPackage) []byte {
	items := make([][]byte, len(list))
	for i, kp := range list {
		items[i] = kp.bytes
	}
	return encode(harness.Publishing{KeyPackages: items})
}

// replace publishes new ones and some that are there.
func (o *owner) replace() error {
	list := o.make(o.between(0, 4))
	for range o.between(0, 6) {
		if kp := o.any(); kp != nil && !slices.Contains(list, kp) && !kp.lastResort {
			list = append(list, kp)
		}
	}
	q := request{method: "PUT", path: o.device.path().Shelf(), media: mediaJSON, body: publication(list)}
	r := &record{what: replace, device: o.device, sent: list}
	q.path += o.name(r)
	if o.chance(50) {
		q.path += fmt.Sprintf("&cipher_suite=%d", o.device.suite)
		r.suite = o.device.suite
	}
	return o.ask(q, r, o.readPublication)
}

func (o *owner) readPublication(r *record, a answer) error {
	if err := expect(r, a, "key_package_spent", "stock_full"); err != nil {
		return err
	}
	r.told = make(map[*keyPackage]string)
	if r.code == "key_package_spent" {
		for _, kp := range r.sent {
			r.told[kp] = string(delivery.Spent)
		}
	}
	var body api.Publications
	if err := decode(a, &body); err != nil || !r.good() {
		return err
	}
	if len(body.KeyPackages) != len(r.sent) {
		return differ("%s: %d KeyPackages were sent, the answer is about %d", r, len(r.sent), len(body.KeyPackages))
	}
	for i, item := range body.KeyPackages {
		if item.Ref != r.sent[i].ref.String() {
			return differ("%s: the answer names %s where %s was sent", r, item.Ref, r.sent[i].ref)
		}
		r.told[r.sent[i]] = string(item.Status)
	}
	o.stock, o.epoch = body.Stock.Available, body.RestoreEpoch
	return nil
}

func (o *owner) withdraw() error {
	kp := o.any()
	if kp == nil {
		return nil
	}
	q := request{method: "DELETE", path: o.device.path().Shelf() + "/" + kp.ref.String()}
	return o.ask(q, &record{what: withdraw, device: o.device, sent: []*keyPackage{kp}}, func(r *record, a answer) error {
		return expect(r, a, "consumed", "not_found")
	})
}

func (o *owner) remove() error {
	o.stock = 0
	return o.ask(request{method: "DELETE", path: o.device.path().Path()}, &record{what: remove, device: o.device}, func(r *record, a answer) error {
		return expect(r, a)
	})
}

// inventory asks what the device has, and checks that the digest is that of the
// refs.
func (o *owner) inventory() (inv api.Inventory, kps []*keyPackage, err error) {
	q := request{method: "GET", path: o.device.path().Shelf()}
	err = o.ask(q, &record{what: inventory, device: o.device}, func(r *record, a answer) (err error) {
		if err = expect(r, a); err != nil {
			return err
		}
		if err = decode(a, &inv); err != nil {
			return err
		}
		o.epoch = inv.RestoreEpoch
		if kps, err = o.findAll(inv.Refs); err != nil {
			return err
		}
		r.told = make(map[*keyPackage]string)
		for _, kp := range kps {
			if kp.device != o.device {
				return differ("%s: %s is of %s", r, kp.ref, kp.device.id)
			}
			r.told[kp] = "needed"
		}
		if digestOf(kps) != inv.Digest {
			return differ("%s: the digest is not that of the refs", r)
		}
		return nil
	})
	return inv, kps, err
}

// digestOf is the digest of an inventory with these KeyPackages.
func digestOf(list []*keyPackage) string {
	refs := make([]string, len(list))
	for i, kp := range list {
		refs[i] = string(kp.ref)
	}
	slices.Sort(refs)
	h := sha256.New()
	for _, ref := range refs {
		h.Write([]byte(ref))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// sync says that the keys of some KeyPackages are gone, and names one that the
// server may never have seen.
func (o *owner) sync() error {
	inv, kps, err := o.inventory()
	if err != nil {
		return err
	}
	lose := o.between(5, 40)
	kept := slices.DeleteFunc(kps, func(*keyPackage) bool { return o.chance(lose) })
	if kp := o.any(); kp != nil && !slices.Contains(kept, kp) {
		kept = append(kept, kp)
	}
	refs := make([]string, len(kept))
	for i, kp := range kept {
		refs[i] = kp.ref.String()
	}
	q := request{method: "POST", path: o.device.path().Shelf() + "/sync?all=1", media: mediaJSON,
		header: map[string]string{"If-Match": `"` + inv.Digest + `"`}, body: encode(map[string]any{"refs": refs})}
	return o.ask(q, &record{what: syncRefs, device: o.device, sent: kept}, o.readSync)
}

func (o *owner) readSync(r *record, a answer) error {
	if err := expect(r, a, "inventory_changed"); err != nil {
		return err
	}
	var body map[string]any
	if err := decode(a, &body); err != nil {
		return err
	}
	r.told = make(map[*keyPackage]string)
	for _, what := range []string{"withdrawn", "unknown", "spent"} {
		list, _ := body[what].([]any)
		for _, ref := range list {
			kp, err := o.find(fmt.Sprint(ref))
			if err != nil {
				return err
			}
			r.told[kp] = what
		}
	}
	return nil
}

// status asks what became of a KeyPackage; nil is nothing to ask.
func (c *client) status(kp *keyPackage) error {
	if kp == nil {
		return nil
	}
	q := request{method: "GET", path: harness.KeyPackagePath(kp.ref.String())}
	return c.ask(q, &record{what: readStatus, device: kp.device, sent: []*keyPackage{kp}}, func(r *record, a answer) error {
		if err := expect(r, a, "not_found"); err != nil {
			return err
		}
		var body struct{ State, User, Device string }
		if err := decode(a, &body); err != nil {
			return err
		}
		if r.good() && body.User+"/"+body.Device != kp.device.id.String() {
			return differ("%s: %s is said to be of %s/%s", r, kp.ref, body.User, body.Device)
		}
		r.told = map[*keyPackage]string{kp: body.State}
		return nil
	})
}

// list asks for everything on a user's shelves.
func (c *client) list(user delivery.UserID) error {
	_, err := c.listed(user)
	return err
}

func (c *client) listed(user delivery.UserID) (found []*keyPackage, err error) {
	q := request{method: "GET", path: harness.ListPath(string(user))}
	present := make(map[*device]bool)
	for _, d := range c.run.books.devices {
		if d.id.User == user {
			present[d] = true
		}
	}
	err = c.ask(q, &record{what: listUser, user: string(user), present: present}, func(r *record, a answer) error {
		if err := expect(r, a); err != nil {
			return err
		}
		found, err = c.readListing(r, a)
		return err
	})
	return found, err
}

func (c *client) readListing(r *record, a answer) (found []*keyPackage, err error) {
	var body api.Listing
	if err := decode(a, &body); err != nil {
		return nil, err
	}
	r.told, r.complete = make(map[*keyPackage]string), body.Next == ""
	for _, d := range body.Devices {
		for _, k := range d.KeyPackages {
			kp, err := c.receive(k, r.user, d.Device)
			if err != nil {
				return nil, err
			}
			r.told[kp] = "listed"
			found = append(found, kp)
		}
	}
	return found, nil
}

// receive checks that a KeyPackage is handed out as it was published.
func (c *client) receive(k api.OfferedKeyPackage, user, name string) (*keyPackage, error) {
	kp, err := c.find(k.Ref)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(kp.bytes, k.Bytes):
		return nil, differ("%s handed out KeyPackage %s with %d bytes that are not the %d that were published", c.name, k.Ref, len(k.Bytes), len(kp.bytes))
	case kp.device.id.String() != user+"/"+name:
		return nil, differ("KeyPackage %s of %s is handed out as one of %s/%s", k.Ref, kp.device.id, user, name)
	}
	return kp, nil
}

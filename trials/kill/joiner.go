package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"

	api "welcomed/client"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/trials/harness"
)

// A joiner claims Welcomes of a device and says what became of them. A device may
// have two: an application and its notification extension.
type joiner struct {
	*client
	device *device
	late   []given // to be settled, or settled once more, at some later time
}

func (r *run) newJoiner(d *device, n int) *joiner {
	return &joiner{client: r.newClient(fmt.Sprintf("joiner %d of %s", n, d.id)), device: d}
}

// act claims and settles most of what it was given.
func (j *joiner) act() error {
	if len(j.late) > 0 && j.chance(25) {
		i := j.rng.IntN(len(j.late))
		g := j.late[i]
		j.late = append(j.late[:i], j.late[i+1:]...)
		return j.settle(g)
	}
	list, err := j.claim()
	if err != nil {
		return err
	}
	for _, g := range list {
		if j.chance(20) {
			j.late = append(j.late, g)
			continue
		}
		if err := j.settle(g); err != nil {
			return err
		}
	}
	return nil
}

// claim claims in one of the ways in which a client can.
func (j *joiner) claim() ([]given, error) {
	q := request{method: "POST", path: j.device.path().Claim()}
	r := &record{what: claim, device: j.device}
	if j.chance(50) {
		q.path += fmt.Sprintf("?wait=%dms", j.between(20, 800))
	}
	if j.chance(35) {
		q.header = map[string]string{"Accept": mediaMLS}
		return r.givenBy(j.ask(q, r, j.readRaw))
	}
	body := harness.Claiming{Max: j.between(1, 20)}
	if j.chance(15) && len(j.late) > 0 {
		g := j.late[j.rng.IntN(len(j.late))]
		body.Skip, r.skipped = []string{g.welcome.id.String()}, []*welcome{g.welcome}
	}
	if j.chance(10) {
		refs := j.some(r)
		body.Refs = &refs
	}
	q.media, q.body = mediaJSON, encode(body)
	return r.givenBy(j.ask(q, r, j.readClaim))
}

func (r *record) givenBy(err error) ([]given, error) { return r.given, err }

// some narrows a claim to half of the device's KeyPackages.
func (j *joiner) some(r *record) []string {
	j.run.books.mu.Lock()
	defer j.run.books.mu.Unlock()
	refs := []string{}
	for _, kp := range j.device.keyPackages[max(0, len(j.device.keyPackages)-60):] {
		if j.chance(50) {
			refs, r.sent = append(refs, kp.ref.String()), append(r.sent, kp)
		}
	}
	r.filtered = true
	return refs
}

// readRaw reads a claim of one raw Welcome, which has no tree with it.
func (c *client) readRaw(r *record, a answer) error {
	if err := expect(r, a); err != nil {
		return err
	}
	r.complete = a.header.Get("Welcome-More") == "false"
	if a.status == http.StatusNoContent {
		return nil
	}
	g, err := c.identify(r, a.header.Get("Welcome-Id"), a.header.Get("Key-Package-Ref"), a.body)
	if err != nil {
		return err
	}
	if size := strings.Contains(a.header.Get("Link"), "ratchet-tree"); size != (g.welcome.treeSize > 0) {
		return differ("%s: Welcome %d has a tree of %d bytes and is given with Link %t", r, g.welcome.number, g.welcome.treeSize, size)
	}
	g.redelivered = a.header.Get("Welcome-Redelivered") == "true"
	r.given = []given{g}
	return nil
}

func (c *client) readClaim(r *record, a answer) error {
	if err := expect(r, a); err != nil {
		return err
	}
	var body api.Claimed
	if err := decode(a, &body); err != nil {
		return err
	}
	r.complete = !body.More
	for _, d := range body.Welcomes {
		g, err := c.identify(r, d.ID, d.Ref, d.Welcome)
		if err != nil {
			return err
		}
		w := g.welcome
		inline := w.treeSize > 0 && w.treeSize <= delivery.TreeInline
		if !bytes.Equal(d.Context, w.context) || d.RatchetTreeSize != w.treeSize || (len(d.RatchetTree) > 0) != inline || inline && sha256.Sum256(d.RatchetTree) != w.tree {
			return differ("%s: Welcome %d is given with another context or ratchet tree than it was posted with", r, w.number)
		}
		g.redelivered = d.Redelivered
		r.given = append(r.given, g)
	}
	return nil
}

// identify checks that what a claim gave is the slice of a Welcome that was posted
// for this device.
func (c *client) identify(r *record, id, ref string, wrapped []byte) (g given, err error) {
	if g.welcome, err = c.findWelcome(id); err != nil {
		return g, err
	}
	if g.kp, err = c.find(ref); err != nil {
		return g, err
	}
	want, ok := g.welcome.slices[g.kp]
	if !ok || g.kp.device != r.device {
		return g, differ("%s was given Welcome %d for %s of %s, which is not for it", r.device.id, g.welcome.number, ref, g.kp.device.id)
	}
	m, err := mls.ReadWelcome(wrapped)
	if err != nil || sha256.Sum256(m.Bytes()) != want {
		return g, differ("%s was given Welcome %d for %s, and its %d bytes are not those that were posted: %v", r.device.id, g.welcome.number, ref, len(wrapped), err)
	}
	return g, nil
}

// settle says that the device has joined, or that it could not. Some fetch a tree
// that came apart first, and some settle again later.
func (j *joiner) settle(g given) error {
	if g.welcome.treeSize > delivery.TreeInline && j.chance(70) {
		if err := j.fetchTree(g); err != nil {
			return err
		}
	}
	if j.chance(10) {
		j.late = append(j.late[max(0, len(j.late)-50):], g)
	}
	q := request{method: "POST", path: j.device.path().Acknowledgement(g.welcome.id.String()), media: mediaJSON}
	r := &record{what: acknowledge, device: j.device, welcome: g.welcome, sent: []*keyPackage{g.kp}}
	body := make(map[string]any)
	if j.chance(50) {
		body["ref"] = g.kp.ref.String()
	}
	if j.chance(15) {
		r.what = reject
		q.path = j.device.path().Rejection(g.welcome.id.String())
		body["reason"], body["detail"] = delivery.ReasonUndecryptable, "a try"
	}
	q.body = encode(body)
	return j.ask(q, r, func(r *record, a answer) error { return expect(r, a, "not_found", "not_delivered") })
}

// fetchTree gets a large tree apart. It is gone once the Welcome has ended for
// everybody, or with the device.
func (j *joiner) fetchTree(g given) error {
	q := request{method: "GET", path: j.device.path().Tree(g.welcome.id.String())}
	var r record
	a, err := j.send(q, &r)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK && sha256.Sum256(a.body) != g.welcome.tree {
		return differ("%s was given a ratchet tree of %d bytes with Welcome %d that is not the one that was posted", j.name, len(a.body), g.welcome.number)
	}
	forgotten := a.status == http.StatusConflict && j.run.books.restored // that it was given
	if a.status != http.StatusOK && a.status != http.StatusNotFound && !forgotten {
		return differ("%s asked for a ratchet tree and was answered %d %s", j.name, a.status, a.body)
	}
	return nil
}

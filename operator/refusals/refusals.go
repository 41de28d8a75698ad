// Package refusals remembers what a server refused lately, so that it can be explained. It
// forgets everything when the server ends, and its size is bounded.
//
// Each party that causes notes has a page of its own, and can only push out its own notes. So a
// client that is refused a million times makes the server forget nothing about others. Notes
// that strangers cause are kept apart. The package does not know requests, only what is said of
// them.
package refusals

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/explain"
)

// A Memory has the notes.
type Memory struct {
	since time.Time
	now   func() time.Time

	own       *notebook // by user: requests for their devices, and syncs that withdrew what was fresh
	strangers *notebook // by address or caller: requests for devices that are not theirs
	unmatched *notebook // by poster: Welcomes, by the KeyPackage's device
	unserved  *notebook // by reserver: devices of which there was nothing
	unknown   *notebook // by poster: Welcomes for KeyPackages that are unknown
	asked     *notebook // by user: their requests that are for no device of theirs
}

// New returns a memory without notes. now dates the notes. All notebooks together have at most
// 15,000 notes. A note takes 300 bytes if names are short, and a kilobyte if all names are as
// long as allowed.
func New(now func() time.Time) *Memory {
	return &Memory{
		since: now(), now: now,
		own:       newNotebook(256, 16),
		strangers: newNotebook(128, 16),
		unmatched: newNotebook(256, 12),
		unserved:  newNotebook(256, 12),
		unknown:   newNotebook(64, 8),
		asked:     newNotebook(256, 8),
	}
}

// deviceNotes is how many notes of a page are about one device.
const deviceNotes = 4

// noteDetail is how many bytes of a detail are kept.
const noteDetail = 120

// A notebook has a page of notes for each of the parties that wrote last.
type notebook struct {
	notes int // on a page

	mu    sync.Mutex
	pages *simplelru.LRU[string, []note]
}

// A note is about a device, or about a KeyPackage of nobody.
type note struct {
	device delivery.DeviceID
	explain.Refusal
}

func newNotebook(pages, notes int) *notebook {
	kept, _ := simplelru.NewLRU[string, []note](pages, nil) // it refuses only sizes below 1
	return &notebook{notes: notes, pages: kept}
}

// again reports whether n is the same as other, another time.
func (n note) again(other note) bool {
	return n.device == other.device && n.Who == other.Who && n.Request == other.Request && n.Status == other.Status && n.Code == other.Code && n.Ref == other.Ref
}

// write adds a note to the page of a party. An equal note is counted instead. If the page is
// full, or has enough notes of that device, the oldest of those goes.
func (b *notebook) write(party string, n note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	page, _ := b.pages.Get(party)
	if i := slices.IndexFunc(page, n.again); i >= 0 {
		n.First, n.Count = page[i].First, page[i].Count+1
		page = slices.Delete(page, i, i+1)
	} else {
		page = b.makeRoom(page, n.device)
	}
	b.pages.Add(party, append(page, n))
}

func (b *notebook) makeRoom(page []note, d delivery.DeviceID) []note {
	about := func(n note) bool { return n.device == d }
	count := 0
	for _, n := range page {
		if about(n) {
			count++
		}
	}
	switch i := slices.IndexFunc(page, about); {
	case d != (delivery.DeviceID{}) && count >= deviceNotes:
		return slices.Delete(page, i, i+1)
	case len(page) >= b.notes:
		return slices.Delete(page, 0, 1)
	}
	return page
}

// find returns the wanted notes, the oldest first.
func (b *notebook) find(wanted func(note) bool) (found []note) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, page := range b.pages.Values() {
		for _, n := range page {
			if wanted(n) {
				found = append(found, n)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b note) int { return a.Last.Compare(b.Last) })
	return found
}

// newNote is one of now.
func (m *Memory) newNote(d delivery.DeviceID, r explain.Refusal) note {
	r.First = m.now()
	r.Last, r.Count = r.First, 1
	if len(r.Detail) > noteDetail {
		r.Detail = strings.ToValidUTF8(r.Detail[:noteDetail], "") + "…"
	}
	r.Detail = strings.Clone(r.Detail) // not a part of something large
	return note{d, r}
}

// Own notes a request of a user for one of their devices, which was refused or did something
// unwanted.
func (m *Memory) Own(d delivery.DeviceID, r explain.Refusal) {
	m.own.write(string(d.User), m.newNote(d, r))
}

// Stranger notes a request for a device by a party that could not prove to be its user.
func (m *Memory) Stranger(party string, d delivery.DeviceID, r explain.Refusal) {
	m.strangers.write(party, m.newNote(d, r))
}

// Asked notes a refused request of a user that was for none of their devices.
func (m *Memory) Asked(user delivery.UserID, r explain.Refusal) {
	m.asked.write(string(user), m.newNote(delivery.DeviceID{User: user}, r))
}

// Unmatched notes a Welcome of a party that did not match a KeyPackage of the device.
func (m *Memory) Unmatched(party string, d delivery.DeviceID, r explain.Refusal) {
	m.unmatched.write(party, m.newNote(d, r))
}

// Unknown notes a Welcome of a party for a KeyPackage that is unknown.
func (m *Memory) Unknown(party string, r explain.Refusal) {
	m.unknown.write(party, m.newNote(delivery.DeviceID{}, r))
}

// Unserved notes a reservation of a party that got nothing of the device.
func (m *Memory) Unserved(party string, d delivery.DeviceID, r explain.Refusal) {
	m.unserved.write(party, m.newNote(d, r))
}

// Count returns how many notes there are.
func (m *Memory) Count() (n int) {
	for _, b := range []*notebook{m.own, m.strangers, m.unmatched, m.unserved, m.unknown, m.asked} {
		n += len(b.find(func(note) bool { return true }))
	}
	return n
}

var _ explain.Memory = (*Memory)(nil)

// Since implements explain.Memory.
func (m *Memory) Since() time.Time { return m.since }

// Devices implements explain.Memory.
func (m *Memory) Devices(user delivery.UserID) (names []string) {
	for _, b := range []*notebook{m.own, m.strangers} {
		for _, n := range b.find(func(n note) bool { return n.device.User == user }) {
			if !slices.Contains(names, n.device.Name) {
				names = append(names, n.device.Name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// OfDevice implements explain.Memory.
func (m *Memory) OfDevice(d delivery.DeviceID) (refused, strangers, unmatched, unserved []explain.Refusal) {
	about := func(n note) bool { return n.device == d }
	return newest(m.own.find(about)), newest(m.strangers.find(about)), newest(m.unmatched.find(about)), newest(m.unserved.find(about))
}

// OfCaller implements explain.Memory.
func (m *Memory) OfCaller(user delivery.UserID) []explain.Refusal {
	return newest(m.asked.find(func(n note) bool { return n.device.User == user }))
}

// OfRef implements explain.Memory.
func (m *Memory) OfRef(ref mls.KeyPackageRef) []explain.Refusal {
	about := func(n note) bool { return n.Ref == ref }
	return newest(append(m.unmatched.find(about), m.unknown.find(about)...))
}

// newest returns the newest notes, without the device that they are about.
func newest(notes []note) (list []explain.Refusal) {
	const most = 10
	for _, n := range notes[max(0, len(notes)-most):] {
		list = append(list, n.Refusal)
	}
	return list
}

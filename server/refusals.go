package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/julienschmidt/httprouter"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/explain"
	"welcomed/server/admission"
)

// refusals remember what was refused lately, so that it can be explained: until
// the server ends, and no more than fits. Whoever causes a note has a page of their
// own and can only push out their own notes, so that nobody who is refused a
// million times has anything of others forgotten; what strangers cause is apart
// from all that.
type refusals struct {
	since time.Time
	now   func() time.Time

	own       *notebook // by user: requests for their devices, and syncs that withdrew what was fresh
	strangers *notebook // by address or caller: requests for devices that are not theirs
	unmatched *notebook // by poster: Welcomes, by the KeyPackage's device
	unserved  *notebook // by reserver: devices of which there was nothing
	unknown   *notebook // by poster: Welcomes for KeyPackages that are unknown
	asked     *notebook // by user: their requests that are for no device of theirs
}

// All notebooks together have at most 15,000 notes, of 300 bytes where names are
// short and a kilobyte where all are as long as they may be.
func newRefusals(now func() time.Time) *refusals {
	return &refusals{
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

// noteDetail is how many bytes of what a client was told are kept.
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

// write adds a note to a party's page. A note that is there already is counted; if
// the page is full, or has enough of that device, the oldest such note goes.
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

// find returns the notes that are wanted, the oldest first.
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
func (m *refusals) newNote(d delivery.DeviceID, r explain.Refusal) note {
	r.First = m.now()
	r.Last, r.Count = r.First, 1
	if len(r.Detail) > noteDetail {
		r.Detail = strings.ToValidUTF8(r.Detail[:noteDetail], "") + "…"
	}
	r.Detail = strings.Clone(r.Detail) // not a part of something large
	return note{d, r}
}

// remember notes that a request for a device was refused.
func (s *Server) remember(r *request, params httprouter.Params, err error) {
	if r.operator || r.Context().Err() != nil {
		return
	}
	if r.device == (delivery.DeviceID{}) {
		_ = r.readPath(params) // as it was refused before that
	}
	if r.device == (delivery.DeviceID{}) && r.caller.User != "" {
		r.device.User = r.caller.User // it is about others
		s.refusals.asked.write(string(r.caller.User), s.refusals.refused(r, err))
		return
	}
	if r.device.Valid() != nil {
		return
	}
	n := s.refusals.refused(r, err)
	if s.mayWrite(r, err) {
		s.refusals.own.write(string(r.device.User), n)
		return
	}
	party := r.caller.ID()
	if party == "" {
		party = " " + admission.AddressBlock(r.client).String() // no caller has a space
		n.Who = r.client.String()
	}
	s.refusals.strangers.write(party, n)
}

// refused is a note of a request that was.
func (m *refusals) refused(r *request, err error) note {
	p := classify(err)
	var item delivery.ItemCode
	if refused, ok := errors.AsType[*delivery.PublishError](err); ok && len(refused.Items) > 0 {
		item = refused.Items[0].Code
	}
	return m.newNote(r.device, explain.Refusal{
		Item: item,
		Who:  r.caller.ID(), Request: r.route.name(), Status: p.Status, Code: p.Code, Advice: advice[p.Code], Detail: strings.TrimPrefix(p.Detail, strings.ReplaceAll(p.Code, "_", " ")+": "),
	})
}

// mayWrite reports whether a request is known to be of the user for whose device
// it is, or of who acts for everybody.
func (s *Server) mayWrite(r *request, err error) bool {
	if s.options.NoAuth != AuthRequired {
		return !errors.Is(err, errProxied)
	}
	return r.identity != auth.Identity{} && (r.caller.User == "" || r.caller.User == r.device.User)
}

// name is what a route is called where its device is known.
func (rt *route) name() string {
	return rt.method + " " + strings.Replace(rt.path, devicePath, "…", 1)
}

// mismatchesNoted is how many recipients of one Welcome are looked up.
const mismatchesNoted = 16

// rememberMismatches notes for whose devices a Welcome did not match.
func (s *Server) rememberMismatches(r *request, recipients []delivery.Recipient) {
	looked := 0
	for _, to := range recipients {
		if to.Matched {
			continue
		}
		if looked++; looked > mismatchesNoted {
			return
		}
		refusal := explain.Refusal{Who: r.caller.ID(), Code: string(to.Status), Ref: to.Ref}
		k, err := s.store.KeyPackage(r.Context(), delivery.Operator(), to.Ref)
		switch {
		case err == nil:
			s.refusals.unmatched.write(r.party(k.Device.User), s.refusals.newNote(k.Device, refusal))
		case errors.Is(err, delivery.ErrNotFound):
			s.refusals.unknown.write(r.party(""), s.refusals.newNote(delivery.DeviceID{}, refusal))
		}
	}
}

// rememberUnserved notes of which devices a reservation got nothing.
func (s *Server) rememberUnserved(r *request, req delivery.ReserveRequest, reservation delivery.Reservation) {
	for _, u := range reservation.Users {
		for _, d := range u.Devices {
			if d.KeyPackage != nil || reservation.Repeated || d.Status == delivery.DeviceIdle {
				continue
			}
			refusal := explain.Refusal{Who: r.caller.ID(), Code: string(d.Status)}
			switch {
			case slices.Contains(req.LastResortOnly, u.User):
				refusal.Code = "target_budget"
			case d.Status == delivery.DeviceIncompatible:
				refusal.Detail = explain.AskedSuites(req.Suites, d.Suites)
			}
			s.refusals.unserved.write(r.party(u.User), s.refusals.newNote(delivery.DeviceID{User: u.User, Name: d.Device}, refusal))
		}
	}
}

// rememberFresh notes that a sync of a device withdrew what it had published lately.
// It is no refusal, but if it happens again and again it says what is wrong.
func (s *Server) rememberFresh(r *request, result delivery.SyncResult) {
	s.refusals.own.write(string(r.device.User), s.refusals.newNote(r.device, explain.Refusal{
		Who: r.caller.ID(), Request: r.route.name(), Code: explain.CodeFreshWithdrawn,
		Detail: fmt.Sprintf("%d of the %d that it withdrew had been published less than a day before", result.Fresh, len(result.Withdrawn)),
	}))
}

// party is on whose page is written what a caller causes. Who acts for everybody,
// or is not known, has one for each user.
func (r *request) party(user delivery.UserID) string {
	if r.caller.User != "" {
		return string(r.caller.User)
	}
	return r.caller.ID() + " " + string(user)
}

// refusals implement explain.Memory.
var _ explain.Memory = (*refusals)(nil)

// Since implements explain.Memory.
func (m *refusals) Since() time.Time { return m.since }

// Devices implements explain.Memory.
func (m *refusals) Devices(user delivery.UserID) (names []string) {
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
func (m *refusals) OfDevice(d delivery.DeviceID) (refused, strangers, unmatched, unserved []explain.Refusal) {
	about := func(n note) bool { return n.device == d }
	return newest(m.own.find(about)), newest(m.strangers.find(about)), newest(m.unmatched.find(about)), newest(m.unserved.find(about))
}

// OfCaller implements explain.Memory.
func (m *refusals) OfCaller(user delivery.UserID) []explain.Refusal {
	return newest(m.asked.find(func(n note) bool { return n.device.User == user }))
}

// OfRef implements explain.Memory.
func (m *refusals) OfRef(ref mls.KeyPackageRef) []explain.Refusal {
	about := func(n note) bool { return n.Ref == ref }
	return newest(append(m.unmatched.find(about), m.unknown.find(about)...))
}

// newest are the newest notes without what they are about.
func newest(notes []note) (list []explain.Refusal) {
	const most = 10
	for _, n := range notes[max(0, len(notes)-most):] {
		list = append(list, n.Refusal)
	}
	return list
}

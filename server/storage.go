package server

import (
	"errors"

	"welcomed/delivery"
)

// What a client is told for whose user as much was stored as may be for now.
var (
	errTooManyPublications = errors.New("too many KeyPackages were published for this user")
	errTooMuchStored       = errors.New("this user has had as many bytes stored as may be for now")
)

// What rows take in the file besides the names and the payloads in them, in bytes:
// keys, times, indices, timers, and pages that are not full. TestWhatIsStoredIsCharged
// compares them with a file that grows.
const (
	deviceBytes     = 512 // of a device, which may be new
	keyPackageBytes = 352 // of a KeyPackage and its tombstone, reserved and given back meanwhile
	welcomeBytes    = 768 // of a Welcome
	mailBytes       = 640 // of a Welcome for one recipient, with what may be said when it is rejected
	answerBytes     = 320 // of an answer that is remembered
	rememberedBytes = 64  // of a user or a device in it
)

// stored calls store, which stores size bytes for a user, unless that user owes
// some of those stored before. It gives back those that were not kept: store
// returns how many were. Who is not known, and a service that acts for nobody,
// owe nothing. What has a size of nothing is not refused, and pays for what is kept.
func (s *Server) stored(user delivery.UserID, size int, store func() (kept int, err error)) error {
	if user == "" {
		_, err := store()
		return err
	}
	if size == 0 {
		kept, err := store()
		s.storage.charge(string(user), kept)
		return err
	}
	if wait, ok := s.storage.borrow(string(user), size); !ok {
		s.options.OverBudget(BudgetStore)
		return &laterError{errTooMuchStored, wait}
	}
	kept, err := store()
	s.storage.charge(string(user), kept-size)
	return err
}

// published calls publish, which publishes what was sent for the user of the path,
// unless that user owes some of what was published before: each leaves a tombstone
// for up to TombstoneKeptMost. What is published again costs nothing, whatever is owed.
func (s *Server) published(r *request, sent []blob, publish func([]delivery.NewKeyPackage) (delivery.Publications, error)) (answer delivery.Publications, err error) {
	items, err := s.verify(r, sent, true)
	if err == nil {
		answer, err = s.publishedAnew(r, items, publish)
	}
	if !errors.Is(err, delivery.ErrNotFound) {
		return answer, err
	}
	if items, err = s.verify(r, sent, false); err != nil { // some of it was forgotten meanwhile
		return answer, err
	}
	return s.publishedAnew(r, items, publish)
}

// publishedAnew charges for what was not published before.
func (s *Server) publishedAnew(r *request, items []delivery.NewKeyPackage, publish func([]delivery.NewKeyPackage) (delivery.Publications, error)) (answer delivery.Publications, err error) {
	user, n := r.device.User, 0
	for _, item := range items {
		if item.Bytes != nil {
			n++
		}
	}
	if r.caller.Unrestricted() || n == 0 {
		return publish(items)
	}
	if wait, ok := s.publications.borrow(string(user), n); !ok {
		s.options.OverBudget(BudgetPublish)
		return answer, &laterError{errTooManyPublications, wait}
	}
	err = s.stored(user, publicationSize(r.device, items), func() (int, error) {
		answer, err = publish(items)
		return newlyStored(r.device, items, answer), err
	})
	for _, item := range answer.Items {
		if item.New {
			n--
		}
	}
	s.publications.charge(string(user), -n)
	return answer, err
}

// publicationSize is what a publication takes if all of it is new.
func publicationSize(device delivery.DeviceID, items []delivery.NewKeyPackage) int {
	stored := make([]bool, len(items))
	for i := range stored {
		stored[i] = items[i].Bytes != nil
	}
	return sizeOf(device, items, stored)
}

// newlyStored is what those of the items take that were not there before.
func newlyStored(device delivery.DeviceID, items []delivery.NewKeyPackage, p delivery.Publications) int {
	stored := make([]bool, len(items))
	for i, item := range p.Items {
		stored[i] = item.New
	}
	return sizeOf(device, items, stored)
}

func sizeOf(device delivery.DeviceID, items []delivery.NewKeyPackage, stored []bool) (n int) {
	for i, item := range items {
		if stored[i] {
			n += len(item.Bytes) + keyPackageBytes
		}
	}
	if n > 0 {
		n += deviceBytes + 3*(len(device.User)+len(device.Name))
	}
	return n
}

// postingSize is what a Welcome takes.
func postingSize(p delivery.Posting, poster delivery.Caller) int {
	return welcomeBytes + len(poster.ID()) + len(p.Welcome.Bytes()) + len(p.RatchetTree) + len(p.Context) + len(p.Welcome.Secrets)*mailBytes
}

// namedSize is what rememberedSize will be at least.
func namedSize(req delivery.ReserveRequest) (n int) {
	if req.IdempotencyKey == "" {
		return 0
	}
	n = answerBytes
	for _, user := range req.Users {
		n += rememberedBytes + 2*len(user)
	}
	for _, d := range req.Devices {
		n += rememberedBytes + len(d.Name)
	}
	return n
}

// heldSize is what it takes that KeyPackages say by whom they are reserved.
func heldSize(caller delivery.Caller, r delivery.Reservation) (n int) {
	if r.Repeated {
		return 0
	}
	for _, user := range r.Users {
		for _, d := range user.Devices {
			if d.Status == delivery.DeviceReserved {
				n += 2 * len(caller.ID())
			}
		}
	}
	return n
}

// rememberedSize is what an answer takes that is kept for its Idempotency-Key.
func rememberedSize(req delivery.ReserveRequest, r delivery.Reservation) (n int) {
	if req.IdempotencyKey == "" || r.Repeated {
		return 0
	}
	n = answerBytes
	for _, user := range r.Users {
		n += rememberedBytes + 2*len(user.User)
		for _, d := range user.Devices {
			n += rememberedBytes + len(d.Device)
			if d.KeyPackage != nil {
				n += len(d.KeyPackage.Ref)
			}
		}
	}
	return n
}

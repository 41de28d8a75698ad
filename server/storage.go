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

// What a row takes besides the names and the payloads in it, about.
const (
	mailBytes       = 256 // of a Welcome for one recipient: its verdict, its state, the KeyPackage's
	rememberedBytes = 64  // of a user or a device in an answer that is remembered
)

// stored calls store, which stores size bytes for a user, unless that user owes
// some of those stored before. It gives back those that were not kept: store
// returns how many were. Who is not known, and a service that acts for nobody,
// owe nothing.
func (s *Server) stored(user delivery.UserID, size int, store func() (kept int, err error)) error {
	if user == "" || size == 0 {
		_, err := store()
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

// published calls publish, which publishes items for the user of the path,
// unless that user owes some of those published before: each leaves a tombstone
// for up to TombstoneKeptMost. What is not newly stored costs nothing.
func (s *Server) published(r *request, items []delivery.NewKeyPackage, publish func() (delivery.Publications, error)) (answer delivery.Publications, err error) {
	if r.caller.Unrestricted() {
		return publish()
	}
	user, n := r.device.User, len(items)
	if wait, ok := s.publications.borrow(string(user), n); !ok {
		s.options.OverBudget(BudgetPublish)
		return answer, &laterError{errTooManyPublications, wait}
	}
	err = s.stored(user, publicationSize(items), func() (int, error) {
		answer, err = publish()
		return newlyStored(items, answer), err
	})
	for _, item := range answer.Items {
		if item.New() {
			n--
		}
	}
	s.publications.charge(string(user), -n)
	return answer, err
}

func publicationSize(items []delivery.NewKeyPackage) (n int) {
	for _, item := range items {
		n += len(item.Bytes)
	}
	return n
}

// newlyStored is how many bytes of the items were not there before.
func newlyStored(items []delivery.NewKeyPackage, p delivery.Publications) (n int) {
	for i, item := range p.Items {
		if item.New() {
			n += len(items[i].Bytes)
		}
	}
	return n
}

func postingSize(p delivery.Posting) int {
	return len(p.Welcome.Bytes()) + len(p.RatchetTree) + len(p.Context) + len(p.Welcome.Secrets)*mailBytes
}

// namedSize is what rememberedSize will be at least.
func namedSize(req delivery.ReserveRequest) (n int) {
	if req.IdempotencyKey == "" {
		return 0
	}
	for _, user := range req.Users {
		n += rememberedBytes + len(user)
	}
	for _, d := range req.Devices {
		n += rememberedBytes + len(d.Name)
	}
	return n
}

// rememberedSize is what an answer takes that is kept for its Idempotency-Key.
func rememberedSize(req delivery.ReserveRequest, r delivery.Reservation) (n int) {
	if req.IdempotencyKey == "" || r.Repeated {
		return 0
	}
	for _, user := range r.Users {
		n += rememberedBytes + len(user.User)
		for _, d := range user.Devices {
			n += rememberedBytes + len(d.Device)
			if d.KeyPackage != nil {
				n += len(d.KeyPackage.Ref)
			}
		}
	}
	return n
}

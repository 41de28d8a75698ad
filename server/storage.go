package server

import (
	"errors"

	"welcomed/delivery"
	"welcomed/server/admission"
)

// stored calls store, which stores size bytes for a user, unless that user owes
// some of those stored before. It gives back those that were not kept: store
// returns how many were. Who is not known, and a service that acts for nobody,
// owe nothing. What has a size of nothing is not refused, and pays for what is kept.
func (s *Server) stored(user delivery.UserID, size int, store func() (kept int, err error)) error {
	charge, err := s.storage.Charge(user, size)
	if err != nil {
		return err
	}
	kept, err := store()
	charge.Settle(kept)
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
	charge, err := s.publications.Charge(user, n)
	if err != nil {
		return answer, err
	}
	err = s.stored(user, admission.PublicationSize(r.device, items), func() (int, error) {
		answer, err = publish(items)
		return admission.NewlyStored(r.device, items, answer), err
	})
	stored := 0
	for _, item := range answer.Items {
		if item.New {
			stored++
		}
	}
	charge.Settle(stored)
	return answer, err
}

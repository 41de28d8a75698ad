package store

import (
	"context"

	"welcomed/delivery"
	"welcomed/mls"
)

// BeforePublish implements delivery.Store.
func (s *Store) BeforePublish(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, refs []mls.KeyPackageRef) (known map[mls.KeyPackageRef]bool, err error) {
	known = make(map[mls.KeyPackageRef]bool)
	err = s.peekAs(ctx, caller, func(t *Txn) error {
		t.aheadOfRefs(refs, nil, nil)
		for _, ref := range refs {
			if owner, k := t.refOwner(ref); k != nil && owner.id == device {
				known[ref] = true
			}
		}
		return nil
	})
	return known, err
}

// BeforeReserve implements delivery.Store.
func (s *Store) BeforeReserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (look delivery.ReserveLook, err error) {
	r := reservation{caller: caller, req: req, record: idempotencyRecord(caller, req)}
	err = s.peekAs(ctx, caller, func(t *Txn) error {
		look, err = r.lookBefore(t)
		return err
	})
	if err == nil && look.Repeated != nil {
		err = s.settled(ctx)
	}
	return look, err
}

// lookBefore tells a repeated reservation from a new one, and for a new one which users it
// asks.
func (r *reservation) lookBefore(t *Txn) (look delivery.ReserveLook, err error) {
	t.aheadOfAsked(r)
	var row []byte
	if r.record.key != nil {
		row = t.get(kindIdempotency, r.record.key)
	}
	if look.Repeated, err = t.repeatedReservation(r.record, row); err != nil {
		return look, err
	}
	if look.Repeated != nil {
		r.answer = *look.Repeated
		r.fetch(t)
		*look.Repeated = r.answer
		return look, nil
	}
	targets, err := t.reserveTargets(r.caller, r.req)
	look.Devices = make(map[delivery.UserID]int)
	for _, target := range targets {
		for _, d := range target.devices {
			if d.number != 0 {
				look.Devices[target.user]++
			}
		}
	}
	return look, err
}

// BeforePost implements delivery.Store.
func (s *Store) BeforePost(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID, refs []mls.KeyPackageRef) (look delivery.PostLook, err error) {
	err = s.peekAs(ctx, caller, func(t *Txn) error {
		t.aheadOfRefs(refs, func(w *Wanted) { w.row(kindWelcomeIDs, id[:welcomeIDPrefix]) }, nil)
		_, err := t.posted(caller, id)
		look.Posted = err == nil
		for _, ref := range refs {
			if d, k := t.refOwner(ref); k != nil {
				look.Owners = append(look.Owners, delivery.Owner{Device: d.id, Reserved: t.reservedBy(caller, k), LastResort: k.rec.LastResort})
			}
		}
		return nil
	})
	return look, err
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// An owner is the phone of the user who is drained.
type owner struct {
	*process
	token   string
	signer  *mlstest.Signer
	done    int
	longest time.Duration
	slowest string // what that was
}

var phoneID = delivery.DeviceID{User: victim, Name: phone}

func (s *process) newOwner(ctx context.Context) (*owner, error) {
	token, err := s.signUp(ctx, victim, phone)
	return &owner{process: s, token: token, signer: mlstest.NewSigner(suite, phoneID.String())}, err
}

// goOn does all that a device does, again and again.
func (o *owner) goOn(ctx context.Context, over <-chan struct{}) error {
	for {
		if err := o.once(ctx); err != nil {
			return fmt.Errorf("the user who is drained: %w", err)
		}
		o.done++
		select {
		case <-over:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// once publishes a new last resort, withdraws the one before, and joins a group
// that the user made on another device.
func (o *owner) once(ctx context.Context) error {
	b := o.signer.KeyPackage(mlstest.LastResort())
	kp, err := mls.ReadKeyPackage(b)
	if err != nil {
		return err
	}
	if err := o.timed(ctx, request{method: "POST", path: "/key-packages", body: b, object: true}, nil); err != nil {
		return err
	}
	var i inventory
	if err := o.timed(ctx, request{method: "GET", path: "/key-packages"}, &i); err != nil {
		return err
	}
	refs, err := json.Marshal(map[string][]string{"refs": {kp.Ref().String()}})
	if err != nil {
		return err
	}
	if err := o.timed(ctx, request{method: "POST", path: "/key-packages/sync", body: refs, ifMatch: i.Digest}, nil); err != nil {
		return err
	}
	return o.join(ctx, kp.Ref())
}

func (o *owner) join(ctx context.Context, ref mls.KeyPackageRef) error {
	welcome := request{token: o.token, method: "POST", path: "/v1/welcomes", body: welcomeFor(ref), object: true}
	if err := o.want(ctx, welcome, nil); err != nil {
		return err
	}
	var claimed struct{ Welcomes []struct{ ID, Ref string } }
	if err := o.timed(ctx, request{method: "POST", path: "/claim"}, &claimed); err != nil {
		return err
	}
	found := false
	for _, w := range claimed.Welcomes {
		found = found || w.Ref == ref.String()
		if err := o.timed(ctx, request{method: "POST", path: "/welcomes/" + w.ID + "/ack"}, nil); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("the Welcome that was posted is not delivered")
	}
	return nil
}

// timed asks something at the phone's own path.
func (o *owner) timed(ctx context.Context, q request, v any) error {
	what := q.method + " " + q.path
	q.token, q.path = o.token, devicePath(phoneID)+q.path
	began := time.Now()
	err := o.want(ctx, q, v)
	if took := time.Since(began); took > o.longest {
		o.longest, o.slowest = took, what
	}
	return err
}

// welcomeFor returns a wrapped Welcome that nobody can join with.
func welcomeFor(refs ...mls.KeyPackageRef) []byte {
	return mls.Wrap(mls.WireFormatWelcome, mlstest.Welcome(suite, refs...))
}

// addAfterwards has somebody who did nothing add the drained user to a group: of
// each device there is the last resort.
func (s *process) addAfterwards(ctx context.Context, c config) error {
	token, err := s.signUp(ctx, "honest", phone)
	if err != nil {
		return err
	}
	taken, err := s.reserve(ctx, token, map[string]any{"users": []delivery.UserID{victim}})
	if err != nil {
		return err
	}
	refs := taken.refs(delivery.DeviceLastResort)
	if want := c.devices + 1; len(refs) != want {
		return fmt.Errorf("of a drained user an honest adder is given %d last resorts and not %d: %+v", len(refs), want, taken)
	}
	if err := s.want(ctx, request{token: token, method: "POST", path: "/v1/welcomes?require=all", body: welcomeFor(refs...), object: true}, nil); err != nil {
		return err
	}
	n, err := s.drains(ctx)
	if err == nil && n == 0 {
		err = errors.New("no metric shows that a user was drained")
	}
	return err
}

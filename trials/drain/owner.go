package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// An owner is the phone of the user who is drained.
type owner struct {
	client  *harness.Client
	signer  *mlstest.Signer
	done    int
	longest time.Duration
	slowest string // what that was
}

var phoneID = harness.Device{User: victim, Name: phone}

func (s *server) newOwner(ctx context.Context) (*owner, error) {
	client, err := s.signUp(ctx, phoneID)
	return &owner{client: client, signer: mlstest.NewSigner(suite, phoneID.String())}, err
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
	if err := o.timed(ctx, "POST", phoneID.Shelf(), b, nil); err != nil {
		return err
	}
	var i client.Inventory
	if err := o.timed(ctx, "GET", phoneID.Shelf(), nil, &i); err != nil {
		return err
	}
	refs := map[string][]string{"refs": {kp.Ref().String()}}
	if err := o.timed(ctx, "POST", phoneID.Shelf()+"/sync", refs, nil, "If-Match", i.Digest); err != nil {
		return err
	}
	return o.join(ctx, kp.Ref())
}

func (o *owner) join(ctx context.Context, ref mls.KeyPackageRef) error {
	if _, err := o.client.Post(ctx, client.Posting{Welcome: welcomeFor(ref)}); err != nil {
		return err
	}
	var claimed client.Claimed
	if err := o.timed(ctx, "POST", phoneID.Claim(), nil, &claimed); err != nil {
		return err
	}
	found := false
	for _, w := range claimed.Welcomes {
		found = found || w.Ref == ref.String()
		if err := o.timed(ctx, "POST", phoneID.Acknowledgement(w.ID), nil, nil); err != nil {
			return err
		}
	}
	if !found {
		return errors.New("the Welcome that was posted is not delivered")
	}
	return nil
}

// timed asks something that the phone must not wait for.
func (o *owner) timed(ctx context.Context, method, path string, body, answer any, headers ...string) error {
	began := time.Now()
	err := o.client.Do(ctx, method, path, body, answer, headers...)
	if took := time.Since(began); took > o.longest {
		o.longest, o.slowest = took, method+" "+path
	}
	return err
}

// welcomeFor returns a wrapped Welcome that nobody can join with.
func welcomeFor(refs ...mls.KeyPackageRef) []byte {
	return mls.Wrap(mls.WireFormatWelcome, mlstest.Welcome(suite, refs...))
}

// addAfterwards has somebody who did nothing add the drained user to a group: of
// each device there is the last resort.
func (s *server) addAfterwards(ctx context.Context, c *config) error {
	honest, err := s.signUp(ctx, harness.Device{User: "honest", Name: phone})
	if err != nil {
		return err
	}
	taken, err := honest.Reserve(ctx, client.Reserving{Users: []string{victim}})
	if err != nil {
		return err
	}
	refs := refsOf(taken, "last_resort")
	if want := c.devices + 1; len(refs) != want {
		return fmt.Errorf("of a drained user an honest adder is given %d last resorts and not %d: %+v", len(refs), want, taken)
	}
	if _, err := honest.Post(ctx, client.Posting{Welcome: welcomeFor(refs...), RequireAll: true}); err != nil {
		return err
	}
	n, err := s.drains(ctx)
	if err == nil && n == 0 {
		err = errors.New("no metric shows that a user was drained")
	}
	return err
}

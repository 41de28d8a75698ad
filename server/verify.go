package server

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server/admission"
)

// verifiers bounds the signature checks that all requests run at a time: one token for each
// check.
type verifiers chan struct{}

// each calls check for 0 to n-1, and returns when all calls have returned. Its own goroutine
// makes calls, and so do helpers, as far as there are tokens. It gives up when ctx is done. It
// returns a panic as an error.
//
// A token is for one call, and callers that wait for one take turns. So a request with one
// KeyPackage does not wait until all KeyPackages of another are checked.
func (v verifiers) each(ctx context.Context, n int, check func(i int)) error {
	var next atomic.Int64
	work := func() error {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			if err := v.call(ctx, check, i); err != nil {
				return err
			}
		}
		return nil
	}
	helpers := max(0, min(n, cap(v))-1)
	ended := make(chan error, helpers)
	for range helpers {
		go func() { ended <- work() }()
	}
	err := work()
	for range helpers {
		if failed := <-ended; err == nil {
			err = failed
		}
	}
	return err
}

// call calls check when it has a token.
func (v verifiers) call(ctx context.Context, check func(i int), i int) (err error) {
	select {
	case v <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if p := recover(); p != nil {
			err = delivery.NewPanicError(p)
		}
		<-v
	}()
	check(i)
	return nil
}

// itemTooLarge is the code of an item that exceeds KeyPackageBytes.
const itemTooLarge delivery.ItemCode = "too_large"

// publishMemory is how much memory publishing takes beside the body: what is read of each
// KeyPackage and stored of it, and lists. Lists take as much as on the wire; of extensions and
// certificates, whose number is bounded, several times their bytes.
func publishMemory(items []blob) (n int) {
	const least, most, share = 2 << 10, 40 << 10, 16
	for _, item := range items {
		n += least + 2*len(item) + min(share*len(item), most)
	}
	return n
}

// verify reads the items of a publication, on all processors. First it does what costs little.
// Then, if the caller's budget allows it, it checks the signatures. The error names every
// refused item. With repeats, items that the device has published before, byte for byte, are
// not verified again, and are returned without bytes.
func (s *Server) verify(r *request, items []blob, repeats bool) ([]delivery.NewKeyPackage, error) {
	read := make([]*mls.KeyPackage, len(items))
	verdicts := make([]*delivery.InvalidItem, len(items))
	if err := r.usage.BeginWork(r.Context(), publishMemory(items)); err != nil {
		return nil, err
	}
	large := r.room > admission.SmallBytes
	var took atomic.Int64
	err := s.verifiers.each(r.Context(), len(items), func(i int) {
		started := time.Now()
		read[i], verdicts[i] = s.readItem(r.device, i, items[i])
		if large {
			took.Add(int64(time.Since(started)))
		}
	})
	if err != nil {
		return nil, err
	}
	accepted := make([]delivery.NewKeyPackage, len(items))
	if repeats {
		if err := s.acceptKnown(r, read, accepted); err != nil {
			return nil, err
		}
	}
	checks, err := s.checkTime.ChargeChecks(r.caller, time.Duration(took.Load()), suitesOf(read))
	if err != nil {
		return nil, err
	}
	defer checks.Settle()
	err = s.verifiers.each(r.Context(), len(items), func(i int) {
		if kp := read[i]; kp != nil {
			accepted[i], verdicts[i] = verifyItem(i, kp, checks)
		}
	})
	if err != nil {
		return nil, err
	}
	var refused []delivery.InvalidItem
	for _, v := range verdicts {
		if v != nil {
			refused = append(refused, *v)
		}
	}
	if refused != nil {
		return nil, &delivery.PublishError{Err: delivery.ErrInvalidKeyPackage, Items: refused}
	}
	for i := range accepted {
		accepted[i].RestoreEpoch = r.query.Get("restore_epoch") // any other than the store's is like none
	}
	return accepted, nil
}

// acceptKnown moves items that the device has published before from read to accepted.
func (s *Server) acceptKnown(r *request, read []*mls.KeyPackage, accepted []delivery.NewKeyPackage) error {
	var refs []mls.KeyPackageRef
	for _, kp := range read {
		if kp != nil {
			refs = append(refs, kp.Ref())
		}
	}
	known, err := s.store.BeforePublish(r.Context(), r.caller, r.device, refs)
	for i, kp := range read {
		if kp != nil && known[kp.Ref()] {
			accepted[i], read[i] = delivery.Publication(kp), nil
			accepted[i].Bytes = nil
		}
	}
	return err
}

func suitesOf(read []*mls.KeyPackage) (suites []mls.CipherSuite) {
	for _, kp := range read {
		if kp != nil {
			suites = append(suites, kp.CipherSuite)
		}
	}
	return suites
}

// readItem returns a KeyPackage whose signatures have to be checked, or why they need not be.
func (s *Server) readItem(device delivery.DeviceID, index int, b []byte) (*mls.KeyPackage, *delivery.InvalidItem) {
	kp, err := mls.ReadKeyPackage(b)
	if err != nil {
		return nil, refuseItem(index, "", withHint(err, b))
	}
	if n, most := len(kp.Bytes()), s.limits.KeyPackageBytes; n > most {
		return nil, &delivery.InvalidItem{Index: index, Ref: kp.Ref().String(), Code: itemTooLarge,
			Detail: fmt.Sprintf("%d bytes, at most %d are accepted", n, most)}
	}
	if err := s.options.CredentialIdentity.allows(kp.LeafNode.Credential, device); err != nil {
		return nil, &delivery.InvalidItem{Index: index, Ref: kp.Ref().String(), Code: itemWrongIdentity, Detail: err.Error()}
	}
	return kp, nil
}

// withHint adds to an error about bytes that are no MLS object what they look like.
func withHint(err error, b []byte) error {
	switch {
	case readAsHex(b):
		return fmt.Errorf("%w%s", err, hexHint)
	case looksLikeBase64(b):
		return fmt.Errorf("%w; it looks like base64: as %s, the bytes themselves are sent, and in JSON they are encoded once", err, mediaMLS)
	}
	return err
}

// verifyItem returns the KeyPackage to be published, or why it is refused.
func verifyItem(index int, kp *mls.KeyPackage, checks *admission.ChecksCharge) (delivery.NewKeyPackage, *delivery.InvalidItem) {
	started := time.Now()
	err := kp.Verify()
	checks.Checked(kp.CipherSuite, started)
	if err != nil {
		return delivery.NewKeyPackage{}, refuseItem(index, kp.Ref().String(), err)
	}
	return delivery.Publication(kp), nil
}

func refuseItem(index int, ref string, err error) *delivery.InvalidItem {
	item := &delivery.InvalidItem{Index: index, Ref: ref, Code: delivery.ItemCode(mls.CodeMalformed), Detail: err.Error()}
	if refused, ok := errors.AsType[*mls.Error](err); ok {
		item.Code = delivery.ItemCode(refused.Code)
	}
	return item
}

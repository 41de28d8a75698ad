package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"

	"welcomed/delivery"
)

// List implements delivery.Store.
func (s *Store) List(ctx context.Context, caller delivery.Caller, user delivery.UserID, opts delivery.ListOptions) (delivery.Listing, error) {
	page := page{opts: opts}
	var damaged []damagedKeyPackage
	err := s.viewAs(ctx, caller, func(t *Txn) error {
		after, err := readCursor(opts.After)
		if err != nil {
			return err
		}
		t.aheadOfListing(user, &page, after)
		for _, d := range t.userDevices(user) {
			if len(opts.Devices) > 0 && !slices.Contains(opts.Devices, d.id.Name) {
				continue
			}
			for _, k := range t.onShelf(d, 0) {
				place := cursor{d.id.Name, d.rowOf(k)[numberBytes:]}
				if !after.before(place) || !page.wants(t, k) {
					continue
				}
				if !t.intact(k) {
					damaged = append(damaged, damagedKeyPackage{d.number, k.keyPackageKey, k.rec.Ref})
				} else if !page.add(place, t.listed(k)) {
					return nil
				}
			}
		}
		return nil
	})
	if err == nil {
		s.retireDamaged(ctx, damaged)
	}
	return page.Listing, err
}

// A page is one page of a list while it is filled.
type page struct {
	delivery.Listing
	opts        delivery.ListOptions
	last        cursor
	taken, size int
}

func (p *page) wants(t *Txn, k *keyPackage) bool {
	return k.rec.OnShelf(t.sure, t.now) && (k.rec.LastResort || !p.opts.LastResortOnly) && (len(p.opts.Suites) == 0 || slices.Contains(p.opts.Suites, k.rec.Suite))
}

// add puts item on the page. If it does not fit, add says where the next page
// begins and returns false.
func (p *page) add(place cursor, item delivery.ListedKeyPackage) bool {
	full := p.opts.Limit > 0 && p.taken == p.opts.Limit || p.opts.Bytes > 0 && p.size+len(item.Bytes) > p.opts.Bytes
	if p.taken > 0 && full {
		p.Next = p.last.String()
		return false
	}
	p.taken, p.size, p.last = p.taken+1, p.size+len(item.Bytes), place
	if n := len(p.Devices); n == 0 || p.Devices[n-1].Device != place.device {
		p.Devices = append(p.Devices, delivery.DeviceListing{Device: place.device})
	}
	on := &p.Devices[len(p.Devices)-1]
	on.KeyPackages = append(on.KeyPackages, item)
	return true
}

// A cursor is a place in the list of a user's KeyPackages: a device, and the end of a key of
// its shelf.
type cursor struct {
	device string
	key    []byte
}

func (c cursor) before(o cursor) bool {
	if c.device != o.device {
		return c.device < o.device
	}
	return bytes.Compare(c.key, o.key) < 0
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(append(append([]byte(c.device), 0), c.key...))
}

func readCursor(s string) (cursor, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return cursor{}, fmt.Errorf("%w: not a cursor of a listing", delivery.ErrBadCursor)
	}
	device, key, _ := bytes.Cut(b, []byte{0})
	return cursor{string(device), key}, nil
}

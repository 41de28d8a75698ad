package server

import (
	"fmt"
	"net/http"
	"strconv"

	"welcomed/delivery"
	"welcomed/mls"
)

// DefaultAnswerBytes is how many bytes of MLS objects an answer has at most. A phone can hold
// that much, and a slow line carries it within a minute.
const DefaultAnswerBytes = 8 << 20

// objectBytes is how many bytes of MLS objects fit into an answer: base64 makes four bytes of
// three.
func (s *Server) objectBytes() int { return s.options.AnswerBytes / 4 * 3 }

// A listedJSON is a KeyPackage that can be handed out.
type listedJSON struct {
	keyPackageJSON
	OffShelfBy string `json:"off_shelf_by,omitzero"` // at the latest; left out where it is reserved
	Bytes      object `json:"bytes"`
}

func (f framing) listed(o *objects, k delivery.ListedKeyPackage) listedJSON {
	return listedJSON{
		newKeyPackage(k.Ref, k.Suite, k.LastResort, k.Lifetime), "",
		o.framed(f, mls.WireFormatKeyPackage, k.Bytes),
	}
}

type listedDeviceJSON struct {
	Device      string       `json:"device"`
	KeyPackages []listedJSON `json:"key_packages"`
}

type listingJSON struct {
	User    delivery.UserID    `json:"user"`
	Devices []listedDeviceJSON `json:"devices"`
	Next    string             `json:"next,omitempty"`
}

// list handles GET /v1/users/:user/key-packages.
func (s *Server) list(w http.ResponseWriter, r *request) error {
	frame, err := r.framing(framingBare)
	if err != nil {
		return err
	}
	opts, err := s.listOptions(r)
	if err != nil {
		return err
	}
	page, err := s.listed(r, opts)
	if err != nil {
		return err
	}
	return answerObjects(w, r, listedBytes(page), func(o *objects) any { return frame.listing(o, r.user, page) })
}

// listed lists as much as the budgets allow. What a list costs is known only when it was made,
// so only a few lists of a caller are made at a time, see concurrencyOf.
func (s *Server) listed(r *request, opts delivery.ListOptions) (page delivery.Listing, err error) {
	charge, err := s.keyPackages.ChargeListing(r.caller, r.user, &opts)
	if err != nil {
		return page, err
	}
	page, err = s.store.List(r.Context(), r.caller, r.user, opts)
	if err != nil {
		return page, err
	}
	charge.Settle(page)
	return page, nil
}

func listedBytes(page delivery.Listing) (n int) {
	for _, d := range page.Devices {
		for _, k := range d.KeyPackages {
			n += len(k.Bytes)
		}
	}
	return n
}

func (s *Server) listOptions(r *request) (opts delivery.ListOptions, err error) {
	opts = delivery.ListOptions{Devices: r.query["device"], Limit: 1000, Bytes: s.objectBytes(), After: r.query.Get("after")}
	if opts.Suites, err = r.suites(); err != nil {
		return opts, err
	}
	for _, suite := range opts.Suites {
		if !s.limits.Accepts(suite) {
			return opts, &mls.Error{Code: mls.CodeUnsupportedCipherSuite, Detail: fmt.Sprintf("cipher_suite=%d: %s", suite, s.limits.Accepted())}
		}
	}
	for _, device := range opts.Devices {
		if err := delivery.ValidIdentifier(device); err != nil {
			return opts, fmt.Errorf("device id: %w", err)
		}
	}
	if r.query.Has("limit") {
		opts.Limit, err = strconv.Atoi(r.query.Get("limit"))
		if err != nil || opts.Limit < 1 || opts.Limit > 5000 {
			return opts, fmt.Errorf("%w: limit=%q, want a number from 1 to 5000", errBadRequest, r.query.Get("limit"))
		}
	}
	return opts, nil
}

func (f framing) listing(o *objects, user delivery.UserID, page delivery.Listing) listingJSON {
	devices := make([]listedDeviceJSON, len(page.Devices))
	for i, d := range page.Devices {
		devices[i] = listedDeviceJSON{d.Device, make([]listedJSON, len(d.KeyPackages))}
		for j, k := range d.KeyPackages {
			listed := f.listed(o, k)
			listed.OffShelfBy = utc(k.ExpiresAt)
			devices[i].KeyPackages[j] = listed
		}
	}
	return listingJSON{user, devices, page.Next}
}

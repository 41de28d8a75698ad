package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server/admission"
)

// A keyPackageJSON is a KeyPackage in an answer.
type keyPackageJSON struct {
	Ref        string          `json:"ref"`
	Suite      mls.CipherSuite `json:"cipher_suite"`
	LastResort bool            `json:"last_resort"`
	NotBefore  uint64          `json:"not_before,string"`
	NotAfter   uint64          `json:"not_after,string"`
}

type publishedJSON struct {
	keyPackageJSON
	OffShelfBy string                   `json:"off_shelf_by,omitzero"` // at the latest
	UsableFrom string                   `json:"usable_from,omitzero"`
	Status     delivery.PublishedStatus `json:"status"`
}

type stockJSON struct {
	Available   int  `json:"available"`
	NotYetValid int  `json:"not_yet_valid,omitzero"`
	Low         bool `json:"low"`
}

type shelfJSON struct {
	stockJSON
	Room int `json:"room"`
}

type publicationsJSON struct {
	KeyPackages []publishedJSON `json:"key_packages"`
	Stock       shelfJSON       `json:"stock"`
	Epoch       string          `json:"restore_epoch"`
}

// publish handles POST /v1/users/:user/devices/:device/key-packages.
func (s *Server) publish(w http.ResponseWriter, r *request) error {
	blobs, err := s.readPublication(r)
	if err != nil {
		return err
	}
	if len(blobs) == 0 {
		return errNoKeyPackages
	}
	published, err := s.published(r, blobs, s.store.Publish)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, newPublications(published))
}

// replace handles PUT /v1/users/:user/devices/:device/key-packages. An empty list takes
// everything off the shelf. A missing list is refused.
func (s *Server) replace(w http.ResponseWriter, r *request) error {
	suites, err := r.suites()
	if err != nil {
		return err
	}
	blobs, err := s.readPublication(r)
	if err != nil {
		return err
	}
	if blobs == nil {
		return errNoKeyPackages
	}
	published, err := s.published(r, blobs, s.replacement(suites))
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, newPublications(published))
}

// replacement returns the publisher that replaces the shelf of one suite, or of all.
func (s *Server) replacement(suites []mls.CipherSuite) publisher {
	return func(ctx context.Context, c delivery.Caller, device delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
		return s.store.Replace(ctx, c, device, only(suites), items)
	}
}

// A publisher is the method of the store by which a route publishes.
type publisher func(context.Context, delivery.Caller, delivery.DeviceID, []delivery.NewKeyPackage) (delivery.Publications, error)

// published publishes what was sent for the device of the path. KeyPackages that the device has
// published before are not verified again and cost nothing, also if the user owes something.
func (s *Server) published(r *request, sent []blob, publish publisher) (delivery.Publications, error) {
	published, err := s.verifiedAndPublished(r, sent, true, publish)
	if errors.Is(err, delivery.ErrNotFound) { // some of what was published before was forgotten meanwhile
		published, err = s.verifiedAndPublished(r, sent, false, publish)
	}
	return published, err
}

// verifiedAndPublished charges the user of the path for KeyPackages that were not published
// before.
func (s *Server) verifiedAndPublished(r *request, sent []blob, repeats bool, publish publisher) (published delivery.Publications, err error) {
	items, err := s.verify(r, sent, repeats)
	if err != nil {
		return published, err
	}
	user := r.device.User
	if r.caller.Unrestricted() {
		user = "" // nobody pays
	}
	count, err := s.publications.Charge(user, admission.PublicationCount(items))
	if err != nil {
		return published, err
	}
	stored, err := s.storage.Charge(user, admission.PublicationSize(r.device, items))
	if err != nil {
		count.Settle(0)
		return published, err
	}
	published, err = publish(r.Context(), r.caller, r.device, items)
	count.Settle(admission.StoredCount(published))
	stored.Settle(admission.StoredSize(r.device, items, published))
	return published, err
}

func only(suites []mls.CipherSuite) mls.CipherSuite {
	if len(suites) == 0 {
		return 0
	}
	return suites[0]
}

// readPublication reads the KeyPackages in the body. It returns nil if the body has no list of
// them.
func (s *Server) readPublication(r *request) ([]blob, error) {
	var body struct {
		KeyPackages []blob `json:"key_packages"`
	}
	raw, err := r.readMessage(&body)
	if err != nil {
		return nil, err
	}
	if raw != nil {
		body.KeyPackages = []blob{raw}
	}
	if n, most := len(body.KeyPackages), s.limits.KeyPackagesPerPublish; n > most {
		return nil, fmt.Errorf("%w: %d, at most %d in one request", errTooManyKeyPackages, n, most)
	}
	return body.KeyPackages, nil
}

func newPublications(p delivery.Publications) publicationsJSON {
	list := make([]publishedJSON, len(p.Items))
	for i, k := range p.Items {
		list[i] = publishedJSON{newKeyPackage(k.Ref, k.Suite, k.LastResort, k.Lifetime), "", utc(k.UsableFrom), k.Status}
		switch k.Status {
		case delivery.Stored, delivery.AlreadyStored, delivery.NotYetValid: // the others are off it
			list[i].OffShelfBy = utc(k.ExpiresAt)
		}
	}
	return publicationsJSON{list, shelfJSON{newStock(p.Stock), p.Stock.Room}, p.RestoreEpoch}
}

func newKeyPackage(ref mls.KeyPackageRef, suite mls.CipherSuite, lastResort bool, life mls.Lifetime) keyPackageJSON {
	return keyPackageJSON{ref.String(), suite, lastResort, life.NotBefore, life.NotAfter}
}

func newStock(s delivery.Stock) stockJSON { return stockJSON{s.Available, s.NotYetValid, s.Low} }

type keyPackageStatusJSON struct {
	keyPackageJSON
	User        delivery.UserID `json:"user"`
	Device      string          `json:"device"`
	State       string          `json:"state"`
	PublishedAt string          `json:"published_at,omitzero"`
	ReservedAt  string          `json:"reserved_at,omitzero"`
	HandedOutAt string          `json:"handed_out_at,omitzero"`
	UsableFrom  string          `json:"usable_from,omitzero"`
	EndedAt     string          `json:"ended_at,omitzero"`
	MatchedBy   string          `json:"matched_by_welcome,omitempty"`
}

// keyPackage handles GET /v1/key-packages/:ref.
func (s *Server) keyPackage(w http.ResponseWriter, r *request) error {
	k, err := s.store.KeyPackage(r.Context(), r.caller, r.ref)
	if err != nil {
		return err
	}
	status := keyPackageStatusJSON{
		keyPackageJSON: newKeyPackage(k.Ref, k.Suite, k.LastResort, k.Lifetime),
		User:           k.Device.User,
		Device:         k.Device.Name,
		State:          k.State.String(),
		PublishedAt:    utc(k.PublishedAt),
		ReservedAt:     utc(k.ReservedAt),
		HandedOutAt:    utc(k.HandedOutAt),
		UsableFrom:     utc(k.UsableFrom),
		EndedAt:        utc(k.EndedAt),
	}
	if k.Welcome != nil {
		status.MatchedBy = k.Welcome.String()
	}
	return answer(w, http.StatusOK, status)
}

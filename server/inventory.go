package server

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"

	"welcomed/delivery"
	"welcomed/mls"
)

type countsJSON struct {
	Suite       mls.CipherSuite `json:"cipher_suite"`
	Available   int             `json:"available"`
	NotYetValid int             `json:"not_yet_valid,omitzero"`
	Reserved    int             `json:"reserved"`
	Retired     int             `json:"retired"`
	Matched     int             `json:"matched"`
	Delivered   int             `json:"delivered"`
}

type lastResortJSON struct {
	Ref         string          `json:"ref"`
	Suite       mls.CipherSuite `json:"cipher_suite"`
	HandedOutAt string          `json:"handed_out_at,omitzero"`
	UsableFrom  string          `json:"usable_from,omitzero"`
}

type returnedJSON struct {
	Ref         string                  `json:"ref"`
	Suite       mls.CipherSuite         `json:"cipher_suite"`
	GivenBackAt string                  `json:"given_back_at"`
	Reason      delivery.GiveBackReason `json:"reason"`
}

type inventoryJSON struct {
	Counts     []countsJSON     `json:"counts"`
	LastResort []lastResortJSON `json:"last_resort"`
	GivenBack  []returnedJSON   `json:"given_back,omitempty"`
	Refs       []string         `json:"refs"`
	Digest     string           `json:"digest"`
	Epoch      string           `json:"restore_epoch"`
}

// inventory handles GET /v1/users/:user/devices/:device/key-packages.
func (s *Server) inventory(w http.ResponseWriter, r *request) error {
	inv, err := s.store.Inventory(r.Context(), r.caller, r.device)
	if err != nil {
		return err
	}
	body := borrowBuffer()
	defer returnBuffer(body)
	err = encode(body, inventoryJSON{
		Counts:     newCounts(inv.Counts),
		LastResort: newLastResort(inv.LastResort),
		GivenBack:  newReturned(inv.GivenBack),
		Refs:       refStrings(inv.Refs),
		Digest:     hex.EncodeToString(inv.Digest[:]),
		Epoch:      inv.RestoreEpoch,
	})
	if err != nil {
		return err
	}
	r.Header.Del("Range") // a part of it would be of no use
	return answerContent(w, r, mediaJSON, body.Bytes())
}

func newCounts(counts []delivery.SuiteCounts) []countsJSON {
	list := make([]countsJSON, len(counts))
	for i, c := range counts {
		list[i] = countsJSON(c)
	}
	return list
}

func newReturned(keyPackages []delivery.ReturnedKeyPackage) (list []returnedJSON) {
	for _, k := range keyPackages {
		list = append(list, returnedJSON{k.Ref.String(), k.Suite, utc(k.At), k.Reason})
	}
	return list
}

func newLastResort(keyPackages []delivery.LastResort) []lastResortJSON {
	list := make([]lastResortJSON, len(keyPackages))
	for i, k := range keyPackages {
		list[i] = lastResortJSON{k.Ref.String(), k.Suite, utc(k.HandedOutAt), utc(k.UsableFrom)}
	}
	return list
}

// sync handles POST /v1/users/:user/devices/:device/key-packages/sync.
func (s *Server) sync(w http.ResponseWriter, r *request) error {
	var body struct {
		Digest *string  `json:"digest"`
		Refs   []string `json:"refs"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	switch {
	case (body.Digest == nil) == (body.Refs == nil):
		return fmt.Errorf("%w: give either digest or refs", errBadRequest)
	case body.Digest != nil:
		return s.compareInventory(w, r, *body.Digest)
	}
	return s.withdrawOthers(w, r, body.Refs)
}

// compareInventory answers a device that asks whether its inventory is the server's.
func (s *Server) compareInventory(w http.ResponseWriter, r *request, text string) error {
	digest, err := parseDigest(text)
	if err != nil {
		return err
	}
	object, _ := twoForTheUser.key(r)
	done, err := s.reads.Acquire(r.Context(), object)
	if err != nil {
		return err
	}
	inv, err := s.store.Inventory(r.Context(), r.caller, r.device)
	done()
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, struct {
		InSync bool         `json:"in_sync"`
		Counts []countsJSON `json:"counts"`
	}{inv.Digest == digest, newCounts(inv.Counts)})
}

// withdrawOthers answers a device that says which private keys it has.
func (s *Server) withdrawOthers(w http.ResponseWriter, r *request, texts []string) error {
	all, err := r.flag("all")
	if err != nil {
		return err
	}
	refs, err := parseRefs(texts)
	if err != nil {
		return err
	}
	if len(refs) == 0 && !all {
		return errEmptyRefs
	}
	digest, err := ifMatch(r)
	if err != nil {
		return err
	}
	result, err := s.store.Sync(r.Context(), r.caller, r.device, digest, refs)
	if err != nil {
		return err
	}
	if result.Fresh > 0 {
		s.rememberFresh(r, result)
	}
	return answer(w, http.StatusOK, struct {
		Withdrawn []string `json:"withdrawn"`
		Fresh     int      `json:"withdrawn_fresh"`
		Unknown   []string `json:"unknown"`
		Spent     []string `json:"spent"`
		Digest    string   `json:"digest"`
	}{refStrings(result.Withdrawn), result.Fresh, refStrings(result.Unknown), refStrings(result.Spent), hex.EncodeToString(result.Digest[:])})
}

// ifMatch reads the digest in If-Match, quoted as an ETag or not.
func ifMatch(r *request) (delivery.Digest, error) {
	value := r.Header.Get("If-Match")
	if value == "" {
		return delivery.Digest{}, errPreconditionRequired
	}
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		value = strings.TrimSuffix(quoted, `"`)
	}
	digest, err := parseDigest(value)
	if err != nil {
		return digest, fmt.Errorf("If-Match: %w", err)
	}
	return digest, nil
}

func parseDigest(text string) (delivery.Digest, error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(delivery.Digest{}) {
		return delivery.Digest{}, fmt.Errorf("%w: %q is not the digest of an inventory", errBadRequest, text)
	}
	return delivery.Digest(b), nil
}

// give handles PUT /v1/users/:user/devices/:device/key-packages/:ref. The admin socket has it
// too, without /v1.
func (s *Server) give(w http.ResponseWriter, r *request) error {
	if err := s.store.Give(r.Context(), r.caller, r.device, r.ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// withdraw handles DELETE /v1/users/:user/devices/:device/key-packages/:ref.
func (s *Server) withdraw(w http.ResponseWriter, r *request) error {
	if err := s.store.Withdraw(r.Context(), r.caller, r.device, r.ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

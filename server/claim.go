package server

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"welcomed/delivery"
	"welcomed/mls"
)

// MaxClaimWelcomes is how many Welcomes a claim may ask for.
const MaxClaimWelcomes = 100

const defaultClaim = 10 // of usual size, with room in an answer; a client that wants others says max

type deliveryJSON struct {
	ID              string          `json:"id"`
	Ref             string          `json:"ref"`
	Welcome         object          `json:"welcome"`
	PostedBy        delivery.UserID `json:"posted_by,omitempty"`
	PostedAt        string          `json:"posted_at"`
	Context         object          `json:"context,omitempty"`
	RatchetTree     object          `json:"ratchet_tree,omitempty"`
	RatchetTreeSize int             `json:"ratchet_tree_size,omitempty"`
	Redelivered     bool            `json:"redelivered"`
	Until           string          `json:"redelivered_until"`
}

type claimJSON struct {
	Welcomes []deliveryJSON `json:"welcomes"`
	More     bool           `json:"more"`
	Withheld int            `json:"withheld"`
	Stock    stockJSON      `json:"stock"`
}

// claim handles POST /v1/users/:user/devices/:device/claim.
func (s *Server) claim(w http.ResponseWriter, r *request) error {
	frame, err := r.framing(framingMessage)
	if err != nil {
		return err
	}
	wait, err := s.readWait(r)
	if err != nil {
		return err
	}
	opts, err := s.readClaim(r)
	if err != nil {
		return err
	}
	raw := acceptsMessage(r.Header)
	if raw {
		opts.Max = 1
	}
	held := 0
	opts.Room = func(n int) error {
		held += n
		return r.usage.HoldMemory(n)
	}
	result, err := s.awaitWelcomes(r, opts, wait)
	if err != nil {
		return err
	}
	if raw {
		return frame.answerDelivery(w, r, result)
	}
	return answerObjects(w, r, deliveredBytes(result)-held, func(o *objects) any { return frame.claim(o, result) })
}

// awaitWelcomes claims until there is a Welcome that the device was not given before, or one
// that it was given a while ago and has not settled: a proxy may have cut off that reply. When
// the wait is over, the answer is what there is then.
func (s *Server) awaitWelcomes(r *request, opts delivery.ClaimOptions, wait time.Duration) (result delivery.ClaimResult, err error) {
	existed, begun := false, time.Now()
	err = s.await(r, wait, func(over bool) (found bool, next time.Time, err error) {
		if !over {
			opts.NewOnly = true
			if result, err = s.claimNow(r, opts); err != nil {
				return false, next, err
			}
			removed := existed && !result.Exists
			existed = result.Exists
			next = s.given.next(r.device, result.Unsettled, begun, s.times.again)
			if removed || result.New() || next.IsZero() || time.Now().Before(next) {
				return removed || result.New(), next, nil
			}
		}
		opts.NewOnly = false
		result, err = s.claimNow(r, opts)
		return len(result.Deliveries) > 0, time.Time{}, err
	})
	if err == nil {
		s.given.note(r.device, result.Deliveries)
	}
	return result, err
}

func (s *Server) claimNow(r *request, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	done, err := s.claims.Acquire(r.Context(), string(r.device.User))
	if err != nil {
		return delivery.ClaimResult{}, err
	}
	defer done()
	return s.store.Claim(r.Context(), r.caller, r.device, opts)
}

func deliveredBytes(result delivery.ClaimResult) (n int) {
	for _, d := range result.Deliveries {
		n += len(d.Welcome) + len(d.Context) + len(d.RatchetTree)
	}
	return n
}

// readWait reads the query parameter wait: a duration or a number of seconds.
func (s *Server) readWait(r *request) (time.Duration, error) {
	text := r.query.Get("wait")
	if !r.query.Has("wait") {
		return 0, nil
	}
	wait, err := time.ParseDuration(text)
	if seconds, notSeconds := strconv.ParseUint(text, 10, 64); notSeconds == nil {
		wait, err = time.Duration(min(seconds, 3600))*time.Second, nil
	}
	if err != nil || wait < 0 {
		return 0, fmt.Errorf("%w: wait=%q, want a duration (30s) or a number of seconds", errBadRequest, text)
	}
	return min(wait, s.times.poll), nil
}

func (s *Server) readClaim(r *request) (opts delivery.ClaimOptions, err error) {
	var body struct {
		Refs []string `json:"refs"`
		Skip []string `json:"skip"`
		Max  *int     `json:"max"`
	}
	if err = r.readJSON(&body); err != nil {
		return opts, err
	}
	opts.Max, opts.Bytes = s.options.ClaimWelcomes, s.objectBytes()
	if body.Max != nil {
		opts.Max = *body.Max
	}
	if opts.Max < 1 || opts.Max > MaxClaimWelcomes {
		return opts, fmt.Errorf("%w: max is %d, want 1 to %d", errBadRequest, opts.Max, MaxClaimWelcomes)
	}
	if opts.Refs, err = parseRefs(body.Refs); err != nil {
		return opts, err
	}
	for i, text := range body.Skip {
		id, err := delivery.ParseWelcomeID(text)
		if err != nil {
			return opts, fmt.Errorf("%w: skip[%d]: %q is not the id of a Welcome", errBadRequest, i, text)
		}
		opts.Skip = append(opts.Skip, id)
	}
	return opts, nil
}

// acceptsMessage reports whether the client asks for one raw Welcome instead of JSON.
func acceptsMessage(h http.Header) bool {
	if len(h.Values("Accept")) == 0 {
		return false
	}
	quality := accepted(h)
	return quality[mediaMLS] > quality[mediaJSON]
}

// accepted returns how much a client wants each media type that it names.
func accepted(h http.Header) map[string]float64 {
	quality := make(map[string]float64)
	for _, accept := range h.Values("Accept") {
		for part := range strings.SplitSeq(accept, ",") {
			is, params, err := mime.ParseMediaType(part)
			if err != nil {
				continue
			}
			quality[is] = 1
			if q, err := strconv.ParseFloat(params["q"], 64); err == nil {
				quality[is] = q
			}
		}
	}
	return quality
}

func (f framing) claim(o *objects, result delivery.ClaimResult) claimJSON {
	welcomes := make([]deliveryJSON, len(result.Deliveries))
	for i, d := range result.Deliveries {
		welcomes[i] = deliveryJSON{
			ID:              d.ID.String(),
			Ref:             d.Ref.String(),
			Welcome:         o.framed(f, mls.WireFormatWelcome, d.Welcome),
			PostedBy:        d.PostedBy,
			PostedAt:        utc(d.PostedAt),
			Context:         o.add(d.Context),
			RatchetTree:     o.add(d.RatchetTree),
			RatchetTreeSize: d.RatchetTreeSize,
			Redelivered:     d.Redelivered,
			Until:           utc(d.RedeliveredUntil),
		}
	}
	return claimJSON{welcomes, result.More, result.Withheld, newStock(result.Stock)}
}

// answerDelivery answers with one raw Welcome, or without a body if there is none.
func (f framing) answerDelivery(w http.ResponseWriter, r *request, result delivery.ClaimResult) error {
	h := w.Header()
	h.Set("Welcome-More", strconv.FormatBool(result.More))
	if len(result.Deliveries) == 0 {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	d := result.Deliveries[0]
	h.Set("Welcome-Id", d.ID.String())
	h.Set("Key-Package-Ref", d.Ref.String())
	h.Set("Welcome-Redelivered", strconv.FormatBool(d.Redelivered))
	if d.RatchetTreeSize > 0 {
		h.Set("Link", fmt.Sprintf(`</v1/users/%s/devices/%s/welcomes/%s/ratchet-tree>; rel="ratchet-tree"`,
			url.PathEscape(string(r.device.User)), url.PathEscape(r.device.Name), d.ID))
	}
	head := f.head(mls.WireFormatWelcome)
	h.Set("Content-Type", mediaMLS)
	h.Set("Content-Length", strconv.Itoa(len(head)+len(d.Welcome)))
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(head)
	_, _ = w.Write(d.Welcome)
	return nil
}

// ratchetTree handles GET /v1/users/:user/devices/:device/welcomes/:id/ratchet-tree.
func (s *Server) ratchetTree(w http.ResponseWriter, r *request) error {
	tree, err := s.store.RatchetTree(r.Context(), r.caller, r.device, r.welcome)
	if err != nil {
		return err
	}
	return answerContent(w, r, "application/octet-stream", tree)
}

// acknowledge handles POST /v1/users/:user/devices/:device/welcomes/:id/ack.
func (s *Server) acknowledge(w http.ResponseWriter, r *request) error {
	var body struct {
		Ref *string `json:"ref"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	ref, err := optionalRef(body.Ref)
	if err != nil {
		return err
	}
	if err := s.store.Acknowledge(r.Context(), r.caller, r.device, r.welcome, ref); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// reject handles POST /v1/users/:user/devices/:device/welcomes/:id/reject.
func (s *Server) reject(w http.ResponseWriter, r *request) error {
	var body struct {
		Ref    *string         `json:"ref"`
		Reason delivery.Reason `json:"reason"`
		Detail string          `json:"detail"`
	}
	if err := r.readJSON(&body); err != nil {
		return err
	}
	ref, err := optionalRef(body.Ref)
	if err != nil {
		return err
	}
	if err := validReason(body.Reason, body.Detail); err != nil {
		return err
	}
	if _, err := s.store.Reject(r.Context(), r.caller, r.device, r.welcome, ref, body.Reason, body.Detail); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// optionalRef reads a ref that may be missing. An empty one is refused: a client that has lost
// the ref does not mean all Welcomes.
func optionalRef(text *string) (mls.KeyPackageRef, error) {
	if text == nil {
		return "", nil
	}
	return parseRef(*text)
}

func validReason(reason delivery.Reason, detail string) error {
	if !slices.Contains(delivery.Reasons, reason) {
		return fmt.Errorf("%w: reason is %q, want one of %v", errBadRequest, reason, delivery.Reasons)
	}
	unprintable := func(c rune) bool { return !unicode.IsPrint(c) }
	if utf8.RuneCountInString(detail) > 256 || strings.ContainsFunc(detail, unprintable) {
		return fmt.Errorf("%w: detail is at most 256 printable characters", errBadRequest)
	}
	return nil
}

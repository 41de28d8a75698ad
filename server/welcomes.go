package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server/admission"
)

type recipientJSON struct {
	Ref         string          `json:"ref"`
	User        delivery.UserID `json:"user,omitempty"`
	Device      string          `json:"device,omitempty"`
	Status      delivery.Status `json:"status"`
	MatchedBy   string          `json:"matched_by_welcome,omitempty"`
	ReleasedAt  string          `json:"released_at,omitzero"`
	DeliveredAt string          `json:"delivered_at,omitzero"`
	WithheldAt  string          `json:"withheld_at,omitzero"`
	EndedAt     string          `json:"ended_at,omitzero"`
	Reason      delivery.Reason `json:"reason,omitempty"`
	Detail      string          `json:"detail,omitempty"`
}

type outcomeJSON struct {
	ID         string          `json:"id"`
	PostedAt   string          `json:"posted_at,omitzero"`
	Held       bool            `json:"held"` // now, for any recipient
	Require    string          `json:"require"`
	Cancelled  bool            `json:"cancelled"`
	Recipients []recipientJSON `json:"recipients"`
}

const (
	requireAny = "any"
	requireAll = "all"
)

// post handles POST /v1/welcomes.
func (s *Server) post(w http.ResponseWriter, r *request) error {
	posting, err := s.readPosting(r)
	if err != nil {
		return err
	}
	outcome, err := s.posted(r, posting)
	if refused, ok := errors.AsType[*delivery.NoMatchError](err); ok && !posting.DryRun {
		s.rememberMismatches(r, refused.Recipients)
	}
	if err != nil {
		return err
	}
	if !outcome.Repeated && !posting.DryRun {
		s.rememberMismatches(r, outcome.Recipients)
	}
	status := http.StatusCreated
	if outcome.Repeated || posting.DryRun {
		status = http.StatusOK
	}
	if !posting.DryRun {
		w.Header().Set("Location", "/v1/welcomes/"+outcome.ID.String())
	}
	return answer(w, status, struct {
		ID         string          `json:"id"`
		Recipients []recipientJSON `json:"recipients"`
	}{outcome.ID.String(), recipientsJSON(outcome.Recipients)})
}

// posted posts a Welcome that the budgets allow. A Welcome that this caller has posted before
// takes nothing and costs nothing.
func (s *Server) posted(r *request, p delivery.Posting) (outcome delivery.Outcome, err error) {
	var owners []delivery.Owner
	if r.caller.User != "" {
		refs := make([]mls.KeyPackageRef, len(p.Welcome.Secrets))
		for i, secret := range p.Welcome.Secrets {
			refs[i] = secret.NewMember
		}
		before, err := s.store.BeforePost(r.Context(), r.caller, delivery.IDOf(r.caller, p.Welcome.Bytes()), refs)
		if err != nil {
			return outcome, err
		}
		if before.Posted {
			return s.store.Post(r.Context(), r.caller, p)
		}
		owners = before.Owners
		if err := s.keyPackages.ChargePost(r.caller, owners, len(refs)); err != nil {
			return outcome, err
		}
	}
	size := admission.PostingSize(p, r.caller, owners)
	if p.DryRun {
		size = 0
	}
	stored, err := s.storage.Charge(r.caller.User, size)
	if err != nil {
		return outcome, err
	}
	outcome, err = s.store.Post(r.Context(), r.caller, p)
	if err != nil || outcome.Repeated {
		size = 0
	}
	stored.Settle(size)
	return outcome, err
}

func (s *Server) readPosting(r *request) (p delivery.Posting, err error) {
	if p.Hold, err = r.flag("hold"); err != nil {
		return p, err
	}
	if p.DryRun, err = r.flag("dry_run"); err != nil {
		return p, err
	}
	require, err := r.choice("require", requireAny, requireAll)
	if err != nil {
		return p, err
	}
	p.RequireAll = require == requireAll
	return p, s.readWelcome(r, &p)
}

// readWelcome reads the Welcome and what comes with it.
func (s *Server) readWelcome(r *request, p *delivery.Posting) error {
	var body struct {
		Welcome     *blob `json:"welcome"`
		RatchetTree *blob `json:"ratchet_tree"`
		Context     *blob `json:"context"`
	}
	raw, err := r.readMessage(&body)
	switch {
	case err != nil:
		return err
	case raw == nil && body.Welcome == nil:
		return fmt.Errorf("%w: there is no welcome", errBadRequest)
	case raw == nil:
		raw = *body.Welcome
	}
	p.RatchetTree, p.Context = orNil(body.RatchetTree), orNil(body.Context)
	recipients := mls.CountRecipients(raw)
	if recipients > s.limits.RecipientsPerWelcome {
		return fmt.Errorf("%w: %d, at most %d in one Welcome", errTooManyRecipients, recipients, s.limits.RecipientsPerWelcome)
	}
	if err := r.usage.BeginWork(r.Context(), len(raw)+len(p.RatchetTree)+recipients*perRecipient); err != nil {
		return err
	}
	reading, err := s.checkTime.ChargeReading(r.caller, len(raw))
	if err != nil {
		return err
	}
	defer reading.Settle()
	if p.Welcome, err = mls.ReadWelcome(raw); err != nil {
		return withHint(err, raw)
	}
	if err := s.limitPosting(p); err != nil {
		return err
	}
	return p.Welcome.Verify()
}

// perRecipient is how much memory posting takes for each recipient: what is read of it, its
// verdict and the answer. The bytes of the Welcome, of which there is one more copy on the way
// to the disk, come on top.
const perRecipient = 1 << 10

func orNil(b *blob) []byte {
	if b == nil || len(*b) == 0 {
		return nil
	}
	return *b
}

func (s *Server) limitPosting(p *delivery.Posting) error {
	total := len(p.Welcome.Bytes()) + len(p.RatchetTree) + len(p.Context)
	switch {
	case len(p.Context) > s.limits.ContextBytes:
		return fmt.Errorf("%w: context has %d bytes, at most %d are accepted", errTooLarge, len(p.Context), s.limits.ContextBytes)
	case total > s.limits.WelcomeBytes:
		return fmt.Errorf("%w: Welcome, ratchet tree and context have %d bytes, at most %d are accepted", errTooLarge, total, s.limits.WelcomeBytes)
	}
	return nil
}

// outcome handles GET /v1/welcomes/:id.
func (s *Server) outcome(w http.ResponseWriter, r *request) error {
	return answerOutcome(w, r, s.store.Outcome)
}

// release handles POST /v1/welcomes/:id/release.
func (s *Server) release(w http.ResponseWriter, r *request) error {
	if err := r.readJSON(&struct{}{}); err != nil {
		return err
	}
	return answerOutcome(w, r, s.store.Release)
}

// cancel handles DELETE /v1/welcomes/:id.
func (s *Server) cancel(w http.ResponseWriter, r *request) error {
	return answerOutcome(w, r, s.store.Cancel)
}

func answerOutcome(w http.ResponseWriter, r *request, ask func(context.Context, delivery.Caller, delivery.WelcomeID) (delivery.Outcome, error)) error {
	outcome, err := ask(r.Context(), r.caller, r.welcome)
	if err != nil {
		return err
	}
	if err := r.usage.HoldMemory(outcomeSize(outcome)); err != nil {
		return err
	}
	require := requireAny
	if outcome.RequireAll {
		require = requireAll
	}
	return answer(w, http.StatusOK, outcomeJSON{
		ID:         outcome.ID.String(),
		PostedAt:   utc(outcome.PostedAt),
		Held:       slices.ContainsFunc(outcome.Recipients, isHeld),
		Require:    require,
		Cancelled:  outcome.Cancelled,
		Recipients: recipientsJSON(outcome.Recipients),
	})
}

func isHeld(r delivery.Recipient) bool { return r.Status == delivery.StatusHeld }

// outcomeSize is roughly how many bytes of an answer an outcome takes.
func outcomeSize(o delivery.Outcome) (n int) {
	for _, r := range o.Recipients {
		n += 128 + len(r.Detail)
		if r.Device != nil {
			n += 128 + len(r.Device.User) + len(r.Device.Name)
		}
	}
	return n
}

func recipientsJSON(recipients []delivery.Recipient) []recipientJSON {
	list := make([]recipientJSON, len(recipients))
	for i, r := range recipients {
		list[i] = newRecipient(r)
	}
	return list
}

func newRecipient(r delivery.Recipient) recipientJSON {
	j := recipientJSON{
		Ref:         r.Ref.String(),
		Status:      r.Status,
		ReleasedAt:  utc(r.ReleasedAt),
		DeliveredAt: utc(r.DeliveredAt),
		WithheldAt:  utc(r.WithheldAt),
		EndedAt:     utc(r.EndedAt),
		Reason:      r.Reason,
		Detail:      r.Detail,
	}
	if r.Device != nil {
		j.User, j.Device = r.Device.User, r.Device.Name
	}
	if r.By != nil {
		j.MatchedBy = r.By.String()
	}
	return j
}

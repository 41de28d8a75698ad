package server

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"welcomed/delivery"
	"welcomed/operator/status"
)

// A WebhookState is how it goes with a webhook.
type WebhookState = status.Webhook

// A Webhook tells a back end that there is something for a device.
type Webhook struct {
	// State is how it goes.
	State func() WebhookState
	// Test sends one message about nothing, and returns why the receiver did not take it.
	Test func(context.Context) error
	// Retry has all that waits be sent now, also if the receiver wanted no more, and returns
	// how many hints that are.
	Retry func(context.Context) (int, error)
}

// waitingHints is how many hints are listed if the command does not say.
const waitingHints = 100

func (s *Server) webhook() (*Webhook, error) {
	if s.options.Webhook == nil {
		return nil, fmt.Errorf("%w: this server has no webhook: it was started without --webhook-url", errNotServed)
	}
	return s.options.Webhook, nil
}

// operatorLooksAtWebhook handles GET /webhook of the admin socket.
func (s *Server) operatorLooksAtWebhook(w http.ResponseWriter, r *request) error {
	hook, err := s.webhook()
	if err != nil {
		return err
	}
	most := waitingHints
	if text := r.query.Get("max"); text != "" {
		if most, err = strconv.Atoi(text); err != nil || most < 1 {
			return fmt.Errorf("%w: max is not a number of hints", errBadRequest)
		}
	}
	hints, err := s.store.WaitingHints(r.Context(), delivery.HintWebhook, most)
	if err != nil {
		return err
	}
	stats, err := s.store.Stats(r.Context())
	if err != nil {
		return err
	}
	type hintJSON struct {
		ID        string             `json:"id"`
		Kind      delivery.EventKind `json:"kind"`
		User      delivery.UserID    `json:"user"`
		Device    string             `json:"device"`
		Time      time.Time          `json:"time"`
		Attempts  int                `json:"attempts"`
		NextAt    time.Time          `json:"next_at"`
		BeingSent bool               `json:"being_sent"`
	}
	list := struct {
		status.Webhook
		Hints []hintJSON `json:"hints"`
	}{hook.State(), []hintJSON{}}
	list.Waiting = stats.Hints[delivery.HintWebhook]
	for _, h := range hints {
		list.Hints = append(list.Hints, hintJSON{h.ID, h.Kind, h.Device.User, h.Device.Name, h.At, h.Attempt, h.Due, h.Taken})
	}
	return answer(w, http.StatusOK, list)
}

// operatorTestsWebhook handles POST /webhook/test of the admin socket.
func (s *Server) operatorTestsWebhook(w http.ResponseWriter, r *request) error {
	hook, err := s.webhook()
	if err != nil {
		return err
	}
	var result struct {
		Failure string `json:"failure,omitzero"`
	}
	if err := hook.Test(r.Context()); err != nil {
		result.Failure = err.Error()
	}
	return answer(w, http.StatusOK, result)
}

// operatorRetriesWebhook handles POST /webhook/retry of the admin socket.
func (s *Server) operatorRetriesWebhook(w http.ResponseWriter, r *request) error {
	hook, err := s.webhook()
	if err != nil {
		return err
	}
	n, err := hook.Retry(r.Context())
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, struct {
		Hints int `json:"hints"`
	}{n})
}

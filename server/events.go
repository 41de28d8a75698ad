package server

import (
	"fmt"
	"net/http"

	"welcomed/delivery"
)

// eventsPerPage bounds the memory that a stream takes while it catches up: an event has a
// kilobyte at most, and usually a quarter of that.
const eventsPerPage = 32

// An eventJSON is an event, or a line of a stream that is none: open, heartbeat and end.
type eventJSON struct {
	Type string `json:"type"`
	ID   string `json:"id"`
	At   string `json:"at,omitzero"`

	User      delivery.UserID   `json:"user,omitzero"`
	Device    string            `json:"device,omitzero"`
	Welcome   string            `json:"welcome,omitzero"`
	Ref       string            `json:"ref,omitzero"`
	Recipient *deviceJSON       `json:"recipient,omitzero"`
	Status    delivery.Status   `json:"status,omitzero"`
	Stock     *stockJSON        `json:"stock,omitzero"`
	Gap       delivery.EventGap `json:"gap,omitzero"` // of open
	Reason    string            `json:"reason,omitzero"`
}

type eventsJSON struct {
	Events []eventJSON       `json:"events"`
	Next   string            `json:"next"`
	More   bool              `json:"more"`
	Gap    delivery.EventGap `json:"gap,omitzero"`
}

func newEvent(e delivery.Event) eventJSON {
	j := eventJSON{Type: string(e.Kind), ID: e.ID, At: utc(e.At), User: e.User, Device: e.Device}
	if e.Kind == delivery.EventStock {
		stock := newStock(e.Stock)
		j.Stock = &stock
		return j
	}
	if e.Welcome != (delivery.WelcomeID{}) {
		j.Welcome = e.Welcome.String()
	}
	if e.Ref != "" {
		j.Ref = e.Ref.String()
	}
	if e.Kind == delivery.EventOutcome {
		j.Status, j.Reason = e.Status, string(e.Reason)
		if e.Recipient != (delivery.DeviceID{}) {
			j.Recipient = &deviceJSON{e.Recipient.User, e.Recipient.Name}
		}
	}
	return j
}

// events handles GET /v1/users/:user/devices/:device/events, GET /v1/users/:user/events and
// GET /v1/events.
func (s *Server) events(w http.ResponseWriter, r *request) error {
	if r.ContentLength != 0 {
		// While a body is unread, net/http does not notice that the client has left.
		return fmt.Errorf("%w: a request for events has no body", errBadRequest)
	}
	query, err := r.eventQuery()
	if err != nil {
		return err
	}
	poll, err := r.flag("poll")
	if err != nil {
		return err
	}
	if !poll {
		return s.stream(w, r, query)
	}
	page, err := s.store.Events(r.Context(), r.caller, query)
	if err != nil {
		return err
	}
	list := make([]eventJSON, len(page.Events))
	for i, e := range page.Events {
		list[i] = newEvent(e)
	}
	return answer(w, http.StatusOK, eventsJSON{list, page.Next, page.More, page.Gap})
}

// eventQuery reads whose events are wanted, and from where. A browser that connects again
// says so in a header, and repeats the query as it was at first.
func (r *request) eventQuery() (delivery.EventQuery, error) {
	q := delivery.EventQuery{User: r.user, Device: r.device.Name, After: r.query.Get("after"), Limit: eventsPerPage}
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		q.After = last
	}
	if r.query.Has("user") {
		q.User = delivery.UserID(r.query.Get("user"))
		if err := delivery.ValidIdentifier(string(q.User)); err != nil {
			return q, fmt.Errorf("user: %w", err)
		}
	}
	return q, nil
}

package status

import (
	"fmt"
	"time"

	"welcomed/delivery"
)

// A Webhook is how it goes with what tells a back end that devices have something to fetch.
type Webhook struct {
	Host         string    `json:"host"` // of its receiver
	SentAt       time.Time `json:"sent_at,omitzero"`
	FailedAt     time.Time `json:"failed_at,omitzero"`
	Failure      string    `json:"failure,omitzero"`       // the last one
	FailingSince time.Time `json:"failing_since,omitzero"` // the last attempt failed, and all since then
	StoppedAt    time.Time `json:"stopped_at,omitzero"`    // the receiver wanted no more
	Waiting      int       `json:"waiting"`                // hints
}

// webhookPatience is for how long a receiver may be away: it may be started anew.
const webhookPatience = 10 * time.Minute

// webhookOf is what the sender says, with what the store has.
func webhookOf(in Input) *Webhook {
	if in.Webhook == nil {
		return nil
	}
	w := *in.Webhook
	w.SentAt, w.FailedAt, w.FailingSince, w.StoppedAt = utc(w.SentAt), utc(w.FailedAt), utc(w.FailingSince), utc(w.StoppedAt)
	w.Waiting = in.Stats.Hints[delivery.HintWebhook]
	return &w
}

func webhookFails(in Input, s *Status) *Problem {
	w := s.Webhook
	switch {
	case w == nil:
		return nil
	case !w.StoppedAt.IsZero():
		return &Problem{"webhook_stopped", Warning, "The webhook's receiver wants no more messages.",
			fmt.Sprintf("%s answered 410 %s ago, and is sent nothing since.", w.Host, Ago(in.Now.Sub(w.StoppedAt))),
			"If it is to be sent to again, run “welcomed webhook retry”. Else start without --webhook-url."}
	case w.FailingSince.IsZero() || in.Now.Sub(w.FailingSince) < webhookPatience:
		return nil
	}
	return &Problem{"webhook_failing", Warning, "The webhook's receiver does not take messages.",
		fmt.Sprintf("No attempt has gone well for %s, and %s. The last one: %s.", Ago(in.Now.Sub(w.FailingSince)), plural(w.Waiting, "hint waits", "hints wait"), w.Failure),
		"Phones that sleep are not woken; their Welcomes wait here. Mend the receiver, see with “welcomed webhook test” whether it answers, then run “welcomed webhook retry”."}
}

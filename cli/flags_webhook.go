package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"

	"github.com/urfave/cli/v3"

	"welcomed/delivery"
	"welcomed/metrics"
	"welcomed/notify"
	"welcomed/server"
)

// webhookSettings are what the flags of serve say of the webhook.
type webhookSettings struct {
	url, secret string
	allow       notify.Allow
}

func (w *webhookSettings) flags() []cli.Flag {
	return []cli.Flag{
		valueFlag("webhook-url", value[string]{&w.url, func(s string) (string, error) { return s, nil }, schemeAndHost}, "tell the back end at `URL` when there is something for a device"),
		secretFlag("webhook-secret", &w.secret, "sign with `SECRET`, as in whsec_…; several with spaces between them while one is replaced"),
		valueFlag("webhook-allow", allowed(&w.allow), "`HOSTS`, addresses and networks that are not public and may be sent to; may be given several times"),
	}
}

// schemeAndHost returns what of a webhook's URL is shown: its path and query may be secrets.
func schemeAndHost(text string) string {
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return hidden
	}
	return u.Scheme + "://" + u.Host
}

// allowed is a list, to which each use of the flag adds.
func allowed(p *notify.Allow) cli.Value {
	parse := func(s string) (notify.Allow, error) {
		all := *p
		if s == "" {
			return all, nil
		}
		for item := range strings.SplitSeq(s, ",") {
			one, err := notify.ParseAllow(strings.TrimSpace(item))
			if err != nil {
				return all, err
			}
			all = all.And(one)
		}
		return all, nil
	}
	return value[notify.Allow]{p, parse, notify.Allow.String}
}

func (w *webhookSettings) check() error {
	var wrong problems
	if w.url == "" {
		wrong.when(w.secret != "", "--webhook-secret goes with --webhook-url")
		return wrong.all()
	}
	_, err := w.webhook()
	wrong.note(err)
	return wrong.all()
}

// webhook returns what sends; nil if there is no URL.
func (w *webhookSettings) webhook() (*notify.Webhook, error) {
	if w.url == "" {
		return nil, nil
	}
	if err := w.allow.URL(w.url); err != nil {
		if errors.Is(err, notify.ErrNotAllowed) {
			err = fmt.Errorf("%w; --webhook-allow allows it", err)
		}
		return nil, fmt.Errorf("--webhook-url: %w", err)
	}
	secrets, err := notify.ParseSecrets(w.secret)
	if err != nil {
		return nil, fmt.Errorf("--webhook-secret: %w; one is made by: echo whsec_$(openssl rand -base64 32)", err)
	}
	client := notify.NewClient(notify.Options{Allow: w.allow, UserAgent: "welcomed/" + currentVersion()})
	return &notify.Webhook{URL: w.url, Secrets: secrets, Client: client}, nil
}

// A hookSender sends the webhook's hints, and is what operators look at.
type hookSender struct {
	*notify.Sender
	webhook *notify.Webhook
	host    string
}

// sender returns what sends the hints of a store; nil if there is no URL.
func (w *webhookSettings) sender(s delivery.Store, m *metrics.Metrics, log *slog.Logger) (*hookSender, error) {
	webhook, err := w.webhook()
	if webhook == nil {
		return nil, err
	}
	u, err := url.Parse(w.url)
	if err != nil {
		return nil, err // not: it was read before
	}
	sender := notify.NewSender(delivery.HintWebhook, s, webhook.SendHint, log)
	sender.Count = func(r notify.Result, n int) { m.ObserveWebhookHints(string(r), n) }
	sender.Failing = m.ObserveWebhookFailing
	return &hookSender{sender, webhook, u.Host}, nil
}

// server is what the admin socket has of it; nil: there is no webhook.
func (h *hookSender) server() *server.Webhook {
	if h == nil {
		return nil
	}
	return &server.Webhook{State: h.state, Test: h.webhook.Test, Retry: h.Resume}
}

func (h *hookSender) state() server.WebhookState {
	s := h.State()
	return server.WebhookState{
		Host: h.host, SentAt: s.SentAt, FailedAt: s.FailedAt, Failure: s.Failure, FailingSince: s.FailingSince, StoppedAt: s.StoppedAt,
	}
}

// run sends until ctx is done.
func (h *hookSender) run(ctx context.Context) {
	h.Run(ctx)
	h.webhook.Client.Close()
}

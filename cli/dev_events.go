package cli

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"net/http"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"

	"welcomed/client"
	"welcomed/dev"
	"welcomed/notify"
)

// devEvents are the flags of dev events.
type devEvents struct{ url, forwardTo, secret string }

func devEventsCommand(env environment) *cli.Command {
	o := &devEvents{url: "http://" + defaultListen}
	return &cli.Command{
		Name:  "events",
		Usage: "print what happens, until SIGTERM or SIGINT, and send it on as webhooks",
		Flags: []cli.Flag{
			textFlag("url", &o.url, "the `URL` of the server"),
			textFlag("forward-to", &o.forwardTo, "send a webhook to `URL` for each event of a device, once"),
			secretFlag("webhook-secret", &o.secret, "sign webhooks with `SECRET`, as in whsec_…; without it one is made and printed"),
		},
		Action: func(ctx context.Context, _ *cli.Command) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return o.follow(ctx, env)
		},
	}
}

// follow prints events until ctx is done.
func (o *devEvents) follow(ctx context.Context, env environment) error {
	base := strings.TrimSuffix(o.url, "/")
	status, err := askDev(ctx, http.MethodGet, base+dev.Control)
	if err != nil {
		return err
	}
	hook, err := o.webhook(env)
	if err != nil {
		return err
	}
	all := &client.Client{URL: base, Token: client.StaticToken(status.Token)}
	for e, err := range all.Events(ctx, client.Following{}) {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(env.stdout, strings.Join(strings.Fields(fmt.Sprint(e.ID, " ", e.Type, " ", e.User, " ", e.Device, " ", e.Welcome, " ", e.Status)), " "))
		if hook == nil || e.Device == "" {
			continue
		}
		sent := "taken"
		id := webhookID(e.ID)
		if err := hook.Send(ctx, notify.Message{ID: id, Type: string(e.Type), User: e.User, Device: e.Device, At: e.At}); err != nil {
			sent = err.Error()
		}
		fmt.Fprintf(env.stdout, "webhook %s to %s: %s\n", id, o.forwardTo, sent)
	}
	return nil
}

// webhookID is the id of the webhook for an event: it looks like those of serve, 26 characters
// of Base32, and is always the same for the same event.
func webhookID(event string) string {
	sum := sha256.Sum256([]byte(event))
	return base32.StdEncoding.EncodeToString(sum[:])[:26]
}

// webhook is where events are sent on to; nil: nowhere. Receivers on this machine are
// allowed.
func (o *devEvents) webhook(env environment) (*notify.Webhook, error) {
	if o.forwardTo == "" {
		return nil, nil
	}
	var allow notify.Allow
	for _, here := range []string{"localhost", "127.0.0.0/8", "::1"} {
		a, err := notify.ParseAllow(here)
		if err != nil {
			return nil, err
		}
		allow = allow.And(a)
	}
	if err := allow.URL(o.forwardTo); err != nil {
		return nil, fmt.Errorf("--forward-to: %w", err)
	}
	if o.secret == "" {
		key := make([]byte, 32)
		_, _ = rand.Read(key) // it never fails
		o.secret = "whsec_" + base64.StdEncoding.EncodeToString(key)
		fmt.Fprintln(env.stdout, "webhooks are signed with "+o.secret)
	}
	secrets, err := notify.ParseSecrets(o.secret)
	if err != nil {
		return nil, fmt.Errorf("--webhook-secret: %w", err)
	}
	return &notify.Webhook{URL: o.forwardTo, Secrets: secrets, Client: notify.NewClient(notify.Options{Allow: allow})}, nil
}

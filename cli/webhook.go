package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/server"
)

// webhookCommand is for who runs a server with --webhook-url.
func webhookCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "webhook",
		Usage: "test the webhook of the server that runs, see what waits for it, and try again",
		Description: "welcomed serve --webhook-url tells a back end when there is something for a device. These commands ask the\n" +
			"server that runs.",
		Commands: []*cli.Command{webhookTestCommand(env), webhookListCommand(env), webhookRetryCommand(env)},
		Action:   noCommand,
	}
}

// webhookAsk is a command that asks the server.
func webhookAsk(env environment, c *cli.Command, do func(context.Context, *operator) error) *cli.Command {
	db, socket := defaultDB(env), socketPath{}
	c.Flags = append(c.Flags,
		textFlag("db", &db, "the `FILE` of the server that runs"),
		socketFlag(&socket, "the `PATH` of the server's admin socket"),
	)
	c.Action = func(ctx context.Context, _ *cli.Command) error { return do(ctx, newOperator(env, socket, db)) }
	return c
}

func webhookTestCommand(env environment) *cli.Command {
	return webhookAsk(env, &cli.Command{
		Name:  "test",
		Usage: "send one message of the type test now, and say whether the receiver takes it",
	}, func(ctx context.Context, o *operator) error {
		var result struct{ Failure string }
		if err := o.ask(ctx, http.MethodPost, "/webhook/test", nil, &result); err != nil {
			return err
		}
		if result.Failure != "" {
			return errors.New(result.Failure)
		}
		_, err := fmt.Fprintln(env.stdout, "the receiver has taken the message")
		return err
	})
}

func webhookRetryCommand(env environment) *cli.Command {
	return webhookAsk(env, &cli.Command{
		Name:  "retry",
		Usage: "send all that waits now, also if the receiver wanted no more",
	}, func(ctx context.Context, o *operator) error {
		var result struct{ Hints int }
		if err := o.ask(ctx, http.MethodPost, "/webhook/retry", nil, &result); err != nil {
			return err
		}
		_, err := fmt.Fprintf(env.stdout, "%d hints are sent\n", result.Hints)
		return err
	})
}

func webhookListCommand(env environment) *cli.Command {
	most := 100
	return webhookAsk(env, &cli.Command{
		Name:  "list",
		Usage: "say how it goes, and list what waits to be sent",
		Flags: []cli.Flag{valueFlag("max", number(&most, 1), "list at most `N`, those that are due first")},
	}, func(ctx context.Context, o *operator) error {
		var list webhookList
		query := url.Values{"max": {strconv.Itoa(most)}}
		if err := o.ask(ctx, http.MethodGet, "/webhook?"+query.Encode(), nil, &list); err != nil {
			return err
		}
		return list.print(env)
	})
}

// A webhookList is the server's answer.
type webhookList struct {
	server.WebhookState
	Hints []struct {
		Kind, User, Device string
		Time               time.Time
		Attempts           int
		NextAt             time.Time `json:"next_at"`
		BeingSent          bool      `json:"being_sent"`
	}
}

func (l *webhookList) print(env environment) error {
	switch {
	case !l.StoppedAt.IsZero():
		fmt.Fprintf(env.stdout, "%s wants no more messages since %s\n", l.Host, l.StoppedAt.Format(time.DateTime))
	case !l.FailingSince.IsZero():
		fmt.Fprintf(env.stdout, "%s takes no message since %s: %s\n", l.Host, l.FailingSince.Format(time.DateTime), l.Failure)
	case !l.SentAt.IsZero():
		fmt.Fprintf(env.stdout, "%s has taken the last message, at %s\n", l.Host, l.SentAt.Format(time.DateTime))
	default:
		fmt.Fprintf(env.stdout, "%s was sent no hint since the start\n", l.Host)
	}
	if len(l.Hints) == 0 {
		return nil
	}
	fmt.Fprintf(env.stdout, "%d wait\n", l.Waiting)
	w := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KIND\tUSER\tDEVICE\tSINCE\tATTEMPTS\tNEXT")
	for _, h := range l.Hints {
		next := h.NextAt.Format(time.DateTime)
		if h.BeingSent {
			next = "now"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", h.Kind, h.User, h.Device, h.Time.Format(time.DateTime), h.Attempts, next)
	}
	return w.Flush()
}

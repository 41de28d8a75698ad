package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"text/tabwriter"

	"github.com/urfave/cli/v3"

	"welcomed/server"
)

// hidden is shown in place of a secret.
const hidden = "********"

type originsKey struct{}

func withOrigins(ctx context.Context, from origins) context.Context {
	return context.WithValue(ctx, originsKey{}, from)
}

func originsOf(ctx context.Context) origins {
	from, _ := ctx.Value(originsKey{}).(origins)
	return from
}

// settingsOf returns the flags of a command with their values. ctx has where the values come
// from. Hidden flags are only shown if they are set.
func settingsOf(ctx context.Context, flags []cli.Flag) []server.Setting {
	from := originsOf(ctx)
	var list []server.Setting
	for _, flag := range flags {
		name := flag.Names()[0]
		if origin := from.of(name); visible(flag) || origin != defaultOrigin {
			list = append(list, server.Setting{Name: name, Value: shown(flag), From: origin})
		}
	}
	return list
}

// shown returns the value of a flag, in the form in which the flag takes it, but hides secrets.
func shown(flag cli.Flag) string {
	s, ok := secretOf(flag)
	switch generic, isGeneric := flag.(*cli.GenericFlag); {
	case ok && *s.p == "":
		return ""
	case ok:
		return hidden
	case isGeneric:
		return generic.Value.String()
	}
	return withoutPassword(fmt.Sprint(flag.Get()))
}

// withoutPassword removes the password from a URL.
func withoutPassword(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

// configOptions are the flags of config besides those of serve.
type configOptions struct {
	running bool
	changed bool
	json    bool
}

func configCommand(env environment) *cli.Command {
	c, o := defaultConfig(env), &configOptions{}
	flags := c.flags()
	return &cli.Command{
		Name:        "config",
		Usage:       "show every setting of serve, its value and where that comes from",
		Description: "It takes the flags of serve, and reads the same environment. Secrets are not shown, and of the webhook's URL only the host is.",
		Flags: append([]cli.Flag{
			boolFlag("running", &o.running, "show the settings of the running server"),
			boolFlag("changed", &o.changed, "leave out settings that have their default"),
			boolFlag("json", &o.json, "print JSON"),
		}, flags...),
		Action: func(ctx context.Context, _ *cli.Command) (err error) {
			c.fitMemory(findMemory(env), originsOf(ctx))
			settings := settingsOf(ctx, flags)
			if o.running {
				if settings, err = runningSettings(ctx, newOperator(env, c.socket, c.db)); err != nil {
					return err
				}
			}
			return o.print(env.stdout, settings)
		},
	}
}

func runningSettings(ctx context.Context, o *operator) ([]server.Setting, error) {
	var answer struct{ Settings []server.Setting }
	err := o.ask(ctx, "GET", "/config", nil, &answer)
	return answer.Settings, err
}

func (o *configOptions) print(w io.Writer, settings []server.Setting) error {
	kept := []server.Setting{}
	for _, s := range settings {
		if !o.changed || s.From != defaultOrigin {
			kept = append(kept, s)
		}
	}
	if o.json {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(map[string]any{"settings": kept})
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tFROM")
	for _, s := range kept {
		fmt.Fprintf(table, "%s\t%s\t%s\n", s.Name, s.Value, s.From)
	}
	return table.Flush()
}

package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// removedFlags are flags of serve that are no more, and what their operators do
// instead. Whoever gives one is told, and nothing is started: a setting that has
// silently lost its effect is worse.
var removedFlags = []struct{ name, instead string }{
	{"header-read", "a request's header always has 10 s to come: leave it out"},
	{"body-read", "a request's body always has 30 s to come: leave it out"},
	{"idle", "connections that are idle are always closed after 2m: leave it out, and have a proxy close its own before that"},
	{"answer-write", "an answer always has 30 s to be taken, and a second for each 32 KiB: leave it out"},
	{"sweep-every", "what has had its time is always ended every minute: leave it out"},
	{"status-every", "the plots of the status page always have a point for each minute: leave it out"},
	{"claim-welcomes", "a claim that does not say how many it wants always gets 10 Welcomes: have clients send max"},
	{"max-answer-size", "an answer always has at most 8 MiB, and less in little memory: leave it out"},
	{"max-header-size", "a request's header always has at most 32 KiB: leave it out"},
	{"max-headers", "a request's header always has at most 100 fields: leave it out"},
	{"max-requests", "there are as many requests at a time as --max-connections says: set that"},
	{"max-waits", "as many claims wait at a time as --max-connections says: set that"},
	{"max-requests-per-caller", "one caller always has at most 256 requests at a time: leave it out"},
	{"max-waits-per-caller", "at most 100 claims of one caller always wait at a time: leave it out"},
	{"max-waits-per-device", "at most 4 claims of one device always wait at a time: leave it out"},
	{"caller-budget", "set --budgets caller=N+N/h"},
	{"pair-budget", "set --budgets pair=N+N/h"},
	{"target-budget", "set --budgets target=N+N/h"},
	{"publish-budget", "set --budgets publish=N+N/h"},
	{"store-budget", "set --budgets store=BYTES+BYTES/h"},
	{"check-time-burst", "set --budgets check_time=10s+200ms/s"},
	{"check-time-per-second", "set --budgets check_time=10s+200ms/s"},
	{"oidc-algorithms", "the algorithms that are safe are always believed, as the issuer's keys say: leave it out"},
	{"oidc-leeway", "the issuer's clock may always be 30 s from this one: leave it out"},
	{"backup-s3-path-style", "how the bucket is named follows from --backup-s3-endpoint: leave it out"},
}

// undefined is what the library says before the name of a flag that a command
// does not have.
const undefined = "flag provided but not defined: -"

// removedFlag returns what to do instead of the flag that err says is not
// defined, if there was one.
func removedFlag(err error) error {
	name, found := strings.CutPrefix(err.Error(), undefined)
	if !found {
		return nil
	}
	for _, flag := range removedFlags {
		if flag.name == strings.TrimLeft(name, "-") {
			return fmt.Errorf("--%s is no longer a flag: %s", flag.name, flag.instead)
		}
	}
	return nil
}

// removedVariables is an error of all variables of removed flags that are set, if
// cmd has the flags of serve.
func removedVariables(env environment, cmd *cli.Command) error {
	var wrong problems
	if cmd.Name != "serve" && cmd.Name != "config" {
		return nil
	}
	for _, flag := range removedFlags {
		name := envName(flag.name)
		if value, _ := env.lookup(name); value != "" {
			wrong.when(true, "%s is no longer a setting: %s", env.settings.origin(name), flag.instead)
		}
	}
	return wrong.all()
}

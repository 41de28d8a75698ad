package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"
)

// removedFlags has flags that serve no longer has, and what to do instead. If one is given,
// serve says so and does not start: a setting that has silently lost its effect would be worse.
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
	{"max-waits-per-caller", "no more than 100 claims of one caller wait at a time: leave it out"},
	{"max-waits-per-device", "no more than 4 claims of one device wait at a time: leave it out"},
	{"caller-budget", "set --budgets caller=N+N/h"},
	{"pair-budget", "set --budgets pair=N+N/h"},
	{"target-budget", "set --budgets target=N+N/h"},
	{"publish-budget", "set --budgets publish=N+N/h"},
	{"store-budget", "set --budgets store=BYTES+BYTES/h"},
	{"check-time-burst", "set --budgets check_time=DURATION+DURATION/s"},
	{"check-time-per-second", "set --budgets check_time=DURATION+DURATION/s"},
	{"max-key-packages-per-publish", "one request always publishes at most 100 KeyPackages: have clients send several"},
	{"max-key-packages-per-user", "it is 5,000, or ten times --max-key-packages-per-device if that is more: set that flag"},
	{"max-retired-per-device", "it is 20,000, or 40 times --max-key-packages-per-device if that is more: set that flag"},
	{"max-retired-per-user", "it is 40,000, or 80 times --max-key-packages-per-device if that is more: set that flag"},
	{"max-users-per-reserve", "a reservation is always for at most 1,000 users: have clients make several"},
	{"max-devices-per-reserve", "a reservation is always for at most 5,000 devices: have clients make several"},
	{"max-key-package-size", "a KeyPackage always has at most 64 KiB: leave it out"},
	{"max-context-size", "a Welcome's context always has at most 4 KiB: leave it out"},
	{"max-recipients-per-welcome", "a Welcome always has at most 5,000 recipients: have clients add more in a second Commit"},
	{"max-pending-size-per-device", "it is 64 MiB, or 16 times --max-welcome-size if that is more: set that flag"},
	{"max-pending-per-poster", "it is a quarter of --max-pending-per-device: set that flag"},
	{"max-pending-size-per-poster", "it is 16 MiB, or four times --max-welcome-size if that is more: set that flag"},
	{"max-open-per-device", "it is 5,000, or five times --max-pending-per-device if that is more: set that flag"},
	{"max-tokens-per-owner", "a user, a device or a service always has at most 100 tokens: revoke those that nobody uses"},
	{"retired-for", "Welcomes may always name a KeyPackage for 30d after it left the shelf: leave it out"},
	{"lifetime-margin", "no KeyPackage with less than a day of lifetime left is ever handed out: leave it out"},
	{"clock-skew", "a lifetime may always begin a day in the future: leave it out"},
	{"redelivery", "a claimed Welcome is always delivered again for 14d until it is acknowledged: leave it out"},
	{"tombstone-kept", "KeyPackages that have ended are always remembered for at least 30d: leave it out"},
	{"tombstone-kept-most", "KeyPackages that have ended are always remembered for at most 400d: leave it out"},
	{"reservation-overdue", "a reservation always counts as abandoned after a day: leave it out"},
	{"hold-overdue", "a hold always counts as overdue after an hour: leave it out"},
	{"idempotency-kept", "an Idempotency-Key is always remembered for a day: leave it out"},
	{"oidc-algorithms", "the algorithms that are safe are always believed, as the issuer's keys say: leave it out"},
	{"oidc-leeway", "the issuer's clock may always be 30 s from this one: leave it out"},
	{"backup-keep-days", "it is the second part of --backup-keep, 8+7d"},
	{"backup-s3-path-style", "how the bucket is named follows from --backup-s3-endpoint: leave it out"},
}

// undefined is the text of the library in front of the name of a flag that a command does not
// have.
const undefined = "flag provided but not defined: -"

// removedFlag returns what to do instead, if err is about a flag that was removed.
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

// removedVariables returns an error about all variables of removed flags that are set, if cmd
// has the flags of serve.
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

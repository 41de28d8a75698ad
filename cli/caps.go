package cli

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	"welcomed/server"
)

func identityTemplate(p *server.IdentityTemplate) cli.Value {
	return value[server.IdentityTemplate]{p, func(s string) (server.IdentityTemplate, error) {
		t := server.IdentityTemplate(s)
		return t, t.Check()
	}, func(t server.IdentityTemplate) string { return string(t) }}
}

// match says which KeyPackages a Welcome can match.
func match(reservedOnly *bool) cli.Value {
	names := map[bool]string{false: "any", true: "reserved"}
	return choiceOf{value[bool]{reservedOnly, func(s string) (bool, error) {
		if s != names[false] && s != names[true] {
			return false, fmt.Errorf("it can be %s, %s", names[false], names[true])
		}
		return s == names[true], nil
	}, func(reserved bool) string { return names[reserved] }}, []string{names[false], names[true]}}
}

// leastSize is how large an empty file is.
const leastSize = 32 << 10

// checkCaps refuses settings that cannot work.
func (c *config) checkCaps() error {
	if c.maxSize > 0 && c.maxSize < leastSize {
		return fmt.Errorf("--max-size %s is less than an empty database takes: at least %s", formatSize(c.maxSize), formatSize(leastSize))
	}
	return nil
}

// warn warns of settings that are allowed and probably not meant.
func (c *config) warn(env environment, log *slog.Logger) {
	if c.identity.Ambiguous() {
		log.Warn("the text between {user} and {device} can be part of an id, so two devices may have the same identity",
			"credential_identity", string(c.identity))
	}
	if names := unknownVariables(env, append(os.Environ(), env.settings.names()...)); len(names) > 0 {
		log.Warn("unknown variables in the environment were ignored", "names", strings.Join(names, ","))
	}
}

// unknownVariables returns the names in environ that look like those of flags, but belong to no
// flag of any command.
func unknownVariables(env environment, environ []string) (unknown []string) {
	known := map[string]bool{}
	noteFlags(root(env), known)
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, envName("")) && !known[strings.TrimSuffix(name, "_FILE")] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return slices.Compact(unknown)
}

// noteFlags notes the names that the flags of a command, and of those below it, have in the
// environment.
func noteFlags(command *cli.Command, known map[string]bool) {
	for _, flag := range command.Flags {
		known[envName(flag.Names()[0])] = true
	}
	for _, below := range command.Commands {
		noteFlags(below, known)
	}
}

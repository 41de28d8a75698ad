package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/mls"
)

// envName returns the name of a flag in the environment.
func envName(flag string) string {
	return "WELCOMED_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// named makes the help show the variable of a flag. fromEnvironment reads its value, because
// its errors name the variable.
func named(flag string) cli.ValueSourceChain {
	return cli.NewValueSourceChain(envHint(envName(flag)))
}

type envHint string

func (h envHint) Lookup() (string, bool) { return "", false }
func (h envHint) IsFromEnv() bool        { return true }
func (h envHint) Key() string            { return string(h) }
func (h envHint) String() string         { return string(h) }
func (h envHint) GoString() string       { return string(h) }

// origins says where the value of each flag comes from: flagOrigin, a variable of the
// environment, or the file that a variable names. A flag that is not in it has its default.
type origins map[string]string

const (
	flagOrigin    = "flag"
	defaultOrigin = "default"
)

func (o origins) of(flag string) string { return cmp.Or(o[flag], defaultOrigin) }

// fromEnvironment sets the flags that the command line does not set. An empty variable counts
// as none, because compose files cannot leave one out in another way. The error has everything
// that is wrong.
func fromEnvironment(env environment, cmd *cli.Command) (origins, error) {
	from := origins{}
	var wrong problems
	for _, flag := range cmd.Flags {
		name := flag.Names()[0]
		if flag.IsSet() {
			from[name] = flagOrigin
			continue
		}
		origin, err := setFromEnvironment(env, cmd, flag)
		wrong.note(err)
		if origin != "" {
			from[name] = origin
		}
	}
	wrong.note(removedVariables(env, cmd))
	return from, wrong.all()
}

// setFromEnvironment returns where it has found a value; empty if nowhere.
func setFromEnvironment(env environment, cmd *cli.Command, flag cli.Flag) (origin string, err error) {
	name := flag.Names()[0]
	if s, ok := secretOf(flag); ok {
		return s.fromEnvironment(env, name)
	}
	if file, _ := env.lookup(envName(name) + "_FILE"); file != "" {
		return "", fmt.Errorf("%s_FILE is set, but only secrets are read from files: set %s", envName(name), envName(name))
	}
	value, _ := env.lookup(envName(name))
	if value == "" {
		return "", nil
	}
	if err := cmd.Set(name, value); err != nil {
		return "", fmt.Errorf("invalid value %q for %s: %w", value, envName(name), err)
	}
	return env.settings.origin(envName(name)), nil
}

func textFlag(name string, p *string, usage string) cli.Flag {
	return &cli.StringFlag{Name: name, Usage: usage, Value: *p, Destination: p, Sources: named(name)}
}

func boolFlag(name string, p *bool, usage string) cli.Flag {
	return &cli.BoolFlag{Name: name, Usage: usage, Value: *p, Destination: p, Sources: named(name)}
}

// valueFlag is a flag whose default is what v has now.
func valueFlag(name string, v cli.Value, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage, Value: v, Sources: named(name)}
}

// A value is a cli.Value that sets a T somewhere.
type value[T any] struct {
	p      *T
	parse  func(string) (T, error)
	format func(T) string
}

func (v value[T]) Set(s string) error {
	t, err := v.parse(strings.TrimSpace(s))
	if err == nil {
		*v.p = t
	}
	return err
}

func (v value[T]) String() string { return v.format(*v.p) }
func (v value[T]) Get() any       { return *v.p }

// number is a whole number that is at least least.
func number(p *int, least int) cli.Value {
	return value[int]{p, func(s string) (int, error) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least {
			return 0, fmt.Errorf("not a whole number of at least %d", least)
		}
		return n, nil
	}, strconv.Itoa}
}

// A following is a value on which other values depend.
type following struct {
	cli.Value
	follow func()
}

// then calls follow whenever v is set.
func then(v cli.Value, follow func()) cli.Value { return following{v, follow} }

func (f following) Set(s string) error {
	err := f.Value.Set(s)
	if err == nil {
		f.follow()
	}
	return err
}

// duration is a time of at least least, in the units of time.ParseDuration and
// in days of 24 hours.
func duration(p *time.Duration, least time.Duration) cli.Value {
	return value[time.Duration]{p, func(s string) (time.Duration, error) {
		d, err := parseDuration(s)
		if err == nil && d < least {
			err = fmt.Errorf("less than %s", formatDuration(least))
		}
		return d, err
	}, formatDuration}
}

const day = 24 * time.Hour

// longest is about 100 years, far from where time.Duration overflows.
const longest = 36500 * day

func parseDuration(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	} else if rest == "" {
		rest = "0"
	}
	n, err := strconv.Atoi(days)
	d, restErr := time.ParseDuration(rest)
	if err != nil || restErr != nil || n < 0 || d < 0 || n > int(longest/day) || d > longest {
		return 0, errors.New("not a duration like 90d, 12h or 30s")
	}
	return time.Duration(n)*day + d, nil
}

func formatDuration(d time.Duration) string {
	switch {
	case d == 0:
		return "0"
	case d%day == 0:
		return strconv.Itoa(int(d/day)) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// units are those of a size, the largest first.
var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"GB", 1e9}, {"MiB", 1 << 20}, {"MB", 1e6}, {"KiB", 1 << 10}, {"KB", 1e3}, {"kB", 1e3}, {"B", 1}}

// size is a number of bytes, with or without a unit, that is at least least.
func size[T int | int64](p *T, least T) cli.Value {
	return value[T]{p, func(s string) (T, error) {
		n, err := parseSize(s)
		if err == nil && (n < int64(least) || int64(T(n)) != n) {
			err = fmt.Errorf("less than %d bytes or more than this machine can address", least)
		}
		return T(n), err
	}, func(n T) string { return formatSize(int64(n)) }}
}

func parseSize(s string) (int64, error) {
	unit := int64(1)
	for _, u := range units {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSpace(digits), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, errors.New("not a size like 65536, 64KiB, 4MiB, 8GiB or 8GB")
	}
	return n * unit, nil
}

func formatSize(n int64) string {
	for _, u := range units {
		if n >= u.bytes && n%u.bytes == 0 && u.bytes > 1 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// cipherSuites is a list of suite numbers.
func cipherSuites(p *[]mls.CipherSuite) cli.Value {
	return value[[]mls.CipherSuite]{p, parseSuites, formatSuites}
}

func parseSuites(s string) (suites []mls.CipherSuite, err error) {
	for item := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(strings.TrimSpace(item), 10, 16)
		suite := mls.CipherSuite(n)
		if err != nil || !suite.Known() || slices.Contains(suites, suite) {
			return nil, errors.New("not a list of different suites from 1 to 7, like 1,2,3")
		}
		suites = append(suites, suite)
	}
	return suites, nil
}

func formatSuites(suites []mls.CipherSuite) string {
	numbers := make([]string, len(suites))
	for i, s := range suites {
		numbers[i] = strconv.Itoa(int(s))
	}
	return strings.Join(numbers, ",")
}

// A choiceOf is a value that has to be one of some words.
type choiceOf struct {
	cli.Value
	words []string
}

// choice is one of some words.
func choice(p *string, words ...string) cli.Value {
	return choiceOf{value[string]{p, func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("it can be %s", strings.Join(words, ", "))
		}
		return s, nil
	}, func(s string) string { return s }}, words}
}

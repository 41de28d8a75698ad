package explain

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"welcomed/delivery"
	"welcomed/mls"
)

// quote writes a stranger's text: what does not print is escaped, so that it can
// do nothing to a terminal, nor turn the text around it.
func quote(s string) string {
	const most = 300
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

// clean is the last guard in front of a terminal: whatever was not quoted, no line
// has in it what does not print.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// who names a caller by its id.
func who(id string) string {
	if id == "" {
		return "an anonymous caller"
	}
	if name, ok := strings.CutPrefix(id, "service/"); ok {
		return "the service " + quote(name)
	}
	return quote(id)
}

// short abbreviates a ref or the id of a Welcome.
func short(s string) string {
	const most = 12
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}

func shortRef(ref mls.KeyPackageRef) string { return "KeyPackage " + short(ref.String()) }

func shortWelcome(id delivery.WelcomeID) string { return "Welcome " + short(id.String()) }

// plural is "1 device" and "2 devices".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// are is the verb behind a plural.
func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// stamp is how a time is written.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Truncate(time.Second).Format(time.RFC3339)
}

// ago is a time with how long it is before now, or after.
func ago(t, now time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < 0:
		return stamp(t) + " (in " + span(-d) + ")"
	default:
		return stamp(t) + " (" + span(d) + " ago)"
	}
}

// span is a duration as people say it.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "a moment"
	case d < 2*time.Minute:
		return plural(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
}

// joined is "a, b and c".
func joined(list []string) string {
	switch n := len(list); n {
	case 0:
		return ""
	case 1:
		return list[0]
	default:
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
}

// AskedSuites says of which cipher suites a KeyPackage was asked for, and which the
// device has.
func AskedSuites(asked, has []mls.CipherSuite) string {
	said := "any cipher suite was asked for"
	if len(asked) > 0 {
		said = suites(asked) + " asked for"
	}
	if len(has) > 0 {
		said += ", the device has " + suites(has)
	}
	return said
}

func suites(list []mls.CipherSuite) string {
	var names []string
	for _, s := range list {
		names = append(names, strconv.Itoa(int(s)))
	}
	if len(names) == 1 {
		return "cipher suite " + names[0]
	}
	return "cipher suites " + joined(names)
}

package main

import (
	"regexp"
	"strings"
)

const anything = "…"

// varying are what is another in each run, the longest first.
var varying = []*regexp.Regexp{
	regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d| UTC)?`),
	regexp.MustCompile(`\b\d{8}T\d{6}Z`),
	regexp.MustCompile(`\b[0-9a-f]{12,}\b`),
	regexp.MustCompile(`[A-Za-z0-9+/_-]{40,}={0,2}`),
	regexp.MustCompile(`\b\d+(\.\d+)?( ?(B|[kKMG]i?B|bytes|ns|µs|ms|s|m|h|d|min))+\b`),
	regexp.MustCompile(`\b\d+\.\d+(e[+-]?\d+)?\b`),
	regexp.MustCompile(`\b\d{6,}\b`),
}

func plain(line string) string {
	for _, v := range varying {
		line = v.ReplaceAllString(line, "~")
	}
	return strings.Join(strings.Fields(line), " ")
}

// matches reports whether a command that should print want has printed got.
func matches(want, got []string) bool {
	for len(want) > 0 && strings.TrimSpace(want[len(want)-1]) == "" {
		want = want[:len(want)-1]
	}
	if len(want) == 0 {
		return len(got) == 0
	}
	if want[0] == anything {
		for skip := 0; skip <= len(got); skip++ {
			if matches(want[1:], got[skip:]) {
				return true
			}
		}
		return false
	}
	return len(got) > 0 && sameLine(want[0], got[0]) && matches(want[1:], got[1:])
}

func sameLine(want, got string) bool {
	pieces := strings.Split(want, anything)
	for i, p := range pieces {
		pieces[i] = regexp.QuoteMeta(plain(p))
	}
	return regexp.MustCompile(`^` + strings.Join(pieces, ` ?.*`) + `$`).MatchString(plain(got))
}

package status

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"welcomed/delivery"
	"welcomed/mls"
)

// Number writes n with a comma between thousands.
func Number[N int | uint64](n N) string {
	digits := strconv.FormatUint(uint64(n), 10)
	if n < 0 {
		return "−" + Number(-n)
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func plural[N int | uint64](n N, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return Number(n) + " " + more
}

// Bytes writes a size with three digits.
func Bytes(n int64) string {
	size, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	unit := ""
	for _, unit = range units {
		if size /= 1024; size < 1000 {
			break
		}
	}
	return threeDigits(size) + " " + unit
}

// Seconds writes a short time with three digits.
func Seconds(s float64) string {
	switch {
	case s <= 0:
		return "0 ms"
	case s < .001:
		return threeDigits(s*1e6) + " µs"
	case s < 1:
		return threeDigits(s*1e3) + " ms"
	}
	return threeDigits(s) + " s"
}

func threeDigits(f float64) string {
	switch {
	case f >= 99.95:
		return strconv.FormatFloat(f, 'f', 0, 64)
	case f >= 9.995:
		return strings.TrimSuffix(strconv.FormatFloat(f, 'f', 1, 64), ".0")
	}
	return strings.TrimSuffix(strings.TrimSuffix(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".0")
}

func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// Ago writes a time in its two largest units: "3 d 4 h".
func Ago(d time.Duration) string {
	d = max(0, d)
	units := []struct {
		size time.Duration
		name string
	}{{day, "d"}, {hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}}
	for i, u := range units {
		if d < u.size && u.size > time.Second {
			continue
		}
		text := fmt.Sprintf("%d %s", d/u.size, u.name)
		if i+1 < len(units) && d%u.size >= units[i+1].size && d < 10*u.size {
			text += fmt.Sprintf(" %d %s", d%u.size/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return ""
}

// Span says in which time these were, behind what they say.
func (c Counts) Span() string {
	if c.Seconds >= .98*hour.Seconds() {
		return "in the last hour"
	}
	return "in the last " + Ago(duration(c.Seconds))
}

// sentence makes one of an error's text.
func sentence(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if s != "" && !strings.HasSuffix(s, ".") {
		s += "."
	}
	return upper(s)
}

func upper(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

func sortedSuites(shelves map[mls.CipherSuite]delivery.Shelf) []mls.CipherSuite {
	return slices.Sorted(maps.Keys(shelves))
}

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

// A reason is why a recipient could not be served, in words.
type reason struct{ words, advice string }

var reasons = map[string]reason{
	string(delivery.StatusUnknown): {"for KeyPackages that are not known here",
		"Adders must take KeyPackages from this server, shortly before they use them: see that clients keep none."},
	string(delivery.StatusConsumed): {"for KeyPackages that were consumed before",
		"Adders must reserve a KeyPackage for each group, and use none twice."},
	string(delivery.StatusTaken): {"for KeyPackages that another Welcome or adder has",
		"Two adders picked the same one: clients should reserve KeyPackages, not pick them from a list."},
	string(delivery.StatusExpired): {"for KeyPackages that had expired",
		"Devices must publish longer before theirs expire, and adders use what they take at once. Are their clocks right?"},
	string(delivery.StatusWithdrawn): {"for KeyPackages that their device had withdrawn",
		"The device was removed or set up anew: the adder takes another KeyPackage and tries again."},
	string(delivery.StatusWrongSuite): {"with another cipher suite than the KeyPackage",
		"The adder's client is wrong: a Welcome has the cipher suite of the KeyPackages that it is for."},
	string(delivery.StatusMailboxFull): {"for devices whose mailbox is full",
		"These devices have not claimed for long. If they are gone, have their owners remove them; --max-pending-per-device allows more."},
	string(delivery.StatusNotReserved): {"for KeyPackages that the poster has not reserved",
		"With --match reserved adders must reserve KeyPackages first; a list is not enough."},
	"withheld": {"for private keys that the device no longer has",
		"A device lost its keys: it was restored, or set up anew, and must sync its inventory so that no more of the old ones are handed out."},
	string(delivery.StatusRejected): {"because the device could not open them",
		"Ask below about such a user: it says what the device gave as the reason."},
}

// Reason says a mismatch in words that go behind “12 of them”.
func Reason(label string) string {
	if r, ok := reasons[label]; ok {
		return r.words
	}
	return "because of " + label
}

// ReasonAdvice says what to do about a mismatch.
func ReasonAdvice(label string) string {
	if r, ok := reasons[label]; ok {
		return r.advice
	}
	return "Ask below about such a user."
}

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

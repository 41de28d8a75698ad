package delivery

import (
	"errors"
	"regexp"
	"strings"
	"testing"
)

func TestValidIdentifier(t *testing.T) {
	for _, s := range []string{"a", "...", ".a", "..a", "a.", "AZaz09._~@:+=-", "alice@example.org", "did:key:z6Mk", "auth0|5f7c", "o'brien@example.org",
		"!$&'()*,;[]", strings.Repeat("x", 255)} {
		if err := ValidIdentifier(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", ".", "..", "a/b", "a b", "a%20", "é", "a\x00", "a\n", "a\x7f", `a\b`, "a?", "a#", `a"`, "<a", "a>", "a^", "a`", "{a", "a}",
		"mimi://a", strings.Repeat("x", 256)} {
		if err := ValidIdentifier(s); !errors.Is(err, ErrBadIdentifier) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// What clients are told to check by is what the server checks.
func TestThePatternIsTheRule(t *testing.T) {
	pattern := regexp.MustCompile(IdentifierPattern)
	for b := range 256 {
		for _, s := range []string{string([]byte{byte(b)}), "." + string([]byte{byte(b)}), string([]byte{'a', byte(b), '.'}), strings.Repeat(string([]byte{byte(b)}), 3)} {
			if valid := ValidIdentifier(s) == nil; pattern.MatchString(s) != valid {
				t.Errorf("%q is valid: %v, and matches: %v", s, valid, !valid)
			}
		}
	}
}

func TestDeviceIDIsValidIfBothPartsAre(t *testing.T) {
	if err := (DeviceID{"alice", "phone"}).Valid(); err != nil {
		t.Error(err)
	}
	for _, d := range []DeviceID{{}, {"alice", ""}, {"", "phone"}, {"alice/x", "phone"}, {"alice", ".."}} {
		if err := d.Valid(); !errors.Is(err, ErrBadIdentifier) {
			t.Errorf("%v: %v", d, err)
		}
	}
}

func TestCaller(t *testing.T) {
	bob, robot, nobody := Caller{User: "bob"}, Caller{Service: "bob"}, Caller{}
	open, operator := Unauthenticated(), Operator()
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"a user's id is the user", bob.ID(), "bob"},
		{"a service that acts for a user is the user", Caller{User: "bob", Service: "bridge"}.ID(), "bob"},
		{"a device is its user", Caller{User: "bob", Device: "phone"}.ID(), "bob"},
		{"a service is not the user of its name", robot.ID(), "service/bob"},
		{"nobody has no id", nobody.ID(), ""},
		{"nobody has no power", nobody.Unrestricted(), false},
		{"nobody is no caller", nobody.Valid(), ErrNoCaller},
		{"nor is a device of nobody", Caller{Device: "phone"}.Valid(), ErrNoCaller},
		{"a user is one", bob.Valid(), nil},
		{"a service is one", robot.Valid(), nil},
		{"a service is bound by the rules", robot.Unrestricted(), false},
		{"without authentication there are no rules", open.Unrestricted(), true},
		{"nor an id", open.ID(), ""},
		{"but a caller", open.Valid(), nil},
		{"there are none for the operator", operator.Unrestricted(), true},
		{"who is no user", operator.ID(), "operator/"},
		{"and is a caller", operator.Valid(), nil},
		{"a caller may use its own", bob.May("bob"), true},
		{"and no other's", bob.May("service/bob"), false},
		{"nor nobody's", bob.May(""), false},
		{"nobody may use nothing of a user", nobody.May("bob"), false},
		{"nor what was left without authentication", nobody.May(""), false},
		{"a user may not use that either", bob.May(""), false},
		{"without authentication everything may be used", open.May("bob"), true},
		{"the operator may use everything", operator.May("bob"), true},
		{"a device is itself", Caller{User: "bob", Device: "phone"}.IsDevice(DeviceID{"bob", "phone"}), true},
		{"not the other's of that name", Caller{User: "bob", Device: "phone"}.IsDevice(DeviceID{"eve", "phone"}), false},
		{"a user is no device", bob.IsDevice(DeviceID{"bob", ""}), false},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v", test.name, test.got)
		}
	}
}

func TestWelcomeID(t *testing.T) {
	w := []byte("welcome")
	ids := map[WelcomeID]string{}
	for _, c := range []Caller{Unauthenticated(), Operator(), {User: "bob"}, {User: "bo"}, {Service: "bob"}} {
		id := IDOf(c, w)
		if other, ok := ids[id]; ok {
			t.Errorf("%q and %q have one id", other, c.ID())
		}
		ids[id] = c.ID()
		if back, err := ParseWelcomeID(id.String()); err != nil || back != id {
			t.Errorf("%v reads as %v, %v", id, back, err)
		}
	}
	// printf 'bob\0x' | sha256sum
	if got := IDOf(Caller{User: "bob"}, []byte("x")).String(); got != "993f5b976dd1b174806102e43c63abfcec2c438348a272faa3a289f018ac46dc" {
		t.Errorf("got %s", got)
	}
	id := IDOf(Unauthenticated(), w).String()
	for _, s := range []string{"", id[1:], id + "00", strings.ToUpper(id), "zz" + id[2:]} {
		if _, err := ParseWelcomeID(s); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

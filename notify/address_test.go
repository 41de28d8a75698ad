package notify

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyPublicAddressesAreAllowedByThemselves(t *testing.T) {
	for _, test := range []struct {
		address string
		public  bool
	}{
		{"9.9.9.9", true}, {"2620:fe::fe", true}, {"::ffff:9.9.9.9", true}, {"172.32.0.1", true}, {"100.128.0.1", true},
		{"127.0.0.1", false}, {"127.9.9.9", false}, {"::1", false}, {"::", false}, {"0.0.0.0", false}, {"0.1.2.3", false},
		{"10.0.0.1", false}, {"172.16.0.1", false}, {"172.31.255.255", false}, {"192.168.1.1", false}, {"100.64.0.1", false},
		{"169.254.169.254", false}, {"fe80::1", false}, {"fe80::1%eth0", false}, {"fc00::1", false}, {"fd00:ec2::254", false},
		{"::ffff:127.0.0.1", false}, {"::ffff:169.254.169.254", false}, {"::127.0.0.1", false}, {"64:ff9b::7f00:1", false},
		{"2002:7f00:1::", false}, {"2001::1", false}, {"2001:db8::1", false}, {"fec0::1", false},
		{"224.0.0.1", false}, {"ff02::1", false}, {"255.255.255.255", false}, {"240.0.0.1", false},
		{"192.0.2.1", false}, {"198.51.100.1", false}, {"203.0.113.1", false}, {"198.18.0.1", false}, {"192.0.0.8", false},
	} {
		ip := netip.MustParseAddr(test.address)
		if err := (Allow{}).address(ip); (err == nil) != test.public || err != nil && !errors.Is(err, ErrNotAllowed) {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

func TestWhatIsAllowed(t *testing.T) {
	for _, test := range []struct {
		url   string
		allow []string
		good  bool
	}{
		{"https://example.com/hook", nil, true},
		{"https://9.9.9.9/hook", nil, true},
		{"https://[2620:fe::fe]:8443/", nil, true},
		{"http://example.com/hook", nil, false},
		{"http://example.com/hook", []string{"example.com"}, true},
		{"http://EXAMPLE.com./hook", []string{"Example.COM"}, true},
		{"http://other.example.com/", []string{"example.com"}, false},
		{"http://127.0.0.1:8000/", nil, false},
		{"https://127.0.0.1:8000/", nil, false},
		{"https://[::1]/", nil, false},
		{"https://[::ffff:10.0.0.1]/", nil, false},
		{"https://[::ffff:10.0.0.1]/", []string{"10.0.0.0/8"}, true},
		{"http://10.1.2.3/", []string{"10.1.0.0/16"}, true},
		{"http://10.2.2.3/", []string{"10.1.0.0/16"}, false},
		{"https://169.254.169.254/latest", nil, false},
		{"https://ann:secret@example.com/", nil, false},
		{"https://example.com/#part", nil, false},
		{"https:example.com", nil, false},
		{"ftp://example.com/", []string{"example.com"}, false},
		{"example.com", nil, false},
		{"https://", nil, false},
		{"https://%zz/", nil, false},
		{"https://example.com:99999/", nil, false},
		{"https://example.com:0/", nil, false},
		{"https://[2620:fe::fe]:65536/", nil, false},
		{"https://example.com:65535/", nil, true},
		{"https://example.com:/", nil, true},
		{"https://my_host.example/", nil, true},
		{"https://.:1/", nil, false},
		{"https://a..example/", nil, false},
		{"https://*.example.com/", nil, false},
		{"https://b\u00fccher.example/", nil, false},
		{"https://xn--bcher-kva.example/", nil, true},
		{"https://127.1/", nil, false},
		{"", nil, false},
	} {
		if err := allowing(t, test.allow...).URL(test.url); (err == nil) != test.good {
			t.Errorf("%s with %q allowed: %v", test.url, test.allow, err)
		} else if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
	for _, text := range []string{"", "a/b", "10.0.0.0/33", "https://example.com", "a b", "fe80::1%eth0", "example.com:80",
		"*", "*.example.com", ".", "a..b", "b\u00fccher.example", "10.1", "300.1.1.1", "::ffff:127.0.0.0/104", strings.Repeat("a", 64)} {
		if a, err := ParseAllow(text); err == nil {
			t.Errorf("%q is read as %s", text, a)
		}
	}
}

// TestANameIsLookedAtWhenItIsDialled has a name that looks harmless resolve to this
// machine.
func TestANameIsLookedAtWhenItIsDialled(t *testing.T) {
	reached := false
	url := receive(t, func(http.ResponseWriter, *http.Request) { reached = true })
	byName := strings.Replace(url, "127.0.0.1", "localhost", 1)
	for _, test := range []struct {
		allow []string
		good  bool
	}{
		{nil, false},
		{[]string{"127.0.0.0/8", "::1"}, true}, // and then http:// is refused
		{[]string{"localhost"}, true},
	} {
		reached = false
		a := allowing(t, test.allow...)
		conn, err := a.dial(t.Context(), "tcp", strings.TrimPrefix(byName, "http://"))
		if err == nil {
			conn.Close()
		}
		if (err == nil) != test.good || err != nil && !errors.Is(err, ErrNotAllowed) {
			t.Errorf("with %q allowed: %v", test.allow, err)
		}
	}
	w := webhookTo(t, byName, Options{})
	if err := w.Send(t.Context(), aMessage); !errors.Is(err, ErrNotAllowed) || reached {
		t.Errorf("without the name: %v, reached %t", err, reached)
	}
	w = webhookTo(t, byName, Options{Allow: allowing(t, "localhost")})
	if err := w.Send(t.Context(), aMessage); err != nil || !reached {
		t.Errorf("with the name: %v, reached %t", err, reached)
	}
}

// TestAProxyIsNotUsed: it would choose the address.
func TestAProxyIsNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	if proxy := NewClient(Options{}).http.Transport.(*http.Transport).Proxy; proxy != nil {
		t.Error("there is a proxy")
	}
}

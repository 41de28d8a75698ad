package notify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// ErrNotAllowed: a receiver is at an address that is not public, and nobody has allowed it.
var ErrNotAllowed = errors.New("not allowed")

// Allow names receivers that may be at addresses which are not public, such as those of
// this machine and of the network around it. Without a name all of these are refused: who
// can choose a receiver's URL, or what its name resolves to, would reach through this
// server what only this server can reach.
type Allow struct {
	names    []string // as in a URL, in small letters
	networks []netip.Prefix
}

// ParseAllow reads a host's name, an address or a network as in 10.1.0.0/16.
func ParseAllow(text string) (Allow, error) {
	if network, err := netip.ParsePrefix(text); err == nil {
		if network.Addr().Is4In6() {
			return Allow{}, fmt.Errorf("%q has addresses of IPv4: write them as in 10.1.0.0/16", text)
		}
		return Allow{networks: []netip.Prefix{network.Masked()}}, nil
	}
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return Allow{networks: []netip.Prefix{netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())}}, nil
	}
	if !isName(text) {
		return Allow{}, fmt.Errorf("%q is neither a host's name nor an address nor a network as in 10.1.0.0/16", text)
	}
	return Allow{names: []string{hostName(text)}}, nil
}

// And returns what either of both allows.
func (a Allow) And(b Allow) Allow {
	return Allow{slices.Concat(a.names, b.names), slices.Concat(a.networks, b.networks)}
}

// String is what ParseAllow has read.
func (a Allow) String() string {
	all := slices.Clone(a.names)
	for _, n := range a.networks {
		all = append(all, n.String())
	}
	return strings.Join(all, ", ")
}

// isName reports whether a host's name is one that can be looked up: a name that is not would
// be allowed, and never match. Underscores are none of DNS, and some networks have them.
func isName(host string) bool {
	labels := strings.Split(hostName(host), ".")
	for _, label := range labels {
		odd := func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", c) }
		if label == "" || len(label) > 63 || strings.ContainsFunc(label, odd) {
			return false
		}
	}
	return len(host) <= 254 && strings.Trim(labels[len(labels)-1], "0123456789") != "" // or it is half an address
}

func hostName(host string) string { return strings.TrimSuffix(strings.ToLower(host), ".") }

// URL returns why nothing may be sent to a URL, as far as it says so by itself: the address
// behind a name is looked at when it is dialled.
func (a Allow) URL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("it is not a URL") // the error has the URL, which may be a secret
	}
	return a.url(u)
}

func (a Allow) url(u *url.URL) error {
	host := u.Hostname()
	switch ip, err := netip.ParseAddr(host); {
	case u.Host == "" || host == "" || u.Opaque != "" || u.User != nil || u.Fragment != "":
		return errors.New("it is not a URL like https://example.com/path")
	case err != nil && !isName(host):
		return errors.New("its host is no name that can be looked up, and no address; one with other letters is written as xn--…")
	case !isPort(u.Port()):
		return errors.New("its port is not a number from 1 to 65535")
	case u.Scheme == "http" && !a.named(host):
		return fmt.Errorf("http:// sends without encryption: %w", ErrNotAllowed)
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("it has to begin with https://")
	case err == nil:
		return a.address(ip)
	}
	return nil
}

// isPort reports whether a port of a URL, which may be empty, can be connected to.
func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return text == "" || err == nil && n > 0
}

// named reports whether a host of a URL is allowed, whatever it resolves to.
func (a Allow) named(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return a.has(ip.Unmap())
	}
	return slices.Contains(a.names, hostName(host))
}

func (a Allow) has(ip netip.Addr) bool {
	return slices.ContainsFunc(a.networks, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// address returns ErrNotAllowed unless an address is public or allowed.
func (a Allow) address(ip netip.Addr) error {
	if ip = ip.WithZone("").Unmap(); public(ip) || a.has(ip) {
		return nil
	}
	return fmt.Errorf("%s is not a public address: %w", ip, ErrNotAllowed)
}

// dial connects to an address of a host. It looks at the address that is dialled, after the
// name was resolved: a name that resolves to something else each time gains nothing.
func (a Allow) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(resolved)
		if err != nil || a.named(host) {
			return err
		}
		return a.address(to.Addr())
	}}
	return d.DialContext(ctx, network, address)
}

// public reports whether an address is one of the Internet and of no special purpose, as in
// the two registries of RFC 6890. Of IPv6 only 2000::/3 is handed out at all.
func public(ip netip.Addr) bool {
	if ip.Is6() && !global.Contains(ip) {
		return false
	}
	return ip.IsValid() && !slices.ContainsFunc(special, func(n netip.Prefix) bool { return n.Contains(ip) })
}

var global = netip.MustParsePrefix("2000::/3")

var special = prefixes(
	"0.0.0.0/8",       // this network
	"10.0.0.0/8",      // private
	"100.64.0.0/10",   // behind the NAT of a provider
	"127.0.0.0/8",     // loopback
	"169.254.0.0/16",  // link-local; clouds answer there with credentials
	"172.16.0.0/12",   // private
	"192.0.0.0/24",    // of protocols
	"192.0.2.0/24",    // of documents
	"192.88.99.0/24",  // relays of 6to4
	"192.168.0.0/16",  // private
	"198.18.0.0/15",   // of benchmarks
	"198.51.100.0/24", // of documents
	"203.0.113.0/24",  // of documents
	"224.0.0.0/3",     // multicast, and what is reserved
	"2001::/23",       // of protocols: Teredo has an IPv4 address in it
	"2001:db8::/32",   // of documents
	"2002::/16",       // 6to4 has an IPv4 address in it
	"3fff::/20",       // of documents
)

func prefixes(all ...string) (parsed []netip.Prefix) {
	for _, text := range all {
		parsed = append(parsed, netip.MustParsePrefix(text))
	}
	return parsed
}

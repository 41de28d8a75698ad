package server

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Direct refuses a request that was not made on this machine. A reverse proxy makes a loopback
// address public. So does a browser on this machine that visits a page whose name resolves to
// it (DNS rebinding). nginx adds no header unless it is configured to, but it speaks HTTP/1.0,
// which no client of today does.
func Direct(r *http.Request) error {
	if !r.ProtoAtLeast(1, 1) {
		return fmt.Errorf("%w: it is %s, which reverse proxies speak", errProxied, r.Proto)
	}
	for name := range r.Header {
		if proxyHeader(name) {
			return fmt.Errorf("%w: it has the header %s", errProxied, name)
		}
	}
	if !loopbackHost(r.Host) {
		return fmt.Errorf("%w: Host is %q", errProxied, r.Host)
	}
	for _, origin := range r.Header.Values("Origin") {
		if u, err := url.Parse(origin); err != nil || !loopbackHost(u.Host) {
			return fmt.Errorf("%w: Origin is %q", errProxied, origin)
		}
	}
	return nil
}

func proxyHeader(name string) bool {
	switch name {
	case "Forwarded", "Via", "X-Real-Ip":
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// loopbackHost reports whether hostport, as in a Host header, names this machine.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if inner, ok := strings.CutPrefix(hostport, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

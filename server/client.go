package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// clientAddress returns the address that a request comes from: of its peer, or the one that
// trusted proxies name. In X-Forwarded-For the rightmost address that is no trusted proxy
// counts. Anybody may have written what stands left of it.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	peer := parseAddress(r.RemoteAddr)
	if !s.trusted(peer) {
		return peer
	}
	client := peer
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		addr := parseAddress(strings.TrimSpace(hop))
		if !addr.IsValid() {
			return peer
		}
		if client = addr; !s.trusted(client) {
			break
		}
	}
	return client
}

// parseAddress reads an address with or without a port. It returns the zero Addr for any other
// text.
func parseAddress(text string) netip.Addr {
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone("")
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}

func (s *Server) trusted(addr netip.Addr) bool {
	return slices.ContainsFunc(s.options.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// shared reports whether many clients may have this address, because they are on this machine
// or behind a trusted proxy.
func (s *Server) shared(addr netip.Addr) bool {
	return !addr.IsValid() || addr.IsLoopback() || s.trusted(addr)
}

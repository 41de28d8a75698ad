package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/urfave/cli/v3"

	"welcomed/server"
)

// clientFlags are the flags about clients: who connects, and what they may take of the server
// at the same time.
func (c *config) clientFlags() []cli.Flag {
	k := &c.clientCaps
	return []cli.Flag{
		textFlag("tls-cert", &c.tlsCert, "serve the API over TLS, with the certificate chain in PEM `FILE`, which is read again when it changes"),
		textFlag("tls-key", &c.tlsKey, "the key of --tls-cert, in PEM `FILE`"),
		secretFlag("admin-token", &c.adminToken, "--admin-listen requires `TOKEN`, except for /livez and /readyz"),
		valueFlag("trusted-proxies", prefixes(&c.trustedProxies), "believe X-Forwarded-For from these `ADDRESSES` and networks"),
		valueFlag("cors-origin", originList(&c.origins), "pages from `ORIGINS` like https://app.example.org may use the API; may be given several times"),
		valueFlag("max-connections", then(number(&k.Connections, 1), func() { k.Requests, k.Waits = k.Connections, k.Connections }),
			"at most `N` connections, as many requests and as many waiting claims; an idle connection is closed for a new one"),
		valueFlag("max-connections-per-address", number(&k.ConnectionsPerAddress, 1), "at most `N` connections from one address, except from this machine and trusted proxies"),
		valueFlag("max-body-memory", size(&k.BodyMemory, 1), "all bodies and answers take at most `BYTES` of memory at a time"),
	}
}

// bodyMemoryShare is how many of the largest bodies the memory for bodies must have room for.
// One caller gets a third of it.
const bodyMemoryShare = 3

// shortestToken is how many characters a token of a flag has at least.
const shortestToken = 16

// checkSecret says why the token of a flag, if there is one, is none.
func checkSecret(flag, token string) error {
	unprintable := func(r rune) bool { return r <= ' ' || r > '~' }
	var wrong problems
	wrong.when(token != "" && len(token) < shortestToken, "%s has %d characters, at least %d are wanted", flag, len(token), shortestToken)
	wrong.when(strings.ContainsFunc(token, unprintable), "%s has characters that cannot stand in a header", flag)
	return wrong.all()
}

func (c *config) checkClients() error {
	largest := max(int64(c.answerBytes), server.LargestBody(c.limits))
	var wrong problems
	wrong.when((c.tlsCert == "") != (c.tlsKey == ""), "--tls-cert and --tls-key are given both or not at all")
	wrong.note(checkSecret("--admin-token", c.adminToken))
	wrong.when(c.clientCaps.BodyMemory < bodyMemoryShare*largest,
		"--max-body-memory %s is less than %d times the largest body or answer, which has %d bytes",
		formatSize(c.clientCaps.BodyMemory), bodyMemoryShare, largest)
	return wrong.all()
}

// guardAdmin checks an admin listener that other machines can reach. Without a token it is
// served with a warning, because it only reads. But with --pprof it is refused: profiles
// contain what is in memory, secrets too.
func (c *config) guardAdmin(addr net.Addr, log *slog.Logger) error {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || c.adminToken != "" {
		return nil
	}
	if c.pprof {
		return fmt.Errorf("--pprof shows what is in memory to everybody who reaches --admin-listen %s: give it an --admin-token, or listen on %s",
			c.adminListen, defaultAdminListen)
	}
	log.Warn("other machines can reach the admin listener without a token, and read all metrics: see --admin-token",
		"admin_listen", addr.String())
	return nil
}

// warnOfClearTokens warns of a listener without TLS that other machines can reach: whoever sees
// a bearer token can use it. It is served all the same, because a proxy may end TLS.
func (c *config) warnOfClearTokens(addr net.Addr, log *slog.Logger) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok || tcp.IP.IsLoopback() || c.auth == authNone || c.tlsCert != "" || len(c.trustedProxies) > 0 {
		return
	}
	log.Warn("tokens cross the network unencrypted: give --tls-cert and --tls-key, or name the proxy that ends TLS with --trusted-proxies",
		"listen", addr.String())
}

// ownFiles is how many files a server needs beside connections of the API.
const ownFiles = 100

// fitFiles lowers the number of connections to what this process may open. With too many, the
// admin listener could not be reached, and the store not opened.
func (c *config) fitFiles(open int, log *slog.Logger) {
	fit := max(1, open-ownFiles)
	if open == 0 || c.clientCaps.Connections <= fit {
		return
	}
	log.Warn("fewer connections than --max-connections, because this process may not open as many files",
		"connections", fit, "max_connections", c.clientCaps.Connections, "open_files", open)
	c.clientCaps.Connections = fit
}

// originList is a list. Each use of the flag adds to it.
func originList(p *[]server.Origin) cli.Value {
	parse := func(s string) (list []server.Origin, err error) {
		if s == "" {
			return nil, nil
		}
		for item := range strings.SplitSeq(s, ",") {
			o, err := server.ParseOrigin(strings.TrimSpace(item))
			if err != nil {
				return nil, err
			}
			list = append(list, o)
		}
		return append(*p, list...), nil
	}
	format := func(list []server.Origin) string {
		texts := make([]string, len(list))
		for i, o := range list {
			texts[i] = string(o)
		}
		return strings.Join(texts, ",")
	}
	return value[[]server.Origin]{p, parse, format}
}

// prefixes is a list of addresses and networks.
func prefixes(p *[]netip.Prefix) cli.Value {
	return value[[]netip.Prefix]{p, parsePrefixes, formatPrefixes}
}

func parsePrefixes(s string) (list []netip.Prefix, err error) {
	if s == "" {
		return nil, nil
	}
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		p, err := netip.ParsePrefix(item)
		if addr, notPrefix := netip.ParseAddr(item); notPrefix == nil {
			p, err = addr.Unmap().WithZone("").Prefix(addr.Unmap().BitLen())
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, errors.New("not a list of addresses and networks like 10.0.0.7,192.168.0.0/16,fd00::/8")
		}
		list = append(list, p.Masked())
	}
	return list, nil
}

func formatPrefixes(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = strings.TrimSuffix(p.String(), map[bool]string{true: "/32", false: "/128"}[p.Addr().Is4()])
	}
	return strings.Join(texts, ",")
}

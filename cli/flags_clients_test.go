package cli

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"

	"welcomed/metrics"
	"welcomed/server"
)

func TestPrefixes(t *testing.T) {
	got, err := parsePrefixes("10.0.0.7, 192.168.1.9/16,fd00::/8,2001:db8::1,::ffff:10.0.0.8")
	if back := formatPrefixes(got); err != nil || back != "10.0.0.7,192.168.0.0/16,fd00::/8,2001:db8::1,10.0.0.8" {
		t.Errorf("got %s, %v", back, err)
	}
	for _, text := range []string{",", "10.0.0.7,", "10.0.0", "10.0.0.0/33", "proxy.example.org", "::ffff:10.0.0.0/100", "10.0.0.1:80"} {
		if got, err := parsePrefixes(text); err == nil {
			t.Errorf("%q is %v, want an error", text, got)
		}
	}
}

func TestASecretComesFromOnePlace(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const token = "a-token-of-the-operator"
	whole, empty, large := file("whole", token+"\r\n"), file("empty", "\n"), file("large", strings.Repeat("x", 65<<10))
	for _, row := range []struct {
		what string
		env  map[string]string
		set  bool // on the command line
		want string
		err  string
	}{
		{"nowhere", nil, false, "", ""},
		{"the environment", map[string]string{"WELCOMED_A_B": token}, false, token, ""},
		{"a file", map[string]string{"WELCOMED_A_B_FILE": whole}, false, token, ""},
		{"the command line wins", map[string]string{"WELCOMED_A_B": "x", "WELCOMED_A_B_FILE": "y"}, true, "z", ""},
		{"an empty variable counts as none", map[string]string{"WELCOMED_A_B": "", "WELCOMED_A_B_FILE": whole}, false, token, ""},
		{"both", map[string]string{"WELCOMED_A_B": token, "WELCOMED_A_B_FILE": whole}, false, "", "WELCOMED_A_B and WELCOMED_A_B_FILE are both set"},
		{"no file", map[string]string{"WELCOMED_A_B_FILE": "/nowhere"}, false, "", "WELCOMED_A_B_FILE: /nowhere: no such file or directory"},
		{"an empty file", map[string]string{"WELCOMED_A_B_FILE": empty}, false, "", "WELCOMED_A_B_FILE: " + empty + " is empty"},
		{"a large file", map[string]string{"WELCOMED_A_B_FILE": large}, false, "", "WELCOMED_A_B_FILE: " + large + " is too large for a secret"},
	} {
		var value string
		args := []string{"serve"}
		if row.set {
			args = append(args, "--a-b", "z")
		}
		env := environment{lookup: func(name string) (string, bool) { v, ok := row.env[name]; return v, ok }}
		command := &cli.Command{Flags: []cli.Flag{secretFlag("a-b", &value, "it is `SECRET`")}, Action: func(_ context.Context, cmd *cli.Command) error {
			_, err := fromEnvironment(env, cmd)
			return err
		}}
		err := command.Run(t.Context(), args)
		if value != row.want || row.err == "" != (err == nil) || err != nil && err.Error() != row.err {
			t.Errorf("%s: got %q, %v", row.what, value, err)
		}
	}
}

// TestEveryCapIsCountedFromTheStart: package metrics does not know package
// server.
func TestEveryCapIsCountedFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := metrics.New(registry, "v1")
	series := func() int {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "welcomed_refused_requests_total" {
				return len(f.GetMetric())
			}
		}
		return 0
	}
	before := series()
	for _, c := range server.AllCaps {
		m.ObserveRefusal(string(c))
	}
	if after := series(); before != len(server.AllCaps) || after != before {
		t.Errorf("%d series at first, %d in the end, %d caps", before, after, len(server.AllCaps))
	}
}

func TestAnAdminListenerThatOthersReach(t *testing.T) {
	everywhere, here := &net.TCPAddr{IP: net.IPv4zero, Port: 1}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	for _, row := range []struct {
		what       string
		addr       net.Addr
		token      string
		pprof      bool
		warns, err bool
	}{
		{"loopback needs nothing", here, "", true, false, false},
		{"without a token it is warned of", everywhere, "", false, true, false},
		{"with one it is not", everywhere, "a-token-of-the-operator", true, false, false},
		{"profiles need one", everywhere, "", true, false, true},
	} {
		var log bytes.Buffer
		c := &config{adminToken: row.token, pprof: row.pprof}
		err := c.guardAdmin(row.addr, slog.New(slog.NewTextHandler(&log, nil)))
		if (log.Len() > 0) != row.warns || (err != nil) != row.err {
			t.Errorf("%s: %v, %s", row.what, err, &log)
		}
	}
}

func TestTokensInTheClear(t *testing.T) {
	everywhere, here := &net.TCPAddr{IP: net.IPv4zero, Port: 1}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	for _, row := range []struct {
		what  string
		addr  net.Addr
		c     config
		warns bool
	}{
		{"a network without TLS is warned of", everywhere, config{auth: authToken}, true},
		{"with JWTs too", everywhere, config{auth: authOIDC}, true},
		{"loopback is not", here, config{auth: authToken}, false},
		{"nor is TLS", everywhere, config{auth: authToken, tlsCert: "cert.pem"}, false},
		{"nor is a proxy that is known", everywhere, config{auth: authToken, trustedProxies: make([]netip.Prefix, 1)}, false},
		{"nor is a server without tokens", everywhere, config{auth: authNone}, false},
	} {
		var log bytes.Buffer
		row.c.warnOfClearTokens(row.addr, slog.New(slog.NewTextHandler(&log, nil)))
		if (log.Len() > 0) != row.warns {
			t.Errorf("%s: %s", row.what, &log)
		}
	}
}

func TestConnectionsFitTheOpenFiles(t *testing.T) {
	for open, want := range map[int]int{0: 10_000, 20_000: 10_000, 10_100: 10_000, 1024: 924, 50: 1} {
		var log bytes.Buffer
		c := &config{clientCaps: server.Caps{Connections: 10_000}}
		c.fitFiles(open, slog.New(slog.NewTextHandler(&log, nil)))
		if c.clientCaps.Connections != want || (log.Len() > 0) != (want < 10_000) {
			t.Errorf("%d files: %d connections, %s", open, c.clientCaps.Connections, &log)
		}
	}
}

func TestTheAimOfTheCollectorFollowsTheLoad(t *testing.T) {
	for _, row := range []struct {
		memory memory
		load   server.Load
		want   int64
	}{
		{memory{}, server.Load{}, 128 << 20},
		{memory{}, server.Load{Connections: 1024}, 158 << 20},
		{memory{}, server.Load{Connections: 1024, BodyMemory: 64 << 20}, 254 << 20},
		{memory{bytes: 1 << 30}, server.Load{Connections: 1024, BodyMemory: 64 << 20}, 254 << 20},
		{memory{bytes: 256 << 20}, server.Load{Connections: 1024, BodyMemory: 64 << 20}, 232 << 20},
		{memory{bytes: 128 << 20}, server.Load{}, 120 << 20},
	} {
		if got := row.memory.aim(row.load); got != row.want {
			t.Errorf("%s, %+v: got %d, want %d", row.memory, row.load, got, row.want)
		}
	}
}

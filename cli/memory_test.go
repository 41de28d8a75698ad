package cli

import (
	"strings"
	"testing"

	"welcomed/server"
)

// TestWhatFitsIntoTheMemory: trials/connections measures that it does.
func TestWhatFitsIntoTheMemory(t *testing.T) {
	const mib = 1 << 20
	for _, row := range []struct {
		memory             int64
		connections, waits int
		bodies             int64
		secure             bool
	}{
		{0, 10_000, 10_000, 64 * mib, false},
		{128 * mib, 2_105, 2_105, 18_082_608, false},
		{128 * mib, 1_025, 1_025, 18_082_608, true},
		{256 * mib, 4_634, 4_634, 32 * mib, false},
		{512 * mib, 9_593, 9_593, 64 * mib, false},
		{1024 * mib, 10_000, 10_000, 64 * mib, false},
	} {
		c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
		if row.secure {
			c.tlsCert, c.tlsKey = "tls.crt", "tls.key"
		}
		c.fitMemory(memory{row.memory, fromCgroup}, nil)
		k := c.clientCaps
		if k.Connections != row.connections || k.Waits != row.waits || k.BodyMemory != row.bodies {
			t.Errorf("%d MiB: %d connections, %d waits, bodies %d", row.memory/mib, k.Connections, k.Waits, k.BodyMemory)
		}
		if k.BodyMemory < bodyMemoryShare*max(int64(c.answerBytes), server.LargestBody(c.limits)) {
			t.Errorf("%d MiB: the largest body or answer does not fit", row.memory/mib)
		}
		if err := c.check(); err != nil {
			t.Errorf("%d MiB: %v", row.memory/mib, err)
		}
	}
}

func TestWhatTheOperatorSetsIsLeftAlone(t *testing.T) {
	c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
	c.clientCaps.BodyMemory, c.clientCaps.Connections = 20<<20, 5_000
	c.fitMemory(memory{128 << 20, fromCgroup}, origins{"max-body-memory": flagOrigin, "max-connections": "WELCOMED_MAX_CONNECTIONS"})
	if k := c.clientCaps; k.BodyMemory != 20<<20 || k.Connections != 5_000 {
		t.Errorf("got %+v", k)
	}
}

func TestTooLittleMemoryIsRefused(t *testing.T) {
	c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
	c.fitMemory(memory{40 << 20, fromCgroup}, nil)
	err := c.check()
	if err == nil || !strings.HasPrefix(err.Error(), "40 MiB (cgroup) of memory is too little") || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

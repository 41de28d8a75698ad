package cli

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"welcomed/server"
)

// Settings of the garbage collector: see collectLess.
const (
	garbagePercent = 200
	memoryAim      = 128 << 20 // bytes
)

// How much memory parts of the server take, in bytes.
const (
	memoryAtRest        = 12 << 20 // the program, and a store that nobody uses
	memoryPerLogged     = 4        // of changed rows, for each byte of the store's log
	memoryPerConnection = 30 << 10 // of a claim that waits: buffers, stacks, what is known of the request
	memoryPerSocket     = 8 << 10  // of it in the kernel, which counts for a cgroup
	memoryPerSecure     = 40 << 10 // of a connection besides if it has TLS
	mostLogged          = 16 << 20 // what the store's log has at most if there is enough memory
	memoryStep          = 4 << 20  // by which the aim of the collector moves
)

// workShare is how much memory is for work with bodies, beside the bodies themselves: half as
// much, see server.Caps.
const workShare = 0.5

// A memory is how much memory this process may take.
type memory struct {
	bytes int64  // 0: not known
	from  string // what says so
}

const (
	fromCgroup  = "cgroup"
	fromMachine = "half of the machine"
	fromEnv     = "GOMEMLIMIT"
)

// findMemory finds what limits the memory of this process: a setting of the operator, the limit
// of its cgroup, or half of the memory of the machine, because others need the rest.
func findMemory(env environment) memory {
	if _, set := env.lookup("GOMEMLIMIT"); set {
		if limit := debug.SetMemoryLimit(-1); limit < math.MaxInt64 {
			return memory{limit + limit/15, fromEnv}
		}
	}
	machine := machineMemory() / 2
	if limit := cgroupMemory(); limit > 0 && (limit < machine || machine == 0) {
		return memory{limit, fromCgroup}
	}
	return memory{machine, fromMachine}
}

// memoryForAll returns how much memory there is for this process and others. A container may
// have less than the machine.
func memoryForAll() int64 {
	machine, limit := machineMemory(), cgroupMemory()
	if limit > 0 && (limit < machine || machine == 0) {
		return limit
	}
	return machine
}

// cgroupMemory returns the lowest limit of the cgroup of this process and of those above it, in
// version 1 or 2; 0 if there is none.
func cgroupMemory() int64 {
	limit, err := memlimit.FromCgroup()
	if err != nil || limit >= math.MaxInt64/2 {
		return 0
	}
	return int64(limit)
}

// ours returns that much memory less what the Go runtime does not count, except sockets: page
// tables, and data on its way to a file.
func ours(bytes int64) int64 { return bytes - bytes/16 }

func (m memory) String() string {
	if m.bytes == 0 {
		return "not known"
	}
	return fmt.Sprintf("%d MiB (%s)", m.bytes>>20, m.from)
}

// fitMemory fits into the memory what no setting says: the memory for bodies and answers, the
// size of an answer, and the numbers of connections and of waiting claims. It does nothing if
// there is enough memory.
func (c *config) fitMemory(m memory, from origins) {
	if m.bytes == 0 {
		return
	}
	c.memory = m
	k := &c.clientCaps
	fit := func(p *int, most int64) { *p = int(max(1, min(int64(*p), most))) }
	largest := server.LargestBody(c.limits)
	if from.of("max-body-memory") == defaultOrigin {
		k.BodyMemory = min(k.BodyMemory, max(m.bytes/8, bodyMemoryShare*largest))
	}
	fit(&c.answerBytes, k.BodyMemory/4)
	if from.of("max-connections") == defaultOrigin {
		fit(&k.Connections, c.connectionsIn(m))
		k.Waits, k.Requests = k.Connections, k.Connections
	}
}

// logSize returns how large the log of the store may be.
func (m memory) logSize() int64 {
	if m.bytes == 0 {
		return mostLogged
	}
	return min(mostLogged, m.bytes/128)
}

// connectionsIn returns how many connections there is room for, beside everything else.
func (c *config) connectionsIn(m memory) int64 {
	each := int64(memoryPerConnection + memoryPerSocket)
	if c.tlsCert != "" {
		each += memoryPerSecure
	}
	bodies := int64((1 + workShare) * float64(c.clientCaps.BodyMemory))
	return (ours(m.bytes) - memoryAtRest - memoryPerLogged*m.logSize() - bodies) / each
}

// fewestConnections is the least number of connections for which the server starts.
const fewestConnections = 100

// checkMemory refuses to start with so little memory that the kernel would soon kill the
// server.
func (c *config) checkMemory() error {
	if c.memory.bytes == 0 || c.connectionsIn(c.memory) >= fewestConnections {
		return nil
	}
	least := c.memory
	for c.connectionsIn(least) < fewestConnections {
		least.bytes += 1 << 20
	}
	return fmt.Errorf("%s of memory is too little for bodies of up to %s and %d connections: give it %d MiB",
		c.memory, roughSize(server.LargestBody(c.limits)), fewestConnections, least.bytes>>20+1)
}

// collectLess allows twice as much garbage as memory in use before garbage is collected, and
// less when both together come near memoryAim. The changed rows of the store are in use for
// long, and looking at them again costs a tenth of the processor time under load. If GOGC or
// GOMEMLIMIT is set, it changes nothing. It reports whether the server may change the aim.
func collectLess(env environment, m memory) bool {
	if _, set := env.lookup("GOGC"); !set {
		debug.SetGCPercent(garbagePercent)
	}
	if _, set := env.lookup("GOMEMLIMIT"); set {
		return false
	}
	debug.SetMemoryLimit(m.aim(server.Load{}))
	return true
}

// aim returns memoryAim plus what clients take, but never more than sockets leave.
func (m memory) aim(l server.Load) int64 {
	aim := memoryAim + int64(l.Connections)*memoryPerConnection + int64((1+workShare)*float64(l.BodyMemory))
	if m.bytes > 0 {
		aim = min(aim, ours(m.bytes)-int64(l.Connections)*memoryPerSocket)
	}
	return aim
}

// followLoad raises and lowers the aim with what clients take. Memory in use cannot be
// collected, so with an aim below it the collector would run all the time.
func (m memory) followLoad(ctx context.Context, tick <-chan time.Time, load func() server.Load) {
	now := m.aim(server.Load{})
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if aim := m.aim(load()); aim-now >= memoryStep || now-aim >= memoryStep {
			debug.SetMemoryLimit(aim)
			now = aim
		}
	}
}

// warnOfMemory warns of caps that allow more memory than there is.
func (c *config) warnOfMemory(log *slog.Logger) {
	if c.memory.bytes == 0 {
		return
	}
	if fit := c.connectionsIn(c.memory); fit < int64(c.clientCaps.Connections) {
		log.Warn("there is not enough memory for so many connections", "memory", c.memory.String(), "max_connections", c.clientCaps.Connections, "fit", fit)
	}
}

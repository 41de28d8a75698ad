package cli

import (
	"context"
	"runtime/debug"
	"time"

	"welcomed/server"
)

// What the garbage collector is told: see collectLess.
const (
	garbagePercent = 200
	memoryAim      = 128 << 20 // bytes
)

// collectLess lets there be twice as much garbage as there is memory in use
// before it is collected, and less when both come near memoryAim. The changed
// rows of the store are in use for long, and looking at them again costs a tenth
// of the processor time under load. Whoever sets GOGC or GOMEMLIMIT is obeyed.
// It reports whether the aim is this server's to change.
func collectLess(env environment) bool {
	if _, set := env.lookup("GOGC"); !set {
		debug.SetGCPercent(garbagePercent)
	}
	if _, set := env.lookup("GOMEMLIMIT"); set {
		return false
	}
	debug.SetMemoryLimit(memoryAim)
	return true
}

// What clients take besides: a connection its buffers and stacks, and a body or
// an answer the forms that it has on its way.
const (
	memoryPerConnection = 32 << 10
	formsOfABody        = 2
	memoryStep          = 8 << 20
)

// aimFor is memoryAim and what clients take.
func aimFor(l server.Load) int64 {
	return memoryAim + int64(l.Connections)*memoryPerConnection + formsOfABody*l.BodyMemory
}

// followLoad raises the aim by what clients take, and lowers it again: what is in
// use cannot be collected, so an aim below it would have the collector run all
// the time.
func followLoad(ctx context.Context, tick <-chan time.Time, load func() server.Load) {
	now := int64(memoryAim)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if aim := aimFor(load()); aim-now >= memoryStep || now-aim >= memoryStep {
			debug.SetMemoryLimit(aim)
			now = aim
		}
	}
}

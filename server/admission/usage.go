package admission

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Capacity is what all requests share.
type Capacity struct {
	requests, waits, memory pool
	work                    *semaphore.Weighted
	workSize                int64
}

// NewCapacity returns what these caps allow, of which nothing is taken. refused is called each
// time that a cap refuses something.
func NewCapacity(caps Caps, refused func(Cap)) *Capacity {
	c := &Capacity{workSize: caps.BodyMemory / 2}
	c.requests = pool{size: int64(caps.Requests), most: int64(caps.RequestsPerCaller), all: CapRequests, each: CapRequestsPerCaller,
		refusal: ErrTooManyRequests, refused: refused}
	c.waits = pool{size: int64(caps.Waits), most: int64(caps.WaitsPerCaller), all: CapWaits, each: CapWaitsPerCaller,
		refusal: ErrTooManyWaits, refused: refused}
	c.memory = pool{size: caps.BodyMemory, all: CapBodyMemory, each: CapBodyMemoryPerCaller,
		refusal: ErrOverloaded, refused: refused}
	c.work = semaphore.NewWeighted(c.workSize)
	return c
}

// Load is what clients take of the server now.
type Load struct {
	Connections int
	Requests    int   // under way, those that wait not counted
	Waits       int   // claims that wait, and streams
	Streams     int   // of Waits
	BodyMemory  int64 // bytes of bodies and answers under way
}

// Load returns what requests take now.
func (c *Capacity) Load() Load {
	return Load{Requests: int(c.requests.inUse()), Waits: int(c.waits.inUse()), BodyMemory: c.memory.inUse()}
}

// A Usage is what one request takes of the capacity while it is running. Only that request uses
// it. The zero Usage is not bounded.
type Usage struct {
	request share
	wait    share
	memory  share
	small   int64 // bytes of body and answer that are not counted yet
	working int64 // bytes
	of      *Capacity
}

// SmallBytes of body and answer count only towards the number of requests. So there is always
// room for a claim, an acknowledgement and a few KeyPackages, whoever holds the memory.
const SmallBytes = 16 << 10

// Usage returns the usage of a request that counts for party, and whose memory counts for
// memoryParty. It has taken nothing yet.
func (c *Capacity) Usage(party, memoryParty string) Usage {
	return Usage{
		request: share{pool: &c.requests, party: party},
		memory:  share{pool: &c.memory, party: memoryParty},
		small:   SmallBytes,
		of:      c,
	}
}

// Begin takes what every request takes.
func (u *Usage) Begin() error { return u.request.take(1) }

// Identify counts the request for its caller, who is known now. If caller is empty, the request
// still counts for the party before.
func (u *Usage) Identify(caller, memoryParty string) error {
	u.memory.party = memoryParty
	if caller == "" {
		return nil
	}
	return u.request.move(caller)
}

// End gives back what the request still holds.
func (u *Usage) End() {
	u.request.release()
	u.memory.release()
	u.EndWork()
	u.EndWait()
}

// HoldMemory takes memory for n more bytes of the body or of the answer.
func (u *Usage) HoldMemory(n int) error {
	if n <= 0 {
		return nil
	}
	small := min(int64(n), u.small)
	u.small -= small
	if u.memory.pool == nil {
		return nil
	}
	return u.memory.take(int64(n) - small)
}

// BeginWork waits for n bytes to work with: the memory that reading and storing a body takes
// beside the body. The body is complete by then, so requests that wait here wait for the server
// and never for a client. The work ends where the answer begins. A request that needs more than
// there is in all gets all of it. A request works once, so that requests cannot wait for each
// other.
func (u *Usage) BeginWork(ctx context.Context, n int) error {
	if n <= SmallBytes || u.of == nil {
		return nil
	}
	want := min(int64(n), u.of.workSize)
	if err := u.of.work.Acquire(ctx, want); err != nil {
		return err
	}
	u.working = want
	return nil
}

// EndWork gives back what BeginWork took. It may be called without BeginWork.
func (u *Usage) EndWork() {
	if u.working > 0 {
		u.of.work.Release(u.working)
		u.working = 0
	}
}

// BeginWait turns the request into a waiting claim, or a stream. Those are counted apart, and
// hold no memory.
func (u *Usage) BeginWait() error {
	u.wait = share{pool: &u.of.waits, party: u.request.party}
	if err := u.wait.take(1); err != nil {
		return err
	}
	u.request.release()
	u.memory.release()
	u.EndWork()
	return nil
}

// EndWait ends the waiting. It may be called without BeginWait.
func (u *Usage) EndWait() { u.wait.release() }

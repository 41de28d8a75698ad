package server

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"

	"golang.org/x/sync/semaphore"
)

// Caps bound what clients take of the server at the same time, all together and
// each of them. Zero is the default.
type Caps struct {
	Connections           int   // of the API; 10,000
	ConnectionsPerAddress int   // but for this machine and trusted proxies; 500
	Requests              int   // under way, waiting claims not counted; 10,000
	RequestsPerCaller     int   // 256
	Waits                 int   // claims that wait; 10,000
	WaitsPerCaller        int   // 100
	WaitsPerDevice        int   // the oldest is answered for a new one; 4: an app, its extension, and each once more after a lost connection
	BodyMemory            int64 // bytes of bodies and answers under way; 64 MiB. Half as much besides is for reading and storing them
	HeaderBytes           int   // of a request; 32 KiB
	Headers               int   // of a request; 100
}

// DefaultCaps are for a machine with a gigabyte of memory.
func DefaultCaps() Caps { return Caps{}.orDefault() }

// Those of one caller and of one device are constants of the program: they are far
// from what an application does, and near enough to bound one that is broken.
func (c Caps) orDefault() Caps {
	return Caps{
		Connections:           cmp.Or(c.Connections, 10_000),
		ConnectionsPerAddress: cmp.Or(c.ConnectionsPerAddress, 500),
		Requests:              cmp.Or(c.Requests, 10_000),
		RequestsPerCaller:     cmp.Or(c.RequestsPerCaller, 256),
		Waits:                 cmp.Or(c.Waits, 10_000),
		WaitsPerCaller:        cmp.Or(c.WaitsPerCaller, 100),
		WaitsPerDevice:        cmp.Or(c.WaitsPerDevice, 4),
		BodyMemory:            cmp.Or(c.BodyMemory, 64<<20),
		HeaderBytes:           cmp.Or(c.HeaderBytes, 32<<10), // twice the largest JWT that is believed
		Headers:               cmp.Or(c.Headers, 100),        // clients and two proxies send a third of it
	}
}

// pools are what requests share.
type pools struct {
	requests, waits, memory pool
	work                    *semaphore.Weighted
	workSize                int64
}

func (p *pools) init(c Caps, refused func(Cap)) {
	p.requests = pool{size: int64(c.Requests), most: int64(c.RequestsPerCaller), all: CapRequests, each: CapRequestsPerCaller,
		refusal: errTooManyRequests, refused: refused}
	p.waits = pool{size: int64(c.Waits), most: int64(c.WaitsPerCaller), all: CapWaits, each: CapWaitsPerCaller,
		refusal: errTooManyWaits, refused: refused}
	p.memory = pool{size: c.BodyMemory, all: CapBodyMemory, each: CapBodyMemoryPerCaller,
		refusal: errOverloaded, refused: refused}
	p.workSize = c.BodyMemory / 2
	p.work = semaphore.NewWeighted(p.workSize)
}

// Load is what clients take of the server now.
type Load struct {
	Connections int
	Requests    int   // under way, waiting claims not counted
	Waits       int   // claims that wait
	BodyMemory  int64 // bytes of bodies and answers under way
}

// Load returns what clients take now.
func (s *Server) Load() Load {
	return Load{
		Connections: s.connections.count(),
		Requests:    int(s.pools.requests.inUse()),
		Waits:       int(s.pools.waits.inUse()),
		BodyMemory:  s.pools.memory.inUse(),
	}
}

// A visit is what a request holds while it is under way.
type visit struct {
	request share
	wait    share
	memory  share
	small   int64 // bytes of body and answer that are not counted yet
	working int64 // bytes
	pools   *pools
}

// smallBytes of body and answer are counted nowhere but in the number of
// requests. So there is always room for a claim, an acknowledgement and a few
// KeyPackages, whoever holds the memory.
const smallBytes = 16 << 10

// enter lets a request in whose caller is not known yet.
func (s *Server) enter(r *request) error {
	r.visit = visit{
		request: share{pool: &s.pools.requests, party: s.addressParty(r.client)},
		memory:  share{pool: &s.pools.memory, party: memoryParty(r)},
		small:   smallBytes,
		pools:   &s.pools,
	}
	if n := countHeaders(r.Header); n > s.caps.Headers {
		return fmt.Errorf("%w: %d, at most %d are read", errTooManyHeaders, n, s.caps.Headers)
	}
	return r.visit.request.take(1)
}

func countHeaders(h http.Header) int {
	n := 0
	for _, values := range h {
		n += len(values)
	}
	return n
}

// identified counts the request for its caller, now that it is known.
func (s *Server) identified(r *request) error {
	r.visit.memory.party = memoryParty(r)
	if r.caller.ID() == "" {
		return nil
	}
	return r.visit.request.move(r.caller.ID())
}

// addressParty is for whom a request without a caller counts: its address, but
// nobody where many clients have the same one.
func (s *Server) addressParty(client netip.Addr) string {
	if s.shared(client) {
		return ""
	}
	return " " + addressBlock(client).String() // no id has a space in it
}

// memoryParty is whose memory a request takes. Without a caller a user's own
// paths are apart from what has no user, which is where large bodies go.
func memoryParty(r *request) string {
	if r.caller.ID() != "" {
		return r.caller.ID()
	}
	return " " + addressBlock(r.client).String() + " " + string(r.user)
}

// leave gives back what the request holds.
func (v *visit) leave() {
	v.request.release()
	v.memory.release()
	v.endWork()
	v.endWait()
}

// hold takes memory for n more bytes of the body or of the answer.
func (v *visit) hold(n int) error {
	if n <= 0 {
		return nil
	}
	small := min(int64(n), v.small)
	v.small -= small
	if v.memory.pool == nil {
		return nil
	}
	return v.memory.take(int64(n) - small)
}

// beginWork waits for n bytes to work with: what reading a body and storing it take
// besides the body. A body is whole by then, so it is the server that the others wait
// for, and never a client; the work ends where the answer begins. What is more than
// there is for all has all. A request works once, so that nobody waits who is waited
// for.
func (v *visit) beginWork(ctx context.Context, n int) error {
	if n <= smallBytes || v.pools == nil {
		return nil
	}
	want := min(int64(n), v.pools.workSize)
	if err := v.pools.work.Acquire(ctx, want); err != nil {
		return err
	}
	v.working = want
	return nil
}

// endWork gives back what beginWork took. Who does not work may call it.
func (v *visit) endWork() {
	if v.working > 0 {
		v.pools.work.Release(v.working)
		v.working = 0
	}
}

// beginWait turns the request into a claim that waits, which is counted apart
// and holds no memory.
func (s *Server) beginWait(r *request) error {
	v := &r.visit
	v.wait = share{pool: &s.pools.waits, party: v.request.party}
	if err := v.wait.take(1); err != nil {
		return err
	}
	v.request.release()
	v.memory.release()
	v.endWork()
	return nil
}

func (v *visit) endWait() { v.wait.release() }

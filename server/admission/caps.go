package admission

import "cmp"

// Caps bound what clients take of the server at the same time: all together, and each of them.
// Zero is the default.
type Caps struct {
	Connections           int   // of the API; 10,000
	ConnectionsPerAddress int   // but for this machine and trusted proxies; 500
	Requests              int   // under way, those that wait not counted; 10,000
	RequestsPerCaller     int   // 256
	Waits                 int   // claims that wait, and streams; 10,000
	WaitsPerCaller        int   // 100
	WaitsPerDevice        int   // of claims and of streams; the oldest ends for a new one; 4: an app, its extension, and each once more after a lost connection
	BodyMemory            int64 // bytes of bodies and answers under way; 64 MiB. Half as much besides is for reading and storing them
	HeaderBytes           int   // of a request; 32 KiB
	Headers               int   // of a request; 100
}

// DefaultCaps are for a machine with a gigabyte of memory.
func DefaultCaps() Caps { return Caps{}.OrDefault() }

// OrDefault returns the caps with defaults in place of zeros. The caps of one caller and of one
// device are constants of the program. They are far above what an application needs, and low
// enough to bound one that is broken.
func (c Caps) OrDefault() Caps {
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

// A Cap is a limit on what clients take of the server at the same time.
type Cap string

// The names under which caps are counted when they refuse something.
const (
	CapConnections           Cap = "connections"             // in all: the longest idle one is closed for a new one
	CapConnectionsPerAddress Cap = "connections_per_address" // a new one is closed
	CapRequests              Cap = "requests"                // under way in all
	CapRequestsPerCaller     Cap = "requests_per_caller"     // under way
	CapWaits                 Cap = "waits"                   // claims that wait, and streams, in all
	CapWaitsPerCaller        Cap = "waits_per_caller"
	CapWaitsPerDevice        Cap = "waits_per_device" // the oldest ends for a new one
	CapBodyMemory            Cap = "body_memory"      // bytes of bodies and answers under way
	CapBodyMemoryPerCaller   Cap = "body_memory_per_caller"
)

// AllCaps has all caps.
var AllCaps = []Cap{CapConnections, CapConnectionsPerAddress, CapRequests, CapRequestsPerCaller,
	CapWaits, CapWaitsPerCaller, CapWaitsPerDevice, CapBodyMemory, CapBodyMemoryPerCaller}

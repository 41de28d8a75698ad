package load

import (
	"sync"
	"sync/atomic"
)

// Progress says what a driver is doing. Another goroutine may ask at any time.
type Progress struct {
	mu    sync.Mutex
	what  string
	total int
	done  atomic.Int64
}

// Now returns what is being done, how much of it there is, and how much of that
// is done.
func (p *Progress) Now() (what string, total, done int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.what, p.total, int(p.done.Load())
}

func (p *Progress) begin(what string, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what, p.total = what, total
	p.done.Store(0)
}

func (p *Progress) step() { p.done.Add(1) }

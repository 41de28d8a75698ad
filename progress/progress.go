// Package progress says how far long work is. It does not show it: whoever
// works reports here, and whoever watches asks when it likes.
package progress

import "sync"

// A Unit says what is counted.
type Unit int

const (
	Items Unit = iota
	Bytes
)

// A Report is how far the work is. What is empty before the first Begin. Total is
// 0 if nobody knows how much there is.
type Report struct {
	What        string
	Unit        Unit
	Total, Done int64
}

// Progress is of work that has one part after the other. The zero value is ready
// to use, and nil takes reports and forgets them. All methods may be called at any
// time from any goroutine.
type Progress struct {
	mu  sync.Mutex
	now Report
}

// Now returns how far the part is that was begun last.
func (p *Progress) Now() Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Begin says that total units of what come next.
func (p *Progress) Begin(what string, unit Unit, total int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = Report{What: what, Unit: unit, Total: total}
}

// Add says that n more units are done.
func (p *Progress) Add(n int64) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now.Done += n
}

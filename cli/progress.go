package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"welcomed/progress"
)

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 3 * time.Second
)

// showProgress shows the progress on w until hide is called: on a terminal a bar with the rate
// and the time left, and else a line now and then. hide may be called more than once.
func showProgress(p *progress.Progress, w io.Writer) (hide func()) {
	every, show, clear := lineEvery, lines(w), func() {}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		bar := &progressBar{w: w}
		every, show, clear = barEvery, bar.show, bar.clear
	}
	ended := make(chan struct{})
	var showing sync.WaitGroup
	showing.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		defer clear()
		for {
			select {
			case <-ticker.C:
				show(p.Now())
			case <-ended:
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		close(ended)
		showing.Wait()
	})
}

func lines(w io.Writer) func(progress.Report) {
	return func(r progress.Report) {
		switch amount := amountOf(r.Unit); {
		case r.What == "":
		case r.Total == 0:
			fmt.Fprintf(w, "%s, %s\n", r.What, amount(r.Done))
		default:
			fmt.Fprintf(w, "%s, %s of %s\n", r.What, amount(r.Done), amount(r.Total))
		}
	}
}

func amountOf(u progress.Unit) func(int64) string {
	if u == progress.Bytes {
		return roughSize
	}
	return func(n int64) string { return thousands(int(n)) }
}

// roughSize writes bytes for people: two or three digits and a unit.
func roughSize(n int64) string {
	for _, u := range units {
		if n >= u.bytes && u.bytes > 1 {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d B", n)
}

// A progressBar is one line on a terminal.
type progressBar struct {
	w    io.Writer
	part progress.Report // what the bar was begun for
	bar  *progressbar.ProgressBar
}

func (b *progressBar) show(r progress.Report) {
	if r.What == "" {
		return
	}
	done := r.Done
	if r.Done = 0; b.part != r {
		b.clear()
		b.part, b.bar = r, b.begin(r)
	}
	_ = b.bar.Set64(done) // a terminal that is gone needs no bar
}

func (b *progressBar) begin(r progress.Report) *progressbar.ProgressBar {
	if r.Total == 0 {
		r.Total = -1 // a spinner
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(b.w),
		progressbar.OptionSetDescription(fmt.Sprintf("%-34s", r.What)),
		progressbar.OptionSetWidth(24),
		progressbar.OptionShowCount(),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString(""),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true), // the rate counts from here
	}
	if r.Unit == progress.Bytes {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true))
	}
	return progressbar.NewOptions64(r.Total, options...)
}

func (b *progressBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

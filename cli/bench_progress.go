package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"welcomed/load"
)

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 3 * time.Second
)

// showProgress shows on w what is going on until hide is called: a bar on a
// terminal, else a line now and then.
func showProgress(p *load.Progress, w io.Writer) (hide func()) {
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
	return func() {
		close(ended)
		showing.Wait()
	}
}

func lines(w io.Writer) func(what string, total, done int) {
	return func(what string, total, done int) {
		if what != "" {
			fmt.Fprintf(w, "%s, %s of %s\n", what, thousands(done), thousands(total))
		}
	}
}

// A progressBar is one line on a terminal.
type progressBar struct {
	w     io.Writer
	what  string
	total int
	bar   *progressbar.ProgressBar
}

func (b *progressBar) show(what string, total, done int) {
	if what == "" {
		return
	}
	if b.what != what || b.total != total {
		b.clear()
		b.what, b.total = what, total
		b.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(b.w),
			progressbar.OptionSetDescription(fmt.Sprintf("%-34s", what)),
			progressbar.OptionSetWidth(24),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetItsString(""),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionSetRenderBlankState(true), // the rate counts from here
		)
		return
	}
	_ = b.bar.Set(done) // a terminal that is gone needs no bar
}

func (b *progressBar) clear() {
	if b.bar != nil {
		_ = b.bar.Clear()
	}
}

package cli

import (
	"time"

	"github.com/urfave/cli/v3"
)

// times are constants of the server, except that tests of the built program shorten them. Zero
// is the default of the server.
type times struct {
	header, body, idle time.Duration // see server.Options
	sweep              time.Duration
	plots              time.Duration
}

func defaultTimes() times {
	return times{
		sweep: time.Minute, // fine enough for times of days and hours, and next to nothing to do
		plots: time.Minute, // history keeps 1,440 points: a day
	}
}

// testFlags are hidden: they are for tests of the built program.
func (c *config) testFlags() []cli.Flag {
	t := &c.times
	second := func(name string, p *time.Duration) part { return part{name, duration(p, 0)} }
	return []cli.Flag{hide(valueFlag("test-times", parts{"time", []part{
		second("header", &t.header), second("body", &t.body), second("idle", &t.idle),
		second("sweep", &t.sweep), second("plots", &t.plots),
		second("hold-overdue", &c.limits.HoldOverdue), second("reservation-overdue", &c.limits.ReservationOverdue),
		second("redelivery", &c.limits.Redelivery),
	}}, "for tests: shorten `TIMES` that are constant otherwise"))}
}

// hide keeps a flag out of the help, the manual page and the completion.
func hide(flag cli.Flag) cli.Flag {
	flag.(*cli.GenericFlag).Hidden = true
	return flag
}

// visible reports whether a flag is for operators.
func visible(flag cli.Flag) bool {
	v, ok := flag.(cli.VisibleFlag)
	return !ok || v.IsVisible()
}

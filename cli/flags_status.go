package cli

import (
	"time"

	"github.com/urfave/cli/v3"
)

// statusFlags are about the status page of --admin-listen.
func (c *config) statusFlags() []cli.Flag {
	return []cli.Flag{
		valueFlag("status-every", duration(&c.statusEvery, time.Second), "count for the plots of the status page every `DURATION`; they go back 1440 times as long"),
	}
}

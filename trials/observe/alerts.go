package main

import (
	"context"
	"os"
	"time"
)

// checkAlerts has two alerts fire on what was broken from the beginning, and
// end once it is mended. They wait for a minute before they fire.
func (o *observation) checkAlerts(ctx context.Context) error {
	const patience = 2 * time.Minute
	for _, c := range []struct {
		alert  string
		server *server
		mend   func() error
	}{
		{"WelcomedDown", o.down, func() error { return o.down.begin(ctx) }},
		{"WelcomedNotReady", o.unready, func() error { return os.Rename(o.unready.how.DB+".away", o.unready.how.DB) }},
	} {
		if err := o.prometheus.await(ctx, c.alert, c.server.admin(), "firing", patience); err != nil {
			return err
		}
		o.say("%s fires", c.alert)
		if err := c.mend(); err != nil {
			return err
		}
		if err := o.prometheus.await(ctx, c.alert, c.server.admin(), "inactive", patience); err != nil {
			return err
		}
		o.say("it has ended, now that it is mended")
	}
	return nil
}

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellManager tells the service manager how the server is, if this process has one that wants
// to know: systemd, for a unit with Type=notify.
func tellManager(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("cannot tell the service manager how the server is", "error", err)
	}
}

// status is the line that systemctl status shows.
func status(format string, args ...any) string {
	return "STATUS=" + fmt.Sprintf(format, args...)
}

// beatEvery returns how often the watchdog of the service manager has to hear from the server:
// three times within the time after which it would end the server; 0 if there is no watchdog.
func beatEvery(log *slog.Logger) time.Duration {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("cannot read the settings of the service manager's watchdog", "error", err)
	}
	return patience / 3
}

// beat calls tell each time that the store has answered. An answer that the store is not ready
// counts too. Ending the process would not help if the clock is wrong or the file was removed.
// It may help if the store is stuck.
func beat(ctx context.Context, tick <-chan time.Time, ready func(context.Context) error, tell func()) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		_ = ready(ctx)
		tell()
	}
}

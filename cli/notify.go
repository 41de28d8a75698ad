package cli

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellManager tells the service manager that started this process, if it wants to
// be told: systemd, of a unit with Type=notify.
func tellManager(log *slog.Logger, states ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(states, "\n")); err != nil {
		log.Warn("the service manager cannot be told how the server is", "error", err)
	}
}

// status is the line that systemctl status shows.
func status(format string, args ...any) string {
	return "STATUS=" + fmt.Sprintf(format, args...)
}

// beatEvery is how often the manager wants to hear that the server lives, a third
// of the time after which it ends it; 0: not at all.
func beatEvery(log *slog.Logger) time.Duration {
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the service manager's watchdog is not understood", "error", err)
	}
	return patience / 3
}

// beat tells each time that the store has answered when it was asked. An answer
// that it is not ready is one: a clock that is wrong or a file that somebody has
// removed is not mended by ending the process, a store that is stuck may be.
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

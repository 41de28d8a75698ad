package harness

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// Metrics are those of a server, as Prometheus reads them.
type Metrics string

// Metrics asks the admin listener.
func (s *Server) Metrics(ctx context.Context) (Metrics, error) {
	text, err := get(ctx, "http://"+s.AdminAddress()+"/metrics")
	return Metrics(text), err
}

// Value returns that of a series: a name, with labels if it has some, as /metrics has it.
func (m Metrics) Value(series string) (float64, error) {
	for line := range strings.Lines(string(m)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no series %s", series)
}

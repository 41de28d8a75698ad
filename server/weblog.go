package server

import (
	"log"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"welcomed/delivery"
)

// logRequest writes a line at level debug for each request, by which its Request-Id can be
// found. It writes nothing that a client chose, except that id and the names of the caller:
// neither the path, nor the query, nor a header.
func (s *Server) logRequest(r *request, w *response, took time.Duration) {
	if !s.log.Enabled(r.Context(), slog.LevelDebug) {
		return
	}
	s.log.Debug("request", slog.String("request_id", r.id), slog.String("caller", r.askedBy()), slog.String("client", r.client.String()),
		slog.String("method", knownMethod(r.Method)), slog.String("route", r.route.path), slog.Int("status", w.code()),
		slog.String("code", w.problem), slog.Duration("took", took))
}

// askedBy returns the name of the caller; empty if it is not known.
func (r *request) askedBy() string {
	c := r.caller
	switch {
	case r.operator:
		return "operator"
	case c.Service != "":
		return "service " + c.Service
	case r.identity.Service != "" && c.User != "":
		return "service " + r.identity.Service + " for " + forWhom(c)
	}
	return forWhom(c)
}

func forWhom(c delivery.Caller) string {
	return delivery.TokenOwner{User: c.User, Device: c.Device}.String()
}

// A webLog takes the lines that net/http writes about failed connections, most of all about TLS
// handshakes. Anybody who can reach the listener can cause a line with each connection. So only
// some lines get into the log, with how many did not.
type webLog struct {
	log   *slog.Logger
	limit *rate.Limiter

	mu      sync.Mutex
	omitted int
}

// How many lines of a webLog get into the log at once, and after that.
const (
	webLinesBurst = 20
	webLinesEvery = 5 * time.Second
)

func newWebLog(l *slog.Logger) *log.Logger {
	return log.New(&webLog{log: l, limit: rate.NewLimiter(rate.Every(webLinesEvery), webLinesBurst)}, "", 0)
}

// Write implements io.Writer: a line.
func (w *webLog) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.limit.Allow() {
		w.omitted++
		return len(line), nil
	}
	attributes := []any{}
	if w.omitted > 0 {
		attributes = append(attributes, "omitted_before", w.omitted)
	}
	w.omitted = 0
	w.log.Warn(strings.TrimSpace(string(line)), attributes...)
	return len(line), nil
}

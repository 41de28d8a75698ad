package server

import (
	"encoding/json"
	"net/http"
	"time"

	"welcomed/delivery"
	"welcomed/operator/history"
	"welcomed/operator/status"
)

// A StatusSource has what the status page shows beside the content of the store.
type StatusSource struct {
	History     *history.History // nil: nothing is counted
	SweptAt     func() time.Time // when the last sweep ended well; nil: not known
	SweepEvery  time.Duration    // how often there is one
	BackupEvery time.Duration    // how often the server makes a backup; 0: it does not
}

// orNothing returns o, with an empty history if it has none.
func (o StatusSource) orNothing() StatusSource {
	if o.History == nil {
		o.History = history.New(history.Options{
			Every: time.Minute, Clock: delivery.SystemClock(), Totals: func() history.Totals { return history.Totals{} },
		})
	}
	if o.SweptAt == nil {
		o.SweptAt, o.SweepEvery = func() time.Time { return time.Time{} }, 0
	}
	return o
}

// status gathers the state of the server from all of its parts.
func (s *Server) status(r *http.Request) status.Status {
	source := s.options.Status
	in := status.Input{
		Version:      s.options.Version,
		Now:          time.Now(),
		History:      source.History,
		Failed:       closed(s.store.Failed()),
		Draining:     closed(s.draining),
		LowWatermark: s.limits.LowWatermark,
		HoldOverdue:  s.limits.HoldOverdue,
		SweptAt:      source.SweptAt(),
		SweepEvery:   source.SweepEvery,
		BackupEvery:  source.BackupEvery,
	}
	if s.options.Webhook != nil {
		state := s.options.Webhook.State()
		in.Webhook = &state
	}
	in.ReadyErr = s.store.Ready(r.Context())
	in.Stats, in.StatsErr = s.store.Stats(r.Context())
	if s.options.Certificate != nil {
		in.CertExpires = s.options.Certificate.Expires()
	}
	return status.Of(in)
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// statusPage handles GET /.
func (s *Server) statusPage(w http.ResponseWriter, r *http.Request) {
	page, err := status.Page(s.status(r), s.adminLinks())
	if err != nil {
		s.log.Error("the status page cannot be shown", "error", err)
		plain(w, http.StatusInternalServerError, "the status page cannot be shown; the log says why\n")
		return
	}
	adminBody(w, "text/html; charset=utf-8", page)
}

// statusJSON handles GET /status.json.
func (s *Server) statusJSON(w http.ResponseWriter, r *http.Request) {
	body, err := json.Marshal(s.status(r))
	if err != nil {
		s.log.Error("the status cannot be encoded", "error", err)
		plain(w, http.StatusInternalServerError, "the status cannot be encoded; the log says why\n")
		return
	}
	adminBody(w, mediaJSON, append(body, '\n'))
}

func asset(path, mediaType string) http.HandlerFunc {
	body := status.Asset(path)
	return func(w http.ResponseWriter, _ *http.Request) { adminBody(w, mediaType, body) }
}

// adminBody answers with something for a browser.
func adminBody(w http.ResponseWriter, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", status.ContentSecurityPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	writeBody(w, http.StatusOK, mediaType, body)
}

// adminLinks are links to the other pages of the listener.
func (s *Server) adminLinks() []status.Link {
	links := []status.Link{{Path: "/status.json", Does: "this page for programs"}}
	if s.options.Metrics != nil {
		links = append(links, status.Link{Path: "/metrics", Does: "for Prometheus"})
	}
	links = append(links,
		status.Link{Path: "/livez", Does: "whether the process runs"},
		status.Link{Path: "/readyz", Does: "whether it can serve, or why not"})
	if s.options.Profiles {
		links = append(links, status.Link{Path: profilesPath, Does: "for go tool pprof"})
	}
	return links
}

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A capName names a limit on what clients take of the server at the same time.
type capName string

// The caps of package server.
var caps = []capName{
	"connections", "connections_per_address",
	"requests", "requests_per_caller",
	"waits", "waits_per_caller", "waits_per_device",
	"body_memory", "body_memory_per_caller",
}

// A streamEnd says why a stream has ended, as package server names it.
type streamEnd string

var streamEnds = []streamEnd{"client_left", "shutting_down", "displaced", "too_slow", "device_removed", "refused", "failed"}

// ObserveEventsSent counts events that were sent over a stream.
func (m *Metrics) ObserveEventsSent(n int) { m.eventsSent.Add(float64(n)) }

// ObserveStreamEnd counts a stream that has ended.
func (m *Metrics) ObserveStreamEnd(why string) { m.streamsEnded.of(streamEnd(why)).Inc() }

func (m *Metrics) countRefused() {
	m.refused = newFamily(m.counters("refused_requests_total",
		"Requests refused because clients took as much as they may at a time, by cap. "+
			"connections: new ones for which another was closed or that had to wait.", "cap"), caps)
	m.eventsSent = m.counter("events_sent_total", "Events that were sent over streams.")
	m.streamsEnded = newFamily(m.counters("streams_ended_total",
		"Streams of events that have ended, by reason; too_slow: they were cut off, as their clients did not read.", "reason"), streamEnds)
	m.tlsExpires = m.gauge("tls_certificate_expiry_timestamp_seconds",
		"When the certificate in use expires; 0 without TLS.")
}

// ObserveRefusal counts a request or a connection that a cap has refused.
func (m *Metrics) ObserveRefusal(by string) { m.refused.of(capName(by)).Inc() }

// ObserveCertificate notes when the certificate in use expires.
func (m *Metrics) ObserveCertificate(expires time.Time) { m.tlsExpires.Set(float64(expires.Unix())) }

// A Load is what clients take of a server at a time.
type Load struct {
	Connections int
	Requests    int
	Waits       int
	Streams     int // of Waits
	BodyMemory  int64
}

// Serving has a server asked at each scrape what clients take of it. It is
// called once.
func (m *Metrics) Serving(load func() Load) {
	for _, g := range []struct {
		name, help string
		value      func(Load) float64
	}{
		{"connections", "Connections of the API that are open.", func(l Load) float64 { return float64(l.Connections) }},
		{"requests_under_way", "Requests under way, claims that wait and streams not counted.", func(l Load) float64 { return float64(l.Requests) }},
		{"waiting_claims", "Claims that wait for a Welcome.", func(l Load) float64 { return float64(l.Waits - l.Streams) }},
		{"open_streams", "Streams of events that are open.", func(l Load) float64 { return float64(l.Streams) }},
		{"body_memory_bytes", "Bytes of bodies and answers under way, small ones not counted.", func(l Load) float64 { return float64(l.BodyMemory) }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Namespace: namespace, Name: g.name, Help: g.help},
			func() float64 { return g.value(load()) }))
	}
}

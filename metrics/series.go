package metrics

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// A family is the counters of one name, by the value of their one label. They
// are looked up once, not at each event.
type family[T ~string] struct {
	vec   *prometheus.CounterVec
	known map[T]prometheus.Counter
}

// newFamily makes the series for each value, so that a first increase is seen
// as one.
func newFamily[T ~string](vec *prometheus.CounterVec, values []T) family[T] {
	f := family[T]{vec, make(map[T]prometheus.Counter, len(values))}
	for _, v := range values {
		f.known[v] = vec.WithLabelValues(string(v))
	}
	return f
}

func (f family[T]) of(value T) prometheus.Counter {
	if c, ok := f.known[value]; ok {
		return c
	}
	return f.vec.WithLabelValues(string(value))
}

// A request is what the series of http_request_duration_seconds differ in.
type request struct {
	route, method string
	code          int
}

// requests are the series of http_request_duration_seconds, which come with
// their first request and are looked up only then.
type requests struct {
	vec   *prometheus.HistogramVec // route, method, code
	mu    sync.RWMutex
	known map[request]prometheus.Observer
}

func (r *requests) of(key request) prometheus.Observer {
	r.mu.RLock()
	series, ok := r.known[key]
	r.mu.RUnlock()
	if ok {
		return series
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = make(map[request]prometheus.Observer)
	}
	series = r.vec.WithLabelValues(key.route, key.method, strconv.Itoa(key.code))
	r.known[key] = series
	return series
}

package metrics

import (
	"testing"
	"time"

	"welcomed/delivery"
)

// What counting costs each request, and each claim on top of it.

func BenchmarkObserveRequest(b *testing.B) {
	_, m, _ := newMetrics(&answering{})
	b.ReportAllocs()
	for b.Loop() {
		m.ObserveRequest("/v1/users/:user/devices/:device/claim", "POST", 200, time.Millisecond)
	}
}

func BenchmarkCountClaim(b *testing.B) {
	_, _, s := newMetrics(&answering{claim: delivery.ClaimResult{Deliveries: make([]delivery.Delivery, 1)}})
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.Claim(b.Context(), delivery.Unauthenticated(), delivery.DeviceID{}, delivery.ClaimOptions{})
	}
}

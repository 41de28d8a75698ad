package metrics

import (
	"context"
	"errors"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"welcomed/delivery"
	"welcomed/mls"
)

// Store returns next with every outcome counted, and has next asked at each
// scrape what it holds. It is called once.
func (m *Metrics) Store(next delivery.Store) delivery.Store {
	m.registry.MustRegister(newHoldings(next, m.now), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Name: "ready", Help: "Whether the store can serve (1) or not (0), as /readyz says with the reason.",
	}, func() float64 { return ready(next) }))
	return &store{Store: next, metrics: m}
}

func ready(s delivery.Store) float64 {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	return truth(s.Ready(ctx) == nil)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// A store counts what the store below it answers.
type store struct {
	delivery.Store
	metrics *Metrics
}

func (s *store) Publish(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	p, err := s.Store.Publish(ctx, caller, device, items)
	s.metrics.countPublished(p, err)
	return p, err
}

func (s *store) Replace(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, suite mls.CipherSuite, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	p, err := s.Store.Replace(ctx, caller, device, suite, items)
	s.metrics.countPublished(p, err)
	return p, err
}

func (m *Metrics) countPublished(p delivery.Publications, err error) {
	if err != nil {
		return
	}
	stored := 0
	for _, item := range p.Items {
		if item.New {
			stored++
		}
	}
	m.published.Add(float64(stored))
}

func (s *store) Reserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (delivery.Reservation, error) {
	r, err := s.Store.Reserve(ctx, caller, req)
	if err == nil && !r.Repeated {
		s.metrics.countReserved(r)
	}
	return r, err
}

func (s *store) GiveBack(ctx context.Context, caller delivery.Caller, req delivery.GiveBackRequest) (delivery.GiveBackResult, error) {
	r, err := s.Store.GiveBack(ctx, caller, req)
	if err == nil && req.Reason.Known() {
		s.metrics.givenBack.of(req.Reason).Add(float64(r.New))
	}
	return r, err
}

func (s *store) Sync(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, digest delivery.Digest, refs []mls.KeyPackageRef) (delivery.SyncResult, error) {
	r, err := s.Store.Sync(ctx, caller, device, digest, refs)
	s.metrics.withdrawn.Add(float64(r.Fresh))
	return r, err
}

func (m *Metrics) countReserved(r delivery.Reservation) {
	for _, user := range r.Users {
		for _, device := range user.Devices {
			m.reserved.of(device.Status).Inc()
		}
	}
}

// Post counts the verdicts on a Welcome where they are decided. A refused one
// is not kept, so posting it again decides, and counts, again.
func (s *store) Post(ctx context.Context, caller delivery.Caller, p delivery.Posting) (delivery.Outcome, error) {
	o, err := s.Store.Post(ctx, caller, p)
	var refused *delivery.NoMatchError
	switch {
	case p.DryRun:
	case errors.As(err, &refused):
		s.metrics.countMismatches(refused.Recipients)
	case err == nil && !o.Repeated:
		s.metrics.countMismatches(o.Recipients)
		s.metrics.countMatches(o.Recipients)
	}
	return o, err
}

func (m *Metrics) countMismatches(recipients []delivery.Recipient) {
	for _, r := range recipients {
		if !r.Matched && slices.Contains(delivery.Mismatches, r.Status) {
			m.mismatch(atPost, r.Status, 1)
		}
	}
}

func (m *Metrics) countMatches(recipients []delivery.Recipient) {
	for _, r := range recipients {
		if r.Matched {
			m.matched.Inc()
		}
	}
}

func (s *store) Claim(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	r, err := s.Store.Claim(ctx, caller, device, opts)
	if err == nil {
		s.metrics.countClaim(r)
	}
	return r, err
}

func (m *Metrics) countClaim(r delivery.ClaimResult) {
	if r.NewlyWithheld > 0 {
		m.mismatch(atClaim, mismatchWithheld, r.NewlyWithheld)
	}
	if len(r.Deliveries) == 0 {
		m.claims.of(claimEmpty).Inc()
	}
	for _, d := range r.Deliveries {
		outcome := claimDelivered
		if d.Redelivered {
			outcome = claimRedelivered
		}
		m.claims.of(outcome).Inc()
	}
}

func (s *store) Reject(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, reason delivery.Reason, detail string) (int, error) {
	settled, err := s.Store.Reject(ctx, caller, device, id, ref, reason, detail)
	if err == nil && slices.Contains(delivery.Reasons, reason) {
		s.metrics.rejections.of(reason).Add(float64(settled))
		s.metrics.mismatch(atReject, mismatchRejected, settled)
	}
	return settled, err
}

// Sweep counts also what one that failed did before: each batch stands.
func (s *store) Sweep(ctx context.Context) (delivery.SweepResult, error) {
	r, err := s.Store.Sweep(ctx)
	s.metrics.ObserveSweep(r)
	s.metrics.clockTrusted.Set(truth(!errors.Is(err, delivery.ErrClock)))
	if err == nil {
		s.metrics.swept.Set(float64(s.metrics.now().Unix()))
	}
	return r, err
}

package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A backupPlace is where the schedule puts backups, as package backup names it.
type backupPlace string

var backupPlaces = []backupPlace{"directory", "s3"}

// A backupOutcome is what became of an attempt.
type backupOutcome string

const (
	backupMade   backupOutcome = "made"
	backupFailed backupOutcome = "failed"
)

// backups are the metrics of backups.
type backups struct {
	interval prometheus.Gauge
	attempts *prometheus.CounterVec // to, outcome
	newest   *prometheus.GaugeVec   // to
	bytes    *prometheus.GaugeVec   // to
	seconds  *prometheus.GaugeVec   // to
	revoked  *prometheus.CounterVec // to, outcome
}

func (m *Metrics) describeBackups() {
	b := &m.backups
	b.interval = m.gauge("backup_interval_seconds", "How often backups are to be made; 0: there is no schedule.")
	b.attempts = m.counters("backups_total", "Attempts of the schedule to make a backup, by place and outcome.", "to", "outcome")
	b.newest = m.gauges("backup_newest_timestamp_seconds", "When the newest backup was begun that is in the place; 0: none is known.", "to")
	b.bytes = m.gauges("backup_last_size_bytes", "Size of the last backup that was put into the place since the start.", "to")
	b.seconds = m.gauges("backup_last_duration_seconds", "How long that took, from the copy to the verified backup.", "to")
	b.revoked = m.counters("revocation_copies_total", "Attempts to copy what was revoked to where backups are, by place and outcome.", "to", "outcome")
	for _, place := range backupPlaces {
		for _, outcome := range []backupOutcome{backupMade, backupFailed} {
			b.attempts.WithLabelValues(string(place), string(outcome))
			b.revoked.WithLabelValues(string(place), string(outcome))
		}
		for _, vec := range []*prometheus.GaugeVec{b.newest, b.bytes, b.seconds} {
			vec.WithLabelValues(string(place))
		}
	}
}

// ScheduleBackups notes how often backups are to be made.
func (m *Metrics) ScheduleBackups(every time.Duration) { m.backups.interval.Set(every.Seconds()) }

// ObserveScheduledBackup implements backup.Observer.
func (m *Metrics) ObserveScheduledBackup(to string, bytes int64, took time.Duration) {
	m.backups.attempts.WithLabelValues(to, string(backupMade)).Inc()
	m.backups.bytes.WithLabelValues(to).Set(float64(bytes))
	m.backups.seconds.WithLabelValues(to).Set(took.Seconds())
}

// ObserveBackupFailure implements backup.Observer.
func (m *Metrics) ObserveBackupFailure(to string) {
	m.backups.attempts.WithLabelValues(to, string(backupFailed)).Inc()
}

// ObserveRevokedCopy implements backup.RevokedObserver.
func (m *Metrics) ObserveRevokedCopy(to string, err error) {
	outcome := backupMade
	if err != nil {
		outcome = backupFailed
	}
	m.backups.revoked.WithLabelValues(to, string(outcome)).Inc()
}

// ObserveNewestBackup implements backup.Observer.
func (m *Metrics) ObserveNewestBackup(to string, at time.Time) {
	seconds := 0.0
	if !at.IsZero() {
		seconds = float64(at.Unix())
	}
	m.backups.newest.WithLabelValues(to).Set(seconds)
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

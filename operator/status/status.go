// Package status says how a server is: in numbers for programs (Status, which is /status.json
// of the admin listener), and in words for people (Page, which is /). It decides what is wrong,
// the worst first, and says what to do. It reads nothing by itself: everything that it knows is
// in its Input.
package status

import (
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/history"
)

// An Input is what a status is made from.
type Input struct {
	Version  string
	Now      time.Time
	History  *history.History
	Stats    delivery.Stats
	StatsErr error // Stats are not known
	ReadyErr error // why the store cannot serve; nil if it can
	Failed   bool  // the store has, and cannot go on
	Draining bool  // the server was told to stop

	LowWatermark int
	HoldOverdue  time.Duration
	SweptAt      time.Time     // the last sweep that ended well; zero before the first
	SweepEvery   time.Duration // 0: not known
	BackupEvery  time.Duration // how often the server makes one; 0: it does not
	CertExpires  time.Time     // of the certificate in use; zero without TLS
	Webhook      *Webhook      // nil: there is none. How many wait, the store says
}

// Status is /status.json: how the server is. Names are part of the API. Times are RFC 3339 in
// UTC, sizes are in bytes, and durations in seconds. What has never happened is left out.
// Fields may be added.
type Status struct {
	Version       string    `json:"version"`
	Time          time.Time `json:"time"`
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`

	// Level is that of the worst problem, or ok. Summary says it in a sentence
	// that stays the same as long as the problems do.
	Level    Level     `json:"level"`
	Summary  string    `json:"summary"`
	Problems []Problem `json:"problems"` // worst first
	Ready    bool      `json:"ready"`    // as /readyz says

	Holdings   *Holdings `json:"holdings"` // null if the store does not say
	SinceStart Counts    `json:"since_start"`
	LastHour   Counts    `json:"last_hour"` // or since the start, if that is later
	// Commits are those of the last five minutes.
	Commits   Commits   `json:"commits"`
	SweptAt   time.Time `json:"swept_at,omitzero"`
	TLSExpiry time.Time `json:"tls_certificate_expires_at,omitzero"`
	Webhook   *Webhook  `json:"webhook,omitzero"`
	History   History   `json:"history"`

	lowWatermark int
}

// Holdings are what the store holds. What has had its time is counted where it
// was until it is swept.
type Holdings struct {
	KeyPackages  map[string]int `json:"key_packages"` // by state, last-resort ones counted
	Shelves      []Shelf        `json:"shelves"`      // by cipher suite
	SoonestEnd   time.Time      `json:"soonest_end,omitzero"`
	Devices      Devices        `json:"devices"`
	Welcomes     map[string]int `json:"welcomes"`         // recipients by state
	Overdue      int            `json:"welcomes_overdue"` // pending although the device has claimed since
	HoldsOverdue int            `json:"holds_overdue"`
	OldestAt     time.Time      `json:"oldest_pending_at,omitzero"`
	OldestAge    float64        `json:"oldest_pending_seconds"` // 0 if none waits
	UsedBytes    int64          `json:"used_bytes"`
	FreeBytes    int64          `json:"free_bytes"`      // inside the file
	LimitBytes   int64          `json:"limit_bytes"`     // 0: none
	DiskFree     int64          `json:"disk_free_bytes"` // -1: not known
	OpenReads    int            `json:"open_read_transactions"`
	BackedUpAt   time.Time      `json:"backed_up_at,omitzero"`
	RestoredAt   time.Time      `json:"restored_at,omitzero"`
}

// A Shelf is what could be handed out of one cipher suite.
type Shelf struct {
	Suite      mls.CipherSuite `json:"cipher_suite"`
	Name       string          `json:"name"`
	Available  int             `json:"available"` // last-resort ones not counted
	LastResort int             `json:"last_resort"`
}

// Short returns what tells the suites apart in the name: the KEM and the AEAD.
func (s Shelf) Short() string {
	parts := strings.Split(s.Name, "_") // MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519
	if len(parts) < 4 {
		return s.Name
	}
	return strings.TrimPrefix(parts[2], "DHKEM") + " " + aeads.Replace(parts[3])
}

var aeads = strings.NewReplacer("AES128GCM", "AES-128", "AES256GCM", "AES-256", "CHACHA20POLY1305", "ChaCha20")

// Devices are counted by how many KeyPackages they have left.
type Devices struct {
	OK    int `json:"ok"`
	Low   int `json:"low"`
	Empty int `json:"empty"`
	// LastResort publish nothing but last resorts, by design, and have one.
	LastResort int `json:"last_resort"`
	// Idle were not seen for 90 days; whatever they have, they are in no other count.
	Idle int `json:"idle"`
}

// All returns how many devices there are, idle ones left out.
func (d Devices) All() int { return d.OK + d.Low + d.Empty + d.LastResort }

// Counts are what happened in a time.
type Counts struct {
	Seconds    float64           `json:"seconds"`
	Published  uint64            `json:"key_packages_published"`
	Reserved   map[string]uint64 `json:"key_packages_reserved"` // by outcome
	Matched    uint64            `json:"welcome_matches"`
	Mismatches map[string]uint64 `json:"welcome_mismatches"` // by reason
	Claims     map[string]uint64 `json:"welcome_claims"`     // by outcome
	OverBudget map[string]uint64 `json:"budget_exceeded"`    // by budget
	Refused    uint64            `json:"refused_requests"`
	Damaged    uint64            `json:"damaged"` // parts of the store
	Commits    uint64            `json:"commits"`

	mismatches []history.Count
}

// MismatchCount returns how many recipients of Welcomes could not be served.
func (c Counts) MismatchCount() uint64 { return history.Sum(c.mismatches) }

// lost returns how many of the mismatches a device found, which had been given a Welcome
// that it cannot open. The others were told to whoever posted, who can try again.
func (c Counts) lost() uint64 { return c.Mismatches["withheld"] + c.Mismatches["rejected"] }

// Unserved returns how many devices had nothing to hand out. One that is unknown is
// not counted: whoever asked for it was wrong.
func (c Counts) Unserved() uint64 {
	return unserved(func(s delivery.DeviceReserveStatus) uint64 { return c.Reserved[string(s)] })
}

func unserved(of func(delivery.DeviceReserveStatus) uint64) uint64 {
	return of(delivery.DeviceExhausted) + of(delivery.DeviceNotYetValid) + of(delivery.DeviceIncompatible)
}

// Recipients returns for how many it was decided whether they can be served.
func (c Counts) Recipients() uint64 { return c.Matched + c.MismatchCount() }

// Commits are how many there were and how long they took.
type Commits struct {
	Seconds float64 `json:"seconds"` // in which they were
	Count   uint64  `json:"count"`
	P50     float64 `json:"p50_seconds"` // 0 if there was none
	P99     float64 `json:"p99_seconds"`
}

// History is what happened in the last hours, in columns of equal length. The
// last one is not over. It is null where nothing is known: before the start.
type History struct {
	Start         time.Time  `json:"start"` // of the first column
	ColumnSeconds float64    `json:"column_seconds"`
	KeptSeconds   float64    `json:"kept_seconds"`   // after so long it is forgotten
	Claims        []*uint64  `json:"welcome_claims"` // returned, redelivered ones counted
	Redelivered   []*uint64  `json:"welcome_claims_redelivered"`
	Mismatches    []*uint64  `json:"welcome_mismatches"`
	Reserved      []*uint64  `json:"key_packages_reserved"`    // last-resort ones counted
	LastResort    []*uint64  `json:"key_packages_last_resort"` // reserved, nothing else was left
	Unserved      []*uint64  `json:"key_packages_unserved"`    // asked for, and there was none
	Commits       []*uint64  `json:"commits"`
	CommitP50     []*float64 `json:"commit_p50_seconds"`
	CommitP99     []*float64 `json:"commit_p99_seconds"`
	Available     []*int     `json:"key_packages_available"` // at the end, last-resort ones counted
	Pending       []*int     `json:"welcomes_pending"`       // at the end
}

const (
	hour = time.Hour
	day  = 24 * hour

	recently = 5 * time.Minute // commits are judged by
)

// Of returns how the server is.
func Of(in Input) Status {
	s := Status{
		Version:       in.Version,
		Time:          utc(in.Now),
		StartedAt:     utc(in.History.Started()),
		UptimeSeconds: in.History.Uptime().Seconds(),
		Ready:         in.ReadyErr == nil && !in.Failed && !in.Draining,
		SinceStart:    countsOf(in.History.Totals(), in.History.Uptime()),
		LastHour:      countsOf(in.History.Last(hour)),
		Commits:       commitsOf(in.History.Last(recently)),
		SweptAt:       utc(in.SweptAt),
		TLSExpiry:     utc(in.CertExpires),
		Webhook:       webhookOf(in),
		History:       historyOf(in),
		lowWatermark:  in.LowWatermark,
	}
	if in.StatsErr == nil {
		s.Holdings = holdingsOf(in.Stats, in.Now)
	}
	s.Problems = judge(in, &s)
	s.Level, s.Summary = summary(&s)
	return s
}

// utc returns t to the second; zero stays zero.
func utc(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func holdingsOf(s delivery.Stats, now time.Time) *Holdings {
	h := &Holdings{
		KeyPackages:  make(map[string]int),
		Welcomes:     make(map[string]int),
		Shelves:      []Shelf{},
		Devices:      Devices{OK: s.DevicesOK, Low: s.DevicesLow, Empty: s.DevicesEmpty, LastResort: s.DevicesLastResort, Idle: s.DevicesIdle},
		Overdue:      s.Overdue,
		HoldsOverdue: s.HoldsOverdue,
		OldestAt:     utc(s.OldestPending),
		UsedBytes:    s.UsedBytes,
		FreeBytes:    s.FreeBytes,
		LimitBytes:   s.LimitBytes,
		DiskFree:     s.DiskFreeBytes,
		OpenReads:    s.OpenReads,
		SoonestEnd:   utc(s.SoonestEnd),
		BackedUpAt:   utc(s.BackedUpAt),
		RestoredAt:   utc(s.RestoredAt),
	}
	if !s.OldestPending.IsZero() {
		h.OldestAge = max(0, now.Sub(s.OldestPending).Seconds())
	}
	for _, state := range delivery.KeyPackageStates {
		h.KeyPackages[state.String()] = s.KeyPackages[state]
	}
	for _, state := range delivery.WelcomeStates {
		h.Welcomes[state.String()] = s.Welcomes[state]
	}
	for _, suite := range sortedSuites(s.Shelves) {
		shelf := s.Shelves[suite]
		h.Shelves = append(h.Shelves, Shelf{suite, suite.String(), shelf.Available, shelf.LastResort})
	}
	return h
}

func countsOf(t history.Totals, took time.Duration) Counts {
	return Counts{
		Seconds:    took.Seconds(),
		Published:  t.Published,
		Reserved:   labelled(t.Reserved),
		Matched:    t.Matched,
		Mismatches: labelled(t.Mismatches),
		Claims:     labelled(t.Claims),
		OverBudget: labelled(t.OverBudget),
		Refused:    t.Refused,
		Damaged:    t.Damaged,
		Commits:    t.Commits.Count(),
		mismatches: t.Mismatches,
	}
}

func labelled(counts []history.Count) map[string]uint64 {
	m := make(map[string]uint64, len(counts))
	for _, c := range counts {
		m[c.Label] = c.N
	}
	return m
}

func commitsOf(t history.Totals, took time.Duration) Commits {
	p50, _ := t.Commits.Quantile(.5)
	p99, _ := t.Commits.Quantile(.99)
	return Commits{took.Seconds(), t.Commits.Count(), p50.Seconds(), p99.Seconds()}
}

// Columns is how many columns the history has.
const Columns = 120

// widths are for how many samples a column may stand. The narrowest is taken
// that has room for all since the start: two hours, six, or a day, at a sample a
// minute.
var widths = []int{1, 3, history.Kept / Columns}

func historyOf(in Input) History {
	width, column := 0, time.Duration(0)
	for _, width = range widths {
		column = time.Duration(width) * in.History.Every()
		if in.History.Uptime() < Columns*column {
			break
		}
	}
	begun := in.History.Uptime() % column // the last column
	kept := history.Kept * in.History.Every()
	h := History{ColumnSeconds: column.Seconds(), KeptSeconds: kept.Seconds(), Start: utc(in.Now.Add(-begun - (Columns-1)*column))}
	for _, c := range in.History.Columns(Columns, width) {
		h.add(c)
	}
	return h
}

func (h *History) add(c history.Column) {
	count := func(n uint64) *uint64 {
		if !c.Known {
			return nil
		}
		return &n
	}
	claims := func(outcome string) uint64 { return history.Of(c.Totals.Claims, outcome) }
	reserved := func(s delivery.DeviceReserveStatus) uint64 { return history.Of(c.Totals.Reserved, string(s)) }
	h.Claims = append(h.Claims, count(claims("delivered")+claims("redelivered")))
	h.Redelivered = append(h.Redelivered, count(claims("redelivered")))
	h.Mismatches = append(h.Mismatches, count(history.Sum(c.Totals.Mismatches)))
	h.Reserved = append(h.Reserved, count(reserved(delivery.DeviceReserved)+reserved(delivery.DeviceLastResort)))
	h.LastResort = append(h.LastResort, count(reserved(delivery.DeviceLastResort)))
	h.Unserved = append(h.Unserved, count(unserved(reserved)))
	h.Commits = append(h.Commits, count(c.Totals.Commits.Count()))
	h.CommitP50 = append(h.CommitP50, quantile(c.Totals.Commits, .5))
	h.CommitP99 = append(h.CommitP99, quantile(c.Totals.Commits, .99))
	h.Available = append(h.Available, known(c.Available))
	h.Pending = append(h.Pending, known(c.Pending))
}

func quantile(c history.Commits, q float64) *float64 {
	d, ok := c.Quantile(q)
	if !ok {
		return nil
	}
	s := d.Seconds()
	return &s
}

func known(level int) *int {
	if level < 0 {
		return nil
	}
	return &level
}

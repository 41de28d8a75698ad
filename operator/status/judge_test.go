package status

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/operator/history"
)

var now = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

type handClock struct{ elapsed time.Duration }

func (c *handClock) Now() time.Time         { return now.Add(c.elapsed - 2*time.Hour) }
func (c *handClock) Elapsed() time.Duration { return c.elapsed }

// A scene is a server that has been up for two hours and is well, which a test
// changes.
type scene struct {
	Input
	totals history.Totals // in the last hour
}

func well() *scene {
	s := &scene{Input: Input{
		Version:      "v1",
		Now:          now,
		LowWatermark: 10,
		HoldOverdue:  time.Hour,
		SweptAt:      now.Add(-time.Minute),
		SweepEvery:   time.Minute,
		Stats: delivery.Stats{
			KeyPackages: map[delivery.KeyPackageState]int{delivery.Available: 12345}, Welcomes: map[delivery.WelcomeState]int{delivery.Pending: 17},
			DevicesOK: 100, OldestPending: now.Add(-50 * time.Hour),
			Shelves:   map[mls.CipherSuite]delivery.Shelf{3: {Available: 45, LastResort: 2}, 1: {Available: 12300}},
			UsedBytes: 5 << 20, DiskFreeBytes: 10 << 30, BackedUpAt: now.Add(-3 * time.Hour),
		},
	}}
	s.totals = history.Totals{
		Matched:    100,
		Reserved:   []history.Count{{Label: "reserved", N: 90}, {Label: "last_resort"}, {Label: "exhausted"}, {Label: "incompatible"}},
		Mismatches: []history.Count{{Label: "unknown"}, {Label: "consumed"}, {Label: "rejected"}},
		Claims:     []history.Count{{Label: "delivered", N: 95}, {Label: "redelivered", N: 4}, {Label: "empty", N: 9}},
		OverBudget: []history.Count{{Label: "target"}},
		Commits:    history.Commits{Bounds: []float64{.005, .5, 5}, Counts: []uint64{100, 0, 0, 0}},
	}
	return s
}

// status returns what it is after an hour in which nothing was counted and one
// in which all was.
func (s *scene) status(t *testing.T) Status {
	t.Helper()
	var counted history.Totals
	counted = zeroed(s.totals)
	clock := &handClock{}
	s.History = history.New(history.Options{
		Every: time.Minute, Clock: clock,
		Totals: func() history.Totals { return counted },
		Levels: func(context.Context) (history.Levels, error) { return history.Levels{Available: 5, Pending: 2}, nil },
	})
	for range 117 {
		clock.elapsed += time.Minute
		s.History.Sample(t.Context())
	}
	counted = s.totals
	for range 3 {
		clock.elapsed += time.Minute
		s.History.Sample(t.Context())
	}
	return Of(s.Input)
}

func zeroed(t history.Totals) history.Totals {
	t.Published, t.Matched, t.Refused, t.Damaged = 0, 0, 0, 0
	for _, counts := range []*[]history.Count{&t.Reserved, &t.Mismatches, &t.Claims, &t.OverBudget} {
		*counts = slices.Clone(*counts)
		for i := range *counts {
			(*counts)[i].N = 0
		}
	}
	t.Commits.Counts = make([]uint64, len(t.Commits.Counts))
	return t
}

func TestAServerIsWell(t *testing.T) {
	s := well().status(t)
	if s.Level != OK || s.Summary != "All is well." || len(s.Problems) > 0 || !s.Ready {
		t.Errorf("%s %q %+v", s.Level, s.Summary, s.Problems)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*scene)
		code   string // empty: it is no problem
		level  Level
		detail string
	}{
		"the store has failed":            {func(s *scene) { s.Failed = true }, "store_failed", Critical, ""},
		"the server stops":                {func(s *scene) { s.Draining = true }, "stopping", Critical, ""},
		"the clock is behind":             {func(s *scene) { s.ReadyErr = fmt.Errorf("%w: it says 1970", delivery.ErrClock) }, "clock_wrong", Critical, "Clock not trusted: it says 1970."},
		"the store is not ready":          {func(s *scene) { s.ReadyErr = errors.New("read-only file system") }, "store_unavailable", Critical, "Read-only file system."},
		"the store does not say":          {func(s *scene) { s.StatsErr = delivery.ErrClosed }, "store_unavailable", Critical, ""},
		"somebody tries something out":    {func(s *scene) { s.totals.Mismatches[0].N = 2 }, "joiners_turned_away", Notice, "2 of 102 recipients of Welcomes could not be served in the last hour, 2 of them because the KeyPackage is not known here."},
		"some recipients of a few":        {func(s *scene) { s.totals.Mismatches[0].N = 3 }, "joiners_turned_away", Warning, "3 of 103 recipients of Welcomes could not be served in the last hour, 3 of them because the KeyPackage is not known here."},
		"one recipient of thousands":      {func(s *scene) { s.totals.Mismatches[0].N, s.totals.Matched = 1, 5000 }, "", OK, ""},
		"many recipients":                 {func(s *scene) { s.totals.Mismatches[1].N = 6 }, "joiners_turned_away", Critical, "used up by another Welcome"},
		"nobody was matched":              {func(s *scene) { s.totals.Mismatches[2].N, s.totals.Matched = 1, 0 }, "joiners_turned_away", Warning, "1 of 1 recipient of a Welcome"},
		"one reservation gets nothing":    {func(s *scene) { s.totals.Reserved[2].N = 2 }, "nothing_to_hand_out", Notice, "2 of 92 reservations"},
		"nothing to hand out":             {func(s *scene) { s.totals.Reserved[2].N, s.totals.Reserved[3].N = 8, 2 }, "nothing_to_hand_out", Warning, "10 of 100 reservations"},
		"some devices are empty":          {func(s *scene) { s.Stats.DevicesEmpty = 3 }, "devices_empty", Notice, "3 of 103 devices"},
		"many want last resorts only":     {func(s *scene) { s.Stats.DevicesOK, s.Stats.DevicesLastResort = 0, 100 }, "", OK, ""},
		"many devices are empty":          {func(s *scene) { s.Stats.DevicesEmpty = 30 }, "devices_empty", Warning, ""},
		"devices are low":                 {func(s *scene) { s.Stats.DevicesLow = 90 }, "", OK, ""},
		"a restore long ago, all empty":   {func(s *scene) { s.Stats.RestoredAt, s.Stats.DevicesEmpty = now.Add(-2*time.Hour), 200 }, "shelves_empty_after_restore", Warning, "opened 2 h ago"},
		"a restore just now, all empty":   {func(s *scene) { s.Stats.RestoredAt, s.Stats.DevicesEmpty = now.Add(-time.Minute), 200 }, "devices_empty", Warning, ""},
		"a restore, refilled":             {func(s *scene) { s.Stats.RestoredAt = now.Add(-2 * time.Hour) }, "", OK, ""},
		"a Welcome is overdue":            {func(s *scene) { s.Stats.Overdue = 1 }, "welcomes_overdue", Warning, "1 Welcome waits still, although"},
		"a phone in a drawer":             {func(s *scene) { s.Stats.OldestPending = now.Add(-29 * day) }, "", OK, ""},
		"a hold is overdue":               {func(s *scene) { s.Stats.HoldsOverdue = 2 }, "holds_overdue", Warning, "2 Welcomes have been held for more than 1 h."},
		"the disk is filling":             {func(s *scene) { s.Stats.DiskFreeBytes = 200 << 20 }, "disk_filling", Warning, "200 MiB"},
		"the disk is full":                {func(s *scene) { s.Stats.DiskFreeBytes = 0 }, "disk_filling", Critical, "0 bytes"},
		"nobody knows the disk":           {func(s *scene) { s.Stats.DiskFreeBytes = -1 }, "", OK, ""},
		"no room for a copy":              {func(s *scene) { s.Stats.UsedBytes = 11 << 30 }, "no_room_for_copy", Notice, "11 GiB"},
		"the limit is near":               {func(s *scene) { s.Stats.LimitBytes = 8 << 20 }, "limit_near", Warning, "5 MiB of the 8 MiB that --max-size allows are in use, and the last 2 MiB are"},
		"the limit is far":                {func(s *scene) { s.Stats.UsedBytes, s.Stats.LimitBytes = 700<<20, 1<<30 }, "", OK, ""},
		"the limit is reached":            {func(s *scene) { s.Stats.LimitBytes = 6 << 20 }, "limit_near", Critical, ""},
		"commits are slow":                {func(s *scene) { s.totals.Commits.Counts[1] = 10 }, "commits_slow", Warning, ""},
		"commits are very slow":           {func(s *scene) { s.totals.Commits.Counts[2] = 10 }, "commits_slow", Critical, ""},
		"one commit was slow":             {func(s *scene) { s.totals.Commits.Counts = []uint64{3, 1, 0, 0} }, "", OK, ""},
		"somebody drains":                 {func(s *scene) { s.totals.OverBudget[0].N = 1 }, "drain", Warning, "1 request was"},
		"damage was found":                {func(s *scene) { s.totals.Damaged = 2 }, "damage_found", Critical, "2 KeyPackages and Welcomes were found damaged"},
		"a cap refuses":                   {func(s *scene) { s.totals.Refused = 3 }, "requests_refused", Notice, "3 requests"},
		"the certificate expires soon":    {func(s *scene) { s.CertExpires = now.Add(10 * day) }, "certificate", Notice, "10 d"},
		"the certificate expires at once": {func(s *scene) { s.CertExpires = now.Add(day) }, "certificate", Warning, "1 d"},
		"the certificate has expired":     {func(s *scene) { s.CertExpires = now.Add(-time.Hour) }, "certificate", Critical, "1 h ago"},
		"the certificate is fresh":        {func(s *scene) { s.CertExpires = now.Add(60 * day) }, "", OK, ""},
		"the webhook is new":              {func(s *scene) { s.Webhook = &Webhook{Host: "app.example.com"} }, "", OK, ""},
		"the webhook's receiver is away":  {func(s *scene) { s.Webhook = &Webhook{FailingSince: now.Add(-time.Minute)} }, "", OK, ""},
		"the webhook's receiver is away for long": {func(s *scene) {
			s.Webhook = &Webhook{FailingSince: now.Add(-2 * time.Hour), Failure: "the receiver answered 500"}
			s.Stats.Hints = map[delivery.HintChannel]int{delivery.HintWebhook: 7}
		}, "webhook_failing", Warning, "2 h, and 7 hints wait. The last one: the receiver answered 500."},
		"the webhook's receiver wants no more": {func(s *scene) {
			s.Webhook = &Webhook{Host: "app.example.com", StoppedAt: now.Add(-time.Hour), FailingSince: now.Add(-time.Hour)}
		}, "webhook_stopped", Warning, "app.example.com answered 410 1 h ago"},
		"there is no backup":          {func(s *scene) { s.Stats.BackedUpAt = time.Time{} }, "backup_never", Warning, ""},
		"there is nothing to back up": {func(s *scene) { s.Stats.BackedUpAt, s.Stats.DevicesOK = time.Time{}, 0 }, "", OK, ""},
		"the backup is old":           {func(s *scene) { s.Stats.BackedUpAt = now.Add(-3 * day) }, "backup_old", Warning, "3 d ago"},
		"two backups were missed":     {func(s *scene) { s.BackupEvery = hour }, "backup_old", Warning, "3 h ago"},
		"backups are rare":            {func(s *scene) { s.BackupEvery, s.Stats.BackedUpAt = 7*day, now.Add(-8*day) }, "", OK, ""},
		"no sweep ends well":          {func(s *scene) { s.SweptAt = time.Time{} }, "sweep_stopped", Warning, "2 h ago"},
		"sweeps have stopped":         {func(s *scene) { s.SweptAt = now.Add(-5 * time.Minute) }, "sweep_stopped", Warning, "5 min ago"},
		"sweeps are rare":             {func(s *scene) { s.SweptAt, s.SweepEvery = now.Add(-5*time.Minute), time.Hour }, "", OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			sc := well()
			row.change(sc)
			s := sc.status(t)
			if row.code == "" {
				if s.Level != OK || len(s.Problems) > 0 {
					t.Errorf("%+v", s.Problems)
				}
				return
			}
			if len(s.Problems) != 1 {
				t.Fatalf("%+v", s.Problems)
			}
			p := s.Problems[0]
			if p.Code != row.code || p.Level != row.level || s.Level != row.level || !strings.Contains(p.Detail, row.detail) {
				t.Errorf("%+v, of the whole %s", p, s.Level)
			}
			if p.Title == "" || p.Detail == "" || p.Advice == "" || !strings.HasSuffix(p.Title, ".") {
				t.Errorf("not a sentence each: %+v", p)
			}
		})
	}
}

func TestTheWorstIsSaidFirst(t *testing.T) {
	sc := well()
	sc.Stats.BackedUpAt = time.Time{}
	sc.Stats.DevicesEmpty = 1 // a notice
	sc.totals.Mismatches[0].N = 50
	sc.Stats.DiskFreeBytes = 0
	s := sc.status(t)
	var codes []string
	for _, p := range s.Problems {
		codes = append(codes, p.Code)
	}
	if want := []string{"joiners_turned_away", "disk_filling", "backup_never", "devices_empty"}; !slices.Equal(codes, want) {
		t.Errorf("%v, want %v", codes, want)
	}
	if s.Summary != "Joiners are being turned away. 2 more things need you." {
		t.Error(s.Summary)
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		Number(0):               "0",
		Number(999):             "999",
		Number(1000):            "1,000",
		Number(uint64(1234567)): "1,234,567",
		Number(-12345):          "−12,345",
		Bytes(0):                "0 bytes",
		Bytes(1023):             "1023 bytes",
		Bytes(1536):             "1.5 KiB",
		Bytes(10 << 20):         "10 MiB",
		Bytes(123456789):        "118 MiB",
		Bytes(3 << 40):          "3 TiB",
		Bytes(2000 << 40):       "2000 TiB",
		Seconds(.0000512):       "51.2 µs",
		Seconds(.00249):         "2.49 ms",
		Seconds(.25):            "250 ms",
		Seconds(4.5):            "4.5 s",
		Ago(0):                  "0 s",
		Ago(-time.Second):       "0 s",
		Ago(59 * time.Second):   "59 s",
		Ago(90 * time.Second):   "1 min 30 s",
		Ago(70 * time.Minute):   "1 h 10 min",
		Ago(2 * time.Hour):      "2 h",
		Ago(15 * time.Hour):     "15 h",
		Ago(76 * time.Hour):     "3 d 4 h",
		Ago(400 * day):          "400 d",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

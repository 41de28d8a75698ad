package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
)

const (
	// settledAfter is when as much ends as begins: a shelf's age, the time that
	// what left it can still be matched, the time that its end is remembered.
	settledAfter = 150 // days
	// turnover is what free pages may take whatever the size of the file, in
	// bytes: a transaction writes what it changes elsewhere, and what was there
	// is free after it. A sweep may change some thousand pages.
	turnover = 32 << 20
	month    = 30 // days
)

// A week is what there is at its end.
type week struct {
	Day         int            `json:"day"`
	Users       int            `json:"users"`
	Devices     int            `json:"devices"`
	KeyPackages map[string]int `json:"key_packages"`
	Recipients  map[string]int `json:"recipients"`
	Payload     int64          `json:"payload_bytes"`
	Outcomes    int64          `json:"payload_of_outcomes_bytes"`
	File        int64          `json:"file_bytes"`
	Used        int64          `json:"used_bytes"`
	Free        int64          `json:"free_bytes"`
	Ratio       float64        `json:"file_to_payload"`
}

const claimWrites = "claim that writes"

// writes are the events that need a commit, which they may share.
var writes = []string{"publish", "reserve", "post", "release", "cancel", claimWrites, "acknowledge", "reject", "sync", "withdraw", "remove"}

// A summary is what there is to say at the end.
type summary struct {
	Days           int                `json:"days"`
	UserDays       float64            `json:"user_days"`
	Events         map[string]int     `json:"events"`
	PerUserDay     map[string]float64 `json:"events_per_user_per_day"`
	Writes         float64            `json:"writes_per_user_per_day"`
	Commits        int                `json:"commits"`
	Written        int64              `json:"written_bytes"`
	MaxRatio       float64            `json:"highest_ratio_when_settled"`
	File           int64              `json:"file_bytes"`
	Payload        int64              `json:"payload_bytes"`
	Compacted      int64              `json:"compacted_bytes"`
	CompactedRatio float64            `json:"compacted_to_payload"`
	PayloadPerUser float64            `json:"payload_bytes_per_user"`
	FilePerUser    float64            `json:"file_bytes_per_user"`
	Seconds        float64            `json:"seconds"`
}

// A report prints what a year was like.
type report struct {
	out      io.Writer
	started  time.Time
	last     week
	userDays float64
	worst    float64 // ratio, once it has settled
}

func (r *report) begin(y *year, out io.Writer) {
	r.out, r.started = out, time.Now()
	if !y.json {
		fmt.Fprintf(r.out, "%d users, %d days, seed %d, a step is %s\n\n", y.config.users/y.scale, y.days, y.seed, y.step)
		fmt.Fprintln(r.out, "  day  devices  available  reserved  retired  matched   ended  Welcomes open  settled  payload MB  file MB  used  free  ratio")
	}
}

// day notes what there is after a day.
func (r *report) day(y *year, c *census, s delivery.Stats, file int64) {
	r.userDays += float64(len(y.users))
	r.last = week{
		Day: y.today(), Users: len(y.users), Devices: c.devices, KeyPackages: named(s.KeyPackages), Recipients: named(s.Welcomes),
		Payload: int64(c.payload()), Outcomes: int64(c.outcomes) * tombstoneBytes, File: file, Used: s.UsedBytes, Free: s.FreeBytes,
		// Not what the file has grown by in advance, nor the pages between two
		// transactions: neither depends on what is in it.
		Ratio: float64(s.UsedBytes+max(0, s.FreeBytes-turnover)) / max(1, float64(c.payload())),
	}
	if r.last.Day > settledAfter {
		r.worst = max(r.worst, r.last.Ratio)
	}
}

func named[S interface {
	comparable
	fmt.Stringer
}](counts map[S]int) map[string]int {
	m := make(map[string]int, len(counts))
	for state, n := range counts {
		m[state.String()] = n
	}
	return m
}

// errTooLarge: the file takes too much for what is in it.
var errTooLarge = errors.New("the file is too large")

// bounded fails when the file is too large for its payload.
func (r *report) bounded(y *year) error {
	if r.worst > y.ratio {
		return fmt.Errorf("%w: %.2f times the payload of %d bytes, at most %.2f is promised", errTooLarge, r.worst, r.last.Payload, y.ratio)
	}
	return nil
}

func (r *report) week(y *year) {
	w := r.last
	if y.json {
		_ = json.NewEncoder(r.out).Encode(w)
		return
	}
	if w.Day%month >= 7 && w.Day != y.days {
		return
	}
	k := w.KeyPackages
	open := w.Recipients["held"] + w.Recipients["pending"] + w.Recipients["delivered"]
	settled := -open
	for _, n := range w.Recipients {
		settled += n
	}
	fmt.Fprintf(r.out, "%5d %8d %10d %9d %8d %8d %7d %14d %8d %11.1f %8.1f %5.1f %5.1f %6.2f\n",
		w.Day, w.Devices, k["available"], k["reserved"], k["retired"], k["matched"], k["consumed"]+k["expired"]+k["withdrawn"], open, settled,
		mb(w.Payload), mb(w.File), mb(w.Used), mb(w.Free), w.Ratio)
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// end prints what all of it comes to, and judges the file after a compaction.
func (r *report) end(y *year, file, compacted int64) error {
	s := summary{
		Days: y.days, UserDays: r.userDays, Events: y.counts, PerUserDay: map[string]float64{}, Commits: y.commits, Written: y.written,
		MaxRatio: r.worst, File: file, Payload: r.last.Payload, Compacted: compacted, CompactedRatio: float64(compacted) / float64(r.last.Payload),
		PayloadPerUser: float64(r.last.Payload) / float64(r.last.Users), FilePerUser: float64(file) / float64(r.last.Users),
	}
	for name, n := range y.counts {
		s.PerUserDay[name] = float64(n) / r.userDays
	}
	for _, name := range writes {
		s.Writes += s.PerUserDay[name]
	}
	s.Seconds = time.Since(r.started).Seconds()
	if err := r.print(y, s); err != nil {
		return err
	}
	if y.days > settledAfter && s.CompactedRatio > y.compacted {
		return fmt.Errorf("%w: %.2f times the payload after a compaction, at most %.2f is promised", errTooLarge, s.CompactedRatio, y.compacted)
	}
	return nil
}

func (r *report) print(y *year, s summary) error {
	if y.json {
		return json.NewEncoder(r.out).Encode(s)
	}
	fmt.Fprintf(r.out, "\n%-24s %12s %18s\n", "what happened", "times", "per user and day")
	for _, name := range slices.SortedFunc(maps.Keys(s.Events), byKind) {
		fmt.Fprintf(r.out, "%-24s %12d %18.3f\n", name, s.Events[name], s.PerUserDay[name])
	}
	fmt.Fprintf(r.out, "%-24s %12s %18.3f\n", "all that write", "", s.Writes)
	fmt.Fprintf(r.out, "\npayload %.0f B per user, file %.0f B per user; highest ratio since day %d: %.2f\n", s.PayloadPerUser, s.FilePerUser, settledAfter, s.MaxRatio)
	fmt.Fprintf(r.out, "%.1f MB, compacted %.1f MB, which is %.2f times the payload (%.2f if outcomes are not counted in)\n",
		mb(s.File), mb(s.Compacted), s.CompactedRatio, float64(s.Compacted)/float64(s.Payload-r.last.Outcomes))
	_, err := fmt.Fprintf(r.out, "%d commits, %.0f MB written, %.0f s\n", s.Commits, mb(s.Written), s.Seconds)
	return err
}

// byKind puts what is counted inside events behind the events.
func byKind(a, b string) int {
	spaces := func(s string) int { return min(1, strings.Count(s, " ")) }
	return cmp.Or(cmp.Compare(spaces(a), spaces(b)), cmp.Compare(a, b))
}

package status

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
)

func shown(t *testing.T, s Status) string {
	t.Helper()
	page, err := Page(s, []Link{{"/metrics", "for Prometheus"}})
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// text leaves out of a page what is not text.
func text(page string) string {
	page = regexp.MustCompile(`<[^>]*>`).ReplaceAllString(page, " ")
	return strings.Join(strings.Fields(page), " ")
}

func TestThePageSaysWhatThereIs(t *testing.T) {
	sc := well()
	sc.Stats.SoonestEnd = now.Add(5 * time.Hour)
	sc.Stats.LimitBytes = 1 << 30
	sc.totals.Mismatches[1].N = 1
	sc.CertExpires = now.Add(90 * day)
	sc.Webhook, sc.Stats.Hints = &Webhook{SentAt: now.Add(-time.Minute)}, map[delivery.HintChannel]int{delivery.HintWebhook: 3}
	got := text(shown(t, sc.status(t)))
	for _, want := range []string{
		"v1 · up 2 h · as of 12:00:00 UTC",
		"12,345 KeyPackages of 100 devices",
		"17 Welcomes, the oldest for 2 d 2 h",
		"95 in the last hour",
		"1 of 101 recipients",
		"3 h ago, 2026-12-01 09:00",
		"1 X25519 AES-128 12,300 0",
		"3 X25519 ChaCha20 45 2",
		"The next one leaves the shelf in 5 h, 2026-12-01 17:00 UTC .",
		"10 or more 100 100 %",
		"Waiting for their device 17",
		"Claimed again 4 4",
		"The KeyPackage was used up by another Welcome 1 1",
		"In use 5 MiB",
		"May grow to 1 GiB",
		"Left on the disk 10 GiB",
		"TLS certificate expires 2027-03-01 12:00",
		"Last message of the webhook 1 min ago , 3 to be sent",
		"/metrics for Prometheus",
		"the plots go back 1 d at most",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing says %q", want)
		}
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestNothingOfTheStoreIsMarkup(t *testing.T) {
	sc := well()
	sc.Version = `v1"><script>alert(1)</script>`
	sc.ReadyErr = errors.New(`<img src=x onerror=alert(1)> & "quotes"`)
	page := shown(t, sc.status(t))
	if strings.Contains(page, "<script>") || strings.Contains(page, "<img src=x") || !strings.Contains(page, "&lt;img src=x onerror=alert(1)&gt; &amp;") {
		t.Error(page)
	}
}

func TestNothingInThePageIsInlineOrFromElsewhere(t *testing.T) {
	sc := well()
	sc.totals.Mismatches[1].N = 20
	page := shown(t, sc.status(t))
	for _, pattern := range []string{`style=`, `<style`, ` on[a-z]+=`, `<script(?: src="/page\.js" defer)?>[^<]`, `https?://`, `(?:src|href|action)="[^/]`, `javascript:`} {
		if found := regexp.MustCompile(pattern).FindString(page); found != "" {
			t.Errorf("%s: %s", pattern, found)
		}
	}
	for path := range Assets {
		if len(Asset(path)) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	if css := string(Asset("/style.css")); strings.Contains(css, "url(") || strings.Contains(css, "@import") {
		t.Error("the style has something loaded")
	}
}

// Elements that are opened are closed, in order.
func TestThePageIsWellFormed(t *testing.T) {
	for name, change := range map[string]func(*scene){
		"well":     func(*scene) {},
		"silent":   func(s *scene) { s.StatsErr = delivery.ErrClosed },
		"troubled": func(s *scene) { s.Stats.BackedUpAt, s.Stats.DevicesEmpty = time.Time{}, 2 },
	} {
		sc := well()
		change(sc)
		page := shown(t, sc.status(t))
		page = regexp.MustCompile(` (?:defer|required|data-part|open)([ >])`).ReplaceAllString(page, `$1`)
		page = regexp.MustCompile(`<(meta|link|img|input)\b([^>]*)>`).ReplaceAllString(page, `<$1$2/>`)
		d := xml.NewDecoder(strings.NewReader(page))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestPlotsAreSaidInWords(t *testing.T) {
	s := well().status(t)
	got := map[string]Plot{}
	for _, p := range plots(&s) {
		got[p.ID] = p
	}
	for id, want := range map[string]string{
		"claims":       "Welcomes claimed, per 3 min, in the last 6 h: 99 altogether, at most 99 in one column, 0 in the current one.",
		"mismatches":   "Joiners turned away, per 3 min, in the last 6 h: 0 altogether, at most 0 in one column, 0 in the current one.",
		"reservations": "KeyPackages reserved, per 3 min, in the last 6 h: 90 altogether, at most 90 in one column, 0 in the current one.",
		"available":    "KeyPackages on the shelf, in the last 6 h: now 5, between 5 and 5.",
		"pending":      "Welcomes waiting, in the last 6 h: now 2, between 2 and 2.",
		"commits":      "How long commits took, in the last 6 h: half were done within 2.5 ms at best, and 99 of 100 within 4.95 ms in the slowest column; half within 2.5 ms and 99 of 100 within 4.95 ms in the last one.",
	} {
		if got[id].Text != want {
			t.Errorf("%s: %q, want %q", id, got[id].Text, want)
		}
	}
	if path := got["claims"].Shapes[0].Path; strings.Count(path, "M") != 1 {
		t.Errorf("one column has claims: %s", path)
	}
	if strings.Contains(shown(t, s), "NaN") || strings.Contains(shown(t, s), "Inf") {
		t.Error("a number is none")
	}
}

// The names are API: this list is the documentation's, in the order of the
// document.
func TestTheNamesOfTheDocumentStay(t *testing.T) {
	sc := well()
	sc.Stats.SoonestEnd, sc.Stats.RestoredAt, sc.CertExpires = now.Add(day), now.Add(-day), now.Add(99*day)
	b, err := json.Marshal(sc.status(t))
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]json.RawMessage
	if err := json.Unmarshal(b, &document); err != nil {
		t.Fatal(err)
	}
	names := func(raw json.RawMessage) map[string]json.RawMessage {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		return m
	}
	counts := "seconds key_packages_published key_packages_reserved welcome_matches welcome_mismatches welcome_claims budget_exceeded refused_requests damaged commits"
	for part, want := range map[string]string{
		"":            "version time started_at uptime_seconds level summary problems ready holdings since_start last_hour commits swept_at tls_certificate_expires_at history",
		"holdings":    "key_packages shelves soonest_end devices welcomes welcomes_overdue holds_overdue oldest_pending_at oldest_pending_seconds used_bytes free_bytes limit_bytes disk_free_bytes open_read_transactions backed_up_at restored_at",
		"since_start": counts,
		"last_hour":   counts,
		"commits":     "seconds count p50_seconds p99_seconds",
		"history":     "start column_seconds kept_seconds welcome_claims welcome_claims_redelivered welcome_mismatches key_packages_reserved key_packages_last_resort key_packages_unserved commits commit_p50_seconds commit_p99_seconds key_packages_available welcomes_pending",
	} {
		got := document
		if part != "" {
			got = names(document[part])
		}
		for _, name := range strings.Fields(want) {
			if _, ok := got[name]; !ok {
				t.Errorf("%s: %s is missing", part, name)
			}
		}
		if len(got) != len(strings.Fields(want)) {
			t.Errorf("%s has %d names, %d are known", part, len(got), len(strings.Fields(want)))
		}
	}
}

package status

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"welcomed/operator/explain"
)

func answered(t *testing.T, a Answer) string {
	t.Helper()
	a.Version, a.Time = "v1", now
	page, err := ExplainPage(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

var someAnswer = Answer{Asked: `alice "x"`, Explanation: &explain.Explanation{
	Subject: `user "alice"`, Known: true, Cause: explain.NotFetched, Headline: "alice/phone has not asked for its Welcomes.",
	Also: []string{"nobody can add alice/tablet, its shelf is empty."},
	Parts: []explain.Part{
		{Title: "alice/phone", Verdict: "alice/phone has not asked for its Welcomes.", Now: []string{"1 Welcome waits"},
			Events: []explain.Event{{At: now, Text: "the device published KeyPackage ab…", Ref: strings.Repeat("ab", 32)}}, LeftOut: 3},
		{Title: "alice/tablet", Verdict: "nobody can add alice/tablet, its shelf is empty."},
	},
	Advice: []explain.Advice{{For: explain.Operator, Do: "look."}, {For: explain.User, Do: "open the app."}, {For: explain.User, Do: "wait."}},
	Notes:  []string{"Refusals are remembered."},
}}

func TestIDsKeepTheirCase(t *testing.T) {
	page := text(answered(t, someAnswer))
	for _, want := range []string{
		`User &#34;alice&#34; alice/phone has not asked for its Welcomes. Nobody can add alice/tablet`,
		"What to do Operator Look. User Open the app. Wait.",
		"alice/phone 1 Welcome waits What happened: 1 entry, 3 older ones left out",
		"The device published KeyPackage ab… KeyPackage", "alice/tablet Nobody can add alice/tablet",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("it does not say %q: %s", want, page)
		}
	}
	if css := string(Asset("/style.css")); strings.Count(css, "first-letter") != 1 { // of a level
		t.Error("the style changes first letters, which may be those of an id")
	}
}

// TestTheQuestionLooksTheSameOnBothPages: the form, and what stands on its buttons.
func TestTheQuestionLooksTheSameOnBothPages(t *testing.T) {
	question := regexp.MustCompile(`(?s)<section class="ask".*?</section>`)
	status, answer := question.FindString(shown(t, well().status(t))), question.FindString(answered(t, Answer{Failed: "no"}))
	if answer = strings.ReplaceAll(answer, "h1", "h2"); status == "" || answer != status {
		t.Errorf("%s\n%s", status, answer)
	}
	if !strings.Contains(answered(t, someAnswer), `value="alice &#34;x&#34;"`) {
		t.Error("what was asked is not in the form")
	}
	buttons := map[string]bool{}
	for _, b := range regexp.MustCompile(`<button>(.*?)</button>`).FindAllStringSubmatch(status, -1) {
		if buttons[b[1]] {
			t.Errorf("two buttons are called %s", b[1])
		}
		buttons[b[1]] = true
	}
}

func TestThePageOfAnAnswerIsWellFormed(t *testing.T) {
	for _, a := range []Answer{someAnswer, {Failed: "<b>"}, {}} {
		page := regexp.MustCompile(` (?:required|open)([ >])`).ReplaceAllString(answered(t, a), `$1`)
		page = regexp.MustCompile(`<(meta|link|img|input)\b([^>]*)>`).ReplaceAllString(page, `<$1$2/>`)
		d := xml.NewDecoder(strings.NewReader(page))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAFreshServerSaysSinceWhenThereIsData: on the page, in each plot, and not when the
// plots go back as far as they can.
func TestAFreshServerSaysSinceWhenThereIsData(t *testing.T) {
	s := well().status(t) // up for two hours of six
	if page := text(shown(t, s)); !strings.Contains(page, "There is data since 10:00 UTC") || strings.Count(page, "no data before 10:00") != 6 {
		t.Errorf("it says %s", page)
	}
	s.StartedAt = s.History.Start.Add(-time.Hour)
	for i, zero := range make([]uint64, Columns) {
		s.History.Claims[i] = &zero
	}
	if page := text(shown(t, s)); strings.Contains(page, "data since") || strings.Contains(page, "no data before") {
		t.Errorf("it says %s", page)
	}
}

package codes

import (
	"strings"
	"testing"

	"welcomed/delivery"
)

func TestEveryCodeHasWords(t *testing.T) {
	for _, s := range delivery.Mismatches {
		hasWords(t, string(s))
	}
	for _, s := range []string{Withheld, string(delivery.StatusRejected), TargetBudget} {
		hasWords(t, s)
	}
	for _, s := range delivery.DeviceReserveStatuses {
		if s != delivery.DeviceReserved && s != delivery.DeviceLastResort {
			hasWords(t, string(s))
		}
	}
	for _, r := range delivery.Reasons {
		if words := rejections[r]; words.Means == "" || words.Developer == "" || words.User == "" {
			t.Errorf("the reason %s has none", r)
		}
	}
	for code, r := range Refusals {
		if r.Do == "" || strings.HasSuffix(r.Do, ".") {
			t.Errorf("%s: %q is no advice to stand behind a detail", code, r.Do)
		}
		if !strings.HasSuffix(r.Means, ".") || r.Repeat == "" {
			t.Errorf("%s: %q is no sentence, or it does not say whether a repeat helps", code, r.Means)
		}
	}
}

func hasWords(t *testing.T, code string) {
	t.Helper()
	words := mismatches[code]
	if words.Means == "" || strings.HasSuffix(words.Means, ".") {
		t.Errorf("%s: %q is no clause", code, words.Means)
	}
	if !strings.HasSuffix(words.Do, ".") && !strings.HasSuffix(words.Do, "?") {
		t.Errorf("%s: %q is no sentence", code, words.Do)
	}
}

func TestACodeWithoutWordsIsNamed(t *testing.T) {
	if words := OfMismatch("brand_new"); !strings.Contains(words.Means, "brand_new") || words.Do == "" {
		t.Errorf("%+v", words)
	}
	if words := OfRejection("brand_new"); words != rejections[delivery.ReasonOther] {
		t.Errorf("%+v", words)
	}
}

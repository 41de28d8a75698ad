package cli

import (
	"strings"
	"testing"
)

// A key of thousands of characters would push everything else off the terminal.
func TestLongTextsAreShortened(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 500)
	r := &report{Kind: "KeyPackage", KeyPackage: &keyPackage{SignatureKey: key, Identity: strings.Repeat("ü", 5000)}}
	for line := range strings.Lines(r.text()) {
		if n := len([]rune(line)); n > 250 {
			t.Errorf("a line of %d characters", n)
		}
	}
	if text := r.text(); !strings.Contains(text, "(8000 characters, --json shows all)") || !strings.Contains(text, "(5000 characters, ") {
		t.Errorf("it does not say how much was left out:\n%s", text)
	}
	r.KeyPackage.SignatureKey = key[:2*133] // of P-521, the longest that there is
	if !strings.Contains(r.text(), key[:2*133]) {
		t.Error("a key of P-521 is shortened")
	}
}

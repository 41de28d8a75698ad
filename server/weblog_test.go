package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
)

// TestStrangersDoNotFillTheLog: there is one line in it for many connections
// that fail, and it says how many.
func TestStrangersDoNotFillTheLog(t *testing.T) {
	var out bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&out, nil))})
	web := s.httpServer(nil).ErrorLog
	for range 10_000 {
		web.Printf("http: TLS handshake error from %s: EOF", "192.0.2.1:1")
	}
	if n := strings.Count(out.String(), "handshake"); n < 1 || n > webLinesBurst+1 {
		t.Errorf("%d lines", n)
	}
	out.Reset()
	web.Writer().(*webLog).limit = rate.NewLimiter(rate.Every(time.Hour), 1)
	web.Print("the next")
	if text := out.String(); !strings.Contains(text, `msg="the next" omitted_before=99`) {
		t.Errorf("the next line: %s", text)
	}
}

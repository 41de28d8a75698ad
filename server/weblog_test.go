package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"welcomed/auth"
	"welcomed/delivery"
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

// Every request has one line at debug, which its Request-Id finds and in which there
// is no secret; at other levels it has none.
func TestTheLogHasEachRequestAtDebug(t *testing.T) {
	code := map[string]string{"/v1?token=s3cret": "bad_request", "/nothing/of/s3cret?token=s3cret": "not_found"}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo} {
		var out bytes.Buffer
		s := New(Options{NoAuth: NoAuthLocal, Log: slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))})
		for _, path := range []string{"/v1?token=s3cret", "/nothing/of/s3cret?token=s3cret"} {
			out.Reset()
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.Host, r.RemoteAddr = "localhost", "127.0.0.1:1"
			r.Header.Set("Request-Id", "id-7")
			r.Header.Set("Authorization", "Bearer s3cret")
			s.API().ServeHTTP(httptest.NewRecorder(), r)
			lines := strings.Count(out.String(), "msg=request request_id=id-7 ")
			if want := map[slog.Level]int{slog.LevelDebug: 1}[level]; lines != want {
				t.Errorf("%s at %v: %d lines, want %d:\n%s", path, level, lines, want, out.String())
			}
			if strings.Contains(out.String(), "s3cret") {
				t.Errorf("%s: the log has a secret:\n%s", path, out.String())
			}
			for _, part := range []string{"caller=", "client=127.0.0.1", "method=GET", "route=", "status=", "code=" + code[path] + " ", "took="} {
				if level == slog.LevelDebug && !strings.Contains(out.String(), " "+part) {
					t.Errorf("%s: there is no %s in:\n%s", path, part, out.String())
				}
			}
		}
	}
}

// The log says who asks, also where a service does for somebody.
func TestTheLogSaysWhoAsks(t *testing.T) {
	phone, backend := delivery.Caller{User: "alice", Device: "phone"}, auth.Identity{Service: "backend"}
	for _, row := range []struct {
		r    request
		want string
	}{
		{request{}, ""},
		{request{operator: true}, "operator"},
		{request{caller: phone, identity: auth.Identity{User: "alice", Device: "phone"}}, "alice/phone"},
		{request{caller: delivery.Caller{User: "alice"}}, "alice"},
		{request{caller: delivery.Caller{Service: "backend"}, identity: backend}, "service backend"},
		{request{caller: phone, identity: backend}, "service backend for alice/phone"},
	} {
		if got := row.r.askedBy(); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

package notify

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	oldSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	newSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

// a message with letters that JSON escapes.
var aMessage = Message{ID: "msg_1", Type: "welcome", User: "ann <&> ünï", Device: "phone", At: time.UnixMilli(1e12)}

// webhookTo returns a webhook to a receiver on this machine.
func webhookTo(t *testing.T, url string, o Options) *Webhook {
	t.Helper()
	secrets, err := ParseSecrets(newSecret + "\n" + oldSecret + "\n")
	if err != nil {
		t.Fatal(err)
	}
	o.Allow = o.Allow.And(allowing(t, "127.0.0.1"))
	client := NewClient(o)
	t.Cleanup(client.Close)
	return &Webhook{URL: url, Secrets: secrets, Client: client}
}

func allowing(t *testing.T, all ...string) (a Allow) {
	t.Helper()
	for _, text := range all {
		one, err := ParseAllow(text)
		if err != nil {
			t.Fatal(err)
		}
		a = a.And(one)
	}
	return a
}

// receive starts a receiver that does as answer does, and returns its URL.
func receive(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL
}

func TestAReceiverCanTellWhoHasSent(t *testing.T) {
	var got *http.Request
	var body []byte
	url := receive(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		body, _ = io.ReadAll(r.Body)
	})
	if err := webhookTo(t, url, Options{UserAgent: "welcomed/test"}).Send(t.Context(), aMessage); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{oldSecret, newSecret} {
		judge, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := judge.Verify(body, got.Header); err != nil {
			t.Errorf("a receiver that knows one of two secrets: %v", err)
		}
		if err := judge.Verify(append(body, ' '), got.Header); err == nil {
			t.Error("a receiver accepts another body")
		}
	}
	stranger, err := standardwebhooks.NewWebhookRaw(bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	if err := stranger.Verify(body, got.Header); err == nil {
		t.Error("a receiver with another secret accepts it")
	}
	if agent := got.UserAgent(); got.Method != http.MethodPost || agent != "welcomed/test" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s of %s by %q", got.Method, got.Header.Get("Content-Type"), agent)
	}
	if got.Header.Get("Idempotency-Key") != "" || got.Header.Get("webhook-id") != aMessage.ID {
		t.Errorf("headers are %v", got.Header)
	}
	var read struct {
		Type      string
		Timestamp time.Time
		Data      struct{ ID, User, Device string }
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	if m := (Message{read.Data.ID, read.Type, read.Data.User, read.Data.Device, read.Timestamp}); !m.At.Equal(aMessage.At) || m.User != aMessage.User || m.ID != aMessage.ID || m.Type != aMessage.Type || m.Device != aMessage.Device {
		t.Errorf("the body is %s", body)
	}
}

func TestSecretsAreRead(t *testing.T) {
	long := func(n int) string {
		return secretPrefix + base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	for name, test := range map[string]struct {
		text string
		want int // secrets
	}{
		"one":                       {oldSecret, 1},
		"two, in lines":             {oldSecret + "\r\n" + newSecret + "\n", 2},
		"the shortest":              {long(24), 1},
		"the longest":               {long(64), 1},
		"one that is too short":     {long(23), 0},
		"one that is too long":      {long(65), 0},
		"one of two without prefix": {oldSecret + " C2FVsBQIhrscChlQIMV+b5sSYspob7oD", 0},
		"what is no Base64":         {secretPrefix + "!!!!", 0},
		"none":                      {" \n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			secrets, err := ParseSecrets(test.text)
			if len(secrets) != test.want || (err == nil) != (test.want > 0) {
				t.Errorf("%d secrets, %v; want %d", len(secrets), err, test.want)
			}
			for _, word := range strings.Fields(test.text) {
				if err != nil && strings.Contains(err.Error(), strings.TrimPrefix(word, secretPrefix)) {
					t.Errorf("the error shows the secret: %v", err)
				}
			}
		})
	}
}

// TestAReceiverFails has each way of failing end the attempt with an error that says so.
func TestAReceiverFails(t *testing.T) {
	hijack := func(w http.ResponseWriter, half string) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		io.WriteString(conn, half)
		conn.(*net.TCPConn).SetLinger(0) // as when its process is killed: a reset
		conn.Close()
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		status int // of a *Refused; 0: there was no answer
		after  time.Duration
		gone   bool
	}{
		"it answers 500": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 500, 0, false},
		"it is busy": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "120")
			w.WriteHeader(503)
		}, 503, 2 * time.Minute, false},
		"it wants no more": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) }, 410, 0, true},
		"it redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 307, 0, false},
		"it is killed before it answers":   {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "") }, 0, 0, false},
		"it is killed in its status line":  {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 2") }, 0, 0, false},
		"it is killed between its headers": {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "HTTP/1.1 200 OK\r\nA: b\r\n") }, 0, 0, false},
		"it speaks something else":         {func(w http.ResponseWriter, _ *http.Request) { hijack(w, "220 mail.example.com ESMTP\r\n") }, 0, 0, false},
		"it sends headers that do not end": {func(w http.ResponseWriter, _ *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nA: "+strings.Repeat("b", 1<<20))
		}, 0, 0, false},
		"it answers 200 and never its body": {func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
		}, 200, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			url := receive(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/elsewhere" {
					t.Error("a redirect was followed")
				}
				test.answer(w, r)
			})
			err := webhookTo(t, url, Options{}).Send(t.Context(), aMessage)
			var refused *Refused
			switch {
			case test.status == 200:
				if err != nil {
					t.Errorf("its status was good, and the error is %v", err)
				}
			case err == nil:
				t.Error("no error")
			case errors.As(err, &refused) != (test.status > 0) || refused != nil && (refused.Status != test.status || refused.RetryAfter != test.after):
				t.Errorf("%v", err)
			case errors.Is(err, ErrGone) != test.gone:
				t.Errorf("%v is gone, or not", err)
			case strings.Contains(err.Error(), url):
				t.Errorf("the error shows the URL: %v", err)
			}
		})
	}
}

func TestAReceiverThatHangsIsGivenUp(t *testing.T) {
	for name, hang := range map[string]func(http.ResponseWriter){
		"before its answer":  func(http.ResponseWriter) {},
		"between its bytes":  func(w http.ResponseWriter) { w.WriteHeader(200); w.(http.Flusher).Flush() },
		"after an interlude": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
	} {
		t.Run(name, func(t *testing.T) {
			released := make(chan struct{})
			url := receive(t, func(w http.ResponseWriter, r *http.Request) {
				hang(w)
				<-released
			})
			t.Cleanup(func() { close(released) })
			err := webhookTo(t, url, Options{Limit: 50 * time.Millisecond}).Send(t.Context(), aMessage)
			if answered := name == "between its bytes"; answered != (err == nil) || !answered && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("it accepts nothing", func(t *testing.T) {
		url := receive(t, func(http.ResponseWriter, *http.Request) {})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := webhookTo(t, url, Options{}).Send(ctx, aMessage); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
}

// TestAConnectionThatWasClosedCostsNoAttempt has the receiver close a connection that the
// client keeps, as one that was started anew.
func TestAConnectionThatWasClosedCostsNoAttempt(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	w := webhookTo(t, s.URL, Options{})
	for range 3 {
		if err := w.Send(t.Context(), aMessage); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
}

func TestAttemptsAreSpreadOverThreeDays(t *testing.T) {
	failed := errors.New("no answer")
	for _, chance := range []float64{0, 0.5, 1} {
		total := time.Duration(0)
		for attempt := 1; ; attempt++ {
			p, more := pause(attempt, failed, chance)
			if more != (attempt < 10) {
				t.Fatalf("after attempt %d: %t", attempt, more)
			}
			if !more {
				break
			}
			if p <= 0 {
				t.Errorf("a pause of %s after attempt %d", p, attempt)
			}
			total += p
		}
		if total < 55*time.Hour || total > 85*time.Hour {
			t.Errorf("with jitter %v all takes %s", chance, total)
		}
	}
	busy := &Refused{Status: 429, RetryAfter: time.Hour}
	for _, test := range []struct {
		attempt  int
		err      error
		min, max time.Duration
	}{
		{1, busy, time.Hour, 72 * time.Minute},
		{6, busy, 8 * time.Hour, 12 * time.Hour},
		{1, &Refused{Status: 503, RetryAfter: 1000 * time.Hour}, 24 * time.Hour, 25 * time.Hour},
		{0, failed, 4 * time.Second, 6 * time.Second},
	} {
		for _, chance := range []float64{0, 1} {
			if p, more := pause(test.attempt, test.err, chance); !more || p < test.min || p > test.max {
				t.Errorf("after attempt %d, %v: %s, %t", test.attempt, test.err, p, more)
			}
		}
	}
	if _, more := Pause(1, &Refused{Status: http.StatusGone}); more {
		t.Error("a receiver that wants no more is tried again")
	}
}

func TestRetryAfterIsRead(t *testing.T) {
	now := time.Date(2026, 12, 1, 5, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0,
		"99999999999999999999":          (1<<31 - 1) * time.Second,
		"Tue, 01 Dec 2026 05:01:00 GMT": time.Minute,
		"Tue, 01 Dec 2026 04:00:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

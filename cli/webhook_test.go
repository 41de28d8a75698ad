package cli

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"welcomed/mls/mlstest"
)

const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// A hookReceiver is a back end that checks the signature of each message.
type hookReceiver struct {
	t      *testing.T
	url    string
	status atomic.Int32
	bodies chan string
}

func newHookReceiver(t *testing.T) *hookReceiver {
	t.Helper()
	judge, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	r := &hookReceiver{t: t, bodies: make(chan string, 100)}
	r.status.Store(http.StatusNoContent)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = judge.Verify(body, req.Header)
		}
		if err != nil {
			t.Errorf("the message %s: %v", body, err)
		}
		r.bodies <- string(body)
		w.WriteHeader(int(r.status.Load()))
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// received waits for messages, in any order.
func (r *hookReceiver) received(want ...string) {
	r.t.Helper()
	for len(want) > 0 {
		select {
		case body := <-r.bodies:
			i := 0
			for i < len(want) && !regexp.MustCompile(want[i]).MatchString(body) {
				i++
			}
			if i == len(want) {
				r.t.Fatalf("received %s, want %q", body, want)
			}
			want = append(want[:i], want[i+1:]...)
		case <-time.After(20 * time.Second):
			r.t.Fatalf("not received: %q", want)
		}
	}
}

// A hookServer is a server with a webhook.
type hookServer struct {
	t      *testing.T
	dir    string
	api    string
	server *served
}

func startHookServer(t *testing.T, dir, url string) *hookServer {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "secret"), []byte(hookSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, line, err := startServed(dir, append(os.Environ(), "WELCOMED_WEBHOOK_SECRET_FILE="+filepath.Join(dir, "secret")),
		"--db", "welcomed.db", "--webhook-url", url+"/hook", "--webhook-allow", "127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Process.Kill() })
	return &hookServer{t, dir, line.Listen, s}
}

func (s *hookServer) stop() {
	s.t.Helper()
	if err := s.server.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := <-s.server.done; err != nil {
		s.t.Fatalf("%v\n%s", err, s.server.log)
	}
}

// command runs a command beside the server, and returns what it says.
func (s *hookServer) command(words ...string) (text string, good bool) {
	s.t.Helper()
	c := exec.Command("welcomed", append(words, "--db", "welcomed.db")...)
	c.Dir = s.dir
	out, err := c.CombinedOutput()
	return string(out), err == nil
}

// says expects what a command says.
func (s *hookServer) says(words, pattern string) {
	s.t.Helper()
	if text, good := s.command(strings.Fields(words)...); !good || !regexp.MustCompile(pattern).MatchString(text) {
		s.t.Errorf("welcomed %s says %q (%t), want %s", words, text, good, pattern)
	}
}

// awaits repeats a command until it says so: what was sent is written down a little later.
func (s *hookServer) awaits(words, pattern string) {
	s.t.Helper()
	for range 2000 {
		if text, good := s.command(strings.Fields(words)...); good && regexp.MustCompile(pattern).MatchString(text) {
			return
		}
	}
	s.says(words, pattern)
}

// invite posts a Welcome for a device, which uses up its stock.
func (s *hookServer) invite(device string) {
	s.t.Helper()
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	for _, r := range []struct {
		path string
		body []byte
	}{{"users/alice/devices/" + device + "/key-packages", kp}, {"welcomes", mlstest.WelcomeFor(kp)}} {
		resp, err := http.Post(fmt.Sprintf("http://%s/v1/%s", s.api, r.path), "message/mls", bytes.NewReader(r.body))
		if err != nil {
			s.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusCreated {
			s.t.Fatalf("%s: %s", r.path, resp.Status)
		}
	}
}

// TestABackEndIsTold has the built program tell a back end, which takes it, then is broken,
// then wants no more.
func TestABackEndIsTold(t *testing.T) {
	r := newHookReceiver(t)
	s := startHookServer(t, t.TempDir(), r.url)
	noHint := `^127\.0\.0\.1:\d+ was sent no hint since the start\n$`
	s.says("webhook list", noHint)
	s.says("webhook test", `^the receiver has taken the message\n$`)
	r.received(`^{"type":"test","timestamp":"[^"]+","data":{"id":"[^"]+"}}$`)
	s.says("webhook list", noHint) // a test is none
	s.invite("phone")
	r.received(`"type":"welcome".*"user":"alice","device":"phone"`, `"type":"stock".*"user":"alice","device":"phone"`)
	s.awaits("webhook list", `^127\.0\.0\.1:\d+ has taken the last message, at [^\n]+\n$`)

	r.status.Store(http.StatusServiceUnavailable)
	if text, good := s.command("webhook", "test"); good || !strings.Contains(text, "the receiver answered 503 Service Unavailable") {
		t.Errorf("a test of a broken receiver says %q", text)
	}
	r.received(`"type":"test"`)
	s.invite("tablet")
	r.received(`"type":"welcome"`, `"type":"stock"`)
	s.awaits("webhook list", `takes no message since .*: the receiver answered 503 Service Unavailable\n2 wait\n(?s).*\nwelcome +alice +tablet .* 1 `)
	s.stop()

	r.status.Store(http.StatusGone)
	s = startHookServer(t, s.dir, r.url)
	s.says("webhook retry", `^\d hints are sent\n$`)
	s.awaits("webhook list", `wants no more messages since`)
	s.invite("laptop")
	s.says("webhook list", `wants no more messages since [^\n]*\n(?s:.*)`)
	r.status.Store(http.StatusOK)
	s.says("webhook retry", `hints are sent\n$`)
	s.invite("watch")
	s.awaits("webhook list", `has taken the last message`)
	s.stop()
}

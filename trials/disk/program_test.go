//go:build linux && (amd64 || arm64)

package disk_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/disk"
)

// program builds the program, once, or takes the one that WELCOMED_BIN names.
var program = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("WELCOMED_BIN"); path != "" {
		return path, nil
	}
	dir, err := os.MkdirTemp("", "welcomed-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "welcomed")
	if out, err := exec.Command("go", "build", "-o", path, "welcomed").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w: %s", err, out)
	}
	return path, nil
})

// A server is the program, serving.
type server struct {
	*exec.Cmd
	api, admin string
	log        *log
	ended      chan error
}

// A log keeps what a server says, and finds out where it listens.
type log struct {
	mu      sync.Mutex
	text    bytes.Buffer
	serving chan struct{ Msg, Listen, AdminListen string }
	lines   *io.PipeWriter
}

func newLog() *log {
	r, w := io.Pipe()
	l := &log{serving: make(chan struct{ Msg, Listen, AdminListen string }, 1), lines: w}
	go func() {
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var line struct {
				Msg, Listen string
				AdminListen string `json:"admin_listen"`
			}
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				l.serving <- struct{ Msg, Listen, AdminListen string }(line)
			}
		}
		_, _ = io.Copy(io.Discard, r)
	}()
	return l
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.text.Write(p)
	l.mu.Unlock()
	return l.lines.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// lastLine is what a server says when it ends.
func (l *log) lastLine() string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	return lines[len(lines)-1]
}

// start starts the program on a file. If it ends before it serves, api is empty.
func start(t *testing.T, db string, flags ...string) *server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Skip(err)
	}
	args := append([]string{"serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--admin-socket", "none",
		"--test-times", "sweep=1s", "--db", db}, flags...)
	s := &server{Cmd: exec.Command(path, args...), log: newLog(), ended: make(chan error, 1)}
	s.Stderr = s.log
	must(t, s.Start())
	go func() { s.ended <- s.Wait() }()
	t.Cleanup(func() { _ = s.Process.Kill() })
	select {
	case line := <-s.log.serving:
		s.api, s.admin = "http://"+line.Listen, "http://"+line.AdminListen
	case err := <-s.ended:
		s.ended <- err
	case <-time.After(60 * time.Second):
		t.Fatalf("the server does not serve:\n%s", s.log)
	}
	return s
}

// stop ends the server, if it has not ended by itself, and judges how it ended:
// well, or with exit code 1 and one sentence.
func (s *server) stop(t *testing.T) (byItself bool) {
	t.Helper()
	select {
	case err := <-s.ended:
		s.judge(t, err)
		return true
	case <-time.After(50 * time.Millisecond): // a store that has failed takes so long at most
	}
	_ = s.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			s.judge(t, err)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("the server does not end:\n%s", s.log)
	}
	return false
}

func (s *server) judge(t *testing.T, err error) {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.HasPrefix(s.log.lastLine(), "welcomed: ") || strings.Contains(s.log.String(), "goroutine ") {
		t.Errorf("it ended with %v and %q, want exit code 1 and one sentence\n%s", err, s.log.lastLine(), s.log)
	}
}

// An errand takes one KeyPackage of a device of its own through its life.
type errand struct {
	kp   []byte
	ref  mls.KeyPackageRef
	w    *mls.Welcome
	done int
	// doubt: about the next step, because the answer was 503 or none.
	doubt bool
}

// errandSteps are what is asked for and what then becomes of the Welcome.
var errandSteps = []string{"published", "pending", "delivered", "acknowledged"}

func newErrands(n, keyPackage, groupInfo int) []*errand {
	errands := make([]*errand, n)
	for i := range errands {
		bare := signer.KeyPackage(mlstest.WithPadding(keyPackage))
		kp, err := mls.ParseKeyPackage(bare)
		if err != nil {
			panic(err)
		}
		ref := delivery.Publication(kp).Ref
		w, err := mls.ParseWelcome(mlstest.WelcomeSize(groupInfo, 1, ref))
		if err != nil {
			panic(err)
		}
		errands[i] = &errand{kp: bare, ref: ref, w: w}
	}
	return errands
}

func (e *errand) device() string { return fmt.Sprintf("/v1/users/%.16s/devices/phone", e.ref) }
func (e *errand) id() string     { return delivery.IDOf(delivery.Unauthenticated(), e.w.Bytes()).String() }

// request is the next step.
func (e *errand) request() (path string, body []byte) {
	switch e.done {
	case 0:
		return e.device() + "/key-packages", mls.Wrap(mls.WireFormatKeyPackage, e.kp)
	case 1:
		return "/v1/welcomes", mls.Wrap(mls.WireFormatWelcome, e.w.Bytes())
	case 2:
		return e.device() + "/claim", nil
	}
	return e.device() + "/welcomes/" + e.id() + "/ack", nil
}

// next takes the next step and returns the status of the answer, 0 without one.
func (e *errand) next(api string) int {
	path, body := e.request()
	status, answer := ask("POST", api+path, body)
	switch {
	case status < 300 && status >= 200 && e.done == 2 && !strings.Contains(answer, e.id()):
		return -1
	case status < 300 && status >= 200:
		e.done++
	case status != http.StatusInsufficientStorage:
		e.doubt = true
	}
	return status
}

func ask(method, url string, body []byte) (status int, answer string) {
	req, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	if body != nil {
		req.Header.Set("Content-Type", "message/mls")
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(b)
}

var client = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// seen is how far the errand has come.
func (e *errand) seen(api string) (int, error) {
	status, answer := ask("GET", api+"/v1/welcomes/"+e.id(), nil)
	if status == http.StatusOK {
		for i, word := range errandSteps {
			if strings.Contains(answer, `"status":"`+word+`"`) {
				return i + 1, nil
			}
		}
		return 0, fmt.Errorf("the outcome is %s", answer)
	}
	if status != http.StatusNotFound {
		return 0, fmt.Errorf("the outcome: %d %s", status, answer)
	}
	status, answer = ask("GET", api+e.device()+"/key-packages", nil)
	if status != http.StatusOK {
		return 0, fmt.Errorf("the inventory: %d %s", status, answer)
	}
	if strings.Contains(answer, e.ref.String()) {
		return 1, nil
	}
	return 0, nil
}

// check compares what is there with what was acknowledged, and goes on to the
// end.
func (e *errand) check(api string) error {
	got, err := e.seen(api)
	if err != nil {
		return err
	}
	if got != e.done && !(e.doubt && got == e.done+1) {
		return fmt.Errorf("%d steps are there, %d were acknowledged, in doubt: %v", got, e.done, e.doubt)
	}
	for e.doubt = false; e.done < len(errandSteps); {
		if status := e.next(api); status < 200 || status >= 300 {
			return fmt.Errorf("step %d is answered %d after the restart", e.done, status)
		}
	}
	return nil
}

// runProgram serves errands on a disk that breaks.
func runProgram(t *testing.T, d *disk.Disk, fault disk.Fault) (ops int, answers map[int]int, ended bool) {
	t.Helper()
	path := filepath.Join(d.Dir, fileName)
	_, _, _ = os.Remove(path), os.Remove(path+".new"), os.Remove(path+".revoked")
	must(t, d.Break(fault))
	s, errands := start(t, path, "--max-size", "16MiB"), newErrands(6, 0, 20<<10)
	answers = make(map[int]int)
	for range errandSteps {
		var together sync.WaitGroup
		var mu sync.Mutex
		for _, e := range errands {
			together.Go(func() {
				if s.api == "" || e.doubt {
					return
				}
				status := e.next(s.api)
				mu.Lock()
				defer mu.Unlock()
				answers[status]++
			})
		}
		together.Wait()
	}
	ended = s.stop(t)
	ops, err := d.Ops()
	must(t, err)
	must(t, d.Mend())
	for status := range answers {
		if !slices.Contains([]int{0, 200, 201, 204, 500, 503, 507}, status) {
			t.Errorf("an answer is %d", status)
		}
	}
	again := start(t, path)
	if again.api == "" {
		t.Fatalf("it does not start again: %s", again.log.lastLine())
	}
	for _, e := range errands {
		if err := e.check(again.api); err != nil {
			t.Error(err)
		}
	}
	again.stop(t)
	return ops, answers, ended
}

// The program answers what it can and ends with one sentence where it cannot go
// on; a start on the mended disk serves all that was acknowledged.
func TestTheProgramOnADiskThatBreaks(t *testing.T) {
	d := mount(t)
	ops, answers, _ := runProgram(t, d, disk.Fault{})
	t.Logf("%d operations without a fault: %v", ops, answers)
	step := max(1, ops**every/150)
	for _, failure := range []disk.Failure{disk.ErrorOnce, disk.NoSpace, disk.Full, disk.Dies} {
		t.Run(strings.ReplaceAll(failure.String(), " ", "-"), func(t *testing.T) {
			faults, stopped, all := 0, 0, make(map[int]int)
			for at := 1; at <= ops; at += step {
				_, answers, ended := runProgram(t, d, disk.Fault{Failure: failure, At: at})
				for status, n := range answers {
					all[status] += n
				}
				faults++
				if ended {
					stopped++
				}
				if t.Failed() {
					t.Fatalf("after %s at operation %d", failure, at)
				}
			}
			t.Logf("%d faults injected, the program ended %d times; answers: %v", faults, stopped, all)
		})
	}
}

//go:build linux && (amd64 || arm64)

package disk_test

import (
	"context"
	"errors"
	"fmt"
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
	"welcomed/trials/harness"
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
	return harness.Build(context.Background(), dir)
})

// start starts the program on a file, and returns when it serves or has ended.
func start(t *testing.T, db string, flags ...string) *harness.Server {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Skip(err)
	}
	s, err := harness.Config{Binary: path, DB: db, Args: append([]string{"--admin-socket", "none", "--test-times", "sweep=1s"}, flags...)}.Begin()
	must(t, err)
	t.Cleanup(s.Kill)
	if err := s.Serving(t.Context()); err != nil && !ended(s) {
		t.Fatalf("%v:\n%s", err, s.Log)
	}
	return s
}

func ended(s *harness.Server) bool {
	select {
	case <-s.Ended():
		return true
	default:
		return false
	}
}

// stop ends the server, if it has not ended by itself, and judges how it ended: well, or
// with exit code 1 and one sentence. It reports whether the server has failed. A server that
// is stopping already, because its store has failed, is ended at once by the signal, like by
// a second one.
func stop(t *testing.T, s *harness.Server) (failed bool) {
	t.Helper()
	byItself := ended(s)
	err := s.Stop(syscall.SIGTERM)
	failed = err != nil || byItself
	if failed && !(terminated(err) && strings.Contains(s.Log.String(), "stopping")) {
		judge(t, s, err)
	}
	return failed
}

func terminated(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return false
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGTERM
}

func judge(t *testing.T, s *harness.Server, err error) {
	t.Helper()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.HasPrefix(s.Log.LastLine(), "welcomed: ") || strings.Contains(s.Log.String(), "goroutine ") {
		t.Errorf("it ended with %v and %q, want exit code 1 and one sentence\n%s", err, s.Log.LastLine(), s.Log)
	}
}

// An errand takes one KeyPackage of a device of its own through its life.
type errand struct {
	kp   []byte
	ref  mls.KeyPackageRef
	w    *mls.Welcome
	done int
	// unknown says that the next step may have happened: the answer was 503, or there was none.
	unknown bool
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

func (e *errand) device() harness.Device {
	return harness.Device{User: fmt.Sprintf("%.16s", e.ref), Name: "phone"}
}
func (e *errand) id() string { return delivery.IDOf(delivery.Unauthenticated(), e.w.Bytes()).String() }

// request is the next step.
func (e *errand) request() (path string, object any) {
	switch e.done {
	case 0:
		return e.device().Shelf(), mls.Wrap(mls.WireFormatKeyPackage, e.kp)
	case 1:
		return harness.AllWelcomes, mls.Wrap(mls.WireFormatWelcome, e.w.Bytes())
	case 2:
		return e.device().Claim(), nil
	}
	return e.device().Acknowledgement(e.id()), nil
}

// next takes the next step and returns the status of the answer, 0 without one.
func (e *errand) next(s *harness.Server) int {
	path, object := e.request()
	a := ask(s, "POST", path, object)
	switch {
	case a.Good() && e.done == 2 && !strings.Contains(string(a.Body), e.id()):
		return -1
	case a.Good():
		e.done++
	case a.Status != http.StatusInsufficientStorage:
		e.unknown = true
	}
	return a.Status
}

// ask asks over a connection of its own. Without an answer the status is 0.
func ask(s *harness.Server, method, path string, object any) harness.Answer {
	c := s.Client()
	c.HTTP = alone
	a, err := c.Ask(context.Background(), method, path, object)
	if err != nil {
		return harness.Answer{Body: []byte(err.Error())}
	}
	return a
}

var alone = &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// seen is how far the errand has come.
func (e *errand) seen(s *harness.Server) (int, error) {
	a := ask(s, "GET", harness.WelcomePath(e.id()), nil)
	if a.Good() {
		for i, word := range errandSteps {
			if strings.Contains(string(a.Body), `"status":"`+word+`"`) {
				return i + 1, nil
			}
		}
		return 0, fmt.Errorf("the outcome is %s", a.Body)
	}
	if a.Status != http.StatusNotFound {
		return 0, fmt.Errorf("the outcome: %d %s", a.Status, a.Body)
	}
	if a = ask(s, "GET", e.device().Shelf(), nil); !a.Good() {
		return 0, fmt.Errorf("the inventory: %d %s", a.Status, a.Body)
	}
	if strings.Contains(string(a.Body), e.ref.String()) {
		return 1, nil
	}
	return 0, nil
}

// check compares what is there with what was acknowledged, and goes on to the
// end.
func (e *errand) check(s *harness.Server) error {
	got, err := e.seen(s)
	if err != nil {
		return err
	}
	if got != e.done && !(e.unknown && got == e.done+1) {
		return fmt.Errorf("%d steps are there, %d were acknowledged, the next is unknown: %v", got, e.done, e.unknown)
	}
	for e.unknown = false; e.done < len(errandSteps); {
		if status := e.next(s); status < 200 || status >= 300 {
			return fmt.Errorf("step %d is answered %d after the restart", e.done, status)
		}
	}
	return nil
}

// runProgram serves errands on a disk that breaks.
func runProgram(t *testing.T, d *disk.Disk, fault disk.Fault) (ops int, answers map[int]int, failed bool) {
	t.Helper()
	path := filepath.Join(d.Dir, fileName)
	_, _, _ = os.Remove(path), os.Remove(path+".new.part"), os.Remove(path+".revoked")
	must(t, d.Break(fault))
	s, errands := start(t, path, "--max-size", "16MiB"), newErrands(6, 0, 20<<10)
	answers = make(map[int]int)
	for range errandSteps {
		var together sync.WaitGroup
		var mu sync.Mutex
		for _, e := range errands {
			together.Go(func() {
				if s.API() == "" || e.unknown {
					return
				}
				status := e.next(s)
				mu.Lock()
				defer mu.Unlock()
				answers[status]++
			})
		}
		together.Wait()
	}
	failed = stop(t, s)
	ops, err := d.Ops()
	must(t, err)
	must(t, d.Mend())
	for status := range answers {
		if !slices.Contains([]int{0, 200, 201, 204, 500, 503, 507}, status) {
			t.Errorf("an answer is %d", status)
		}
	}
	again := start(t, path)
	if again.API() == "" {
		t.Fatalf("it does not start again: %s", again.Log.LastLine())
	}
	for _, e := range errands {
		if err := e.check(again); err != nil {
			t.Error(err)
		}
	}
	stop(t, again)
	return ops, answers, failed
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
				_, answers, failed := runProgram(t, d, disk.Fault{Failure: failure, At: at})
				for status, n := range answers {
					all[status] += n
				}
				faults++
				if failed {
					stopped++
				}
				if t.Failed() {
					t.Fatalf("after %s at operation %d", failure, at)
				}
			}
			t.Logf("%d faults injected, the program failed %d times; answers: %v", faults, stopped, all)
		})
	}
}

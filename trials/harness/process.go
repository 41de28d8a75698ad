// Package harness runs a server for the time of a measurement.
package harness

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long a server may take to be ready, and to stop before it is
// killed.
const patience = time.Minute

// A Process is a running server.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // when ended is closed
}

// Start starts cmd, as another user unless that is nil. It is in a process
// group of its own, so that it ends when Stop says so and not with the Ctrl-C
// that this process is sent; on Linux it never outlives this process.
func Start(cmd *exec.Cmd, as *syscall.Credential) (*Process, error) {
	cmd.SysProcAttr = Apart(as)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Ready returns when the server with the admin listener at this host:port is
// ready, with an error if it ends before, takes more than patience, or ctx is
// done, with its cause.
func (p *Process) Ready(ctx context.Context, admin string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the server is not ready"))
	defer cancel()
	for ctx.Err() == nil {
		if isReady(ctx, admin) {
			return nil
		}
		select {
		case <-p.ended:
			return errors.New("the server ended")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return context.Cause(ctx)
}

func isReady(ctx context.Context, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends the process sig and does not wait for what it does.
func (p *Process) Signal(sig syscall.Signal) { _ = p.cmd.Process.Signal(sig) }

// Stop sends the process sig and returns when it has ended, with what it ended
// with.
func (p *Process) Stop(sig syscall.Signal) error {
	p.Signal(sig)
	select {
	case <-p.ended:
		return p.err
	case <-time.After(patience):
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("%s did not stop within %s", p.cmd.Path, patience)
}

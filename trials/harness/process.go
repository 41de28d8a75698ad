package harness

import (
	"fmt"
	"os/exec"
	"syscall"
	"time"
)

// patience is how long a server may take to serve, to be ready, and to stop before it
// is killed.
const patience = time.Minute

// A Process is a program that runs until it is stopped.
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

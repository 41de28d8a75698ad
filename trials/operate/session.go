package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A session is a shell in which one command follows the other.
type session struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	mark  string // nobody else prints this
	limit time.Duration
}

func startSession(ctx context.Context, shell string, limit time.Duration) (*session, error) {
	cmd := exec.CommandContext(ctx, "bash", "-c", "exec "+shell)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &session{cmd, in, bufio.NewReader(out), "operate-" + rand.Text(), limit}, nil
}

// run runs a command and returns what it printed, on stdout and stderr, and its
// exit status. It cannot read the commands that follow: its stdin is empty.
func (s *session) run(command string) (printed string, status int, err error) {
	if _, err := fmt.Fprintf(s.in, "{ %s\n} </dev/null 2>&1; operate_status=$?; echo; echo %s $operate_status\n", command, s.mark); err != nil {
		return "", 0, err
	}
	late := time.AfterFunc(s.limit, func() { _ = s.cmd.Cancel() })
	defer late.Stop()
	var b strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		if text, ok := strings.CutPrefix(line, s.mark+" "); ok {
			status, err = strconv.Atoi(strings.TrimSpace(text))
			return b.String(), status, err
		}
		b.WriteString(line)
		if err != nil {
			return b.String(), 0, errors.Join(errors.New("the shell has ended, or the command took too long"), err)
		}
	}
}

func (s *session) end() {
	s.in.Close()
	ended := make(chan error, 1)
	go func() { ended <- s.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Cancel()
		<-ended
	}
}

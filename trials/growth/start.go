package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
)

// What a child process does with a file.
const (
	childStart = "start" // open it, say how long that took, close it
	childIdle  = "idle"  // open it, and after a while say what memory that takes
	childLoad  = "load"  // publish until it is killed
)

// killedAfter is long enough for the log of changes to fill.
const killedAfter = 2 * time.Second

// measureStarts opens a file in new processes: after it was closed, from a disk
// of which nothing is in memory, and after a kill in the middle of a load.
func measureStarts(ctx context.Context, path string, out *column) error {
	if err := measureStart(ctx, path, "start after a close", out); err != nil {
		return err
	}
	if err := forget(path); err != nil {
		fmt.Fprintln(os.Stderr, "a start with nothing of the file in memory is not measured:", err)
	} else if err := measureStart(ctx, path, "start from the disk", out); err != nil {
		return err
	}
	if err := killUnderLoad(ctx, path); err != nil {
		return err
	}
	if err := measureStart(ctx, path, "start after kill -9", out); err != nil {
		return err
	}
	return measureIdle(ctx, path, out)
}

// measureIdle reads the memory of a new process that is left alone.
func measureIdle(ctx context.Context, path string, out *column) error {
	cmd, err := childCommand(ctx, childIdle, path)
	if err != nil {
		return err
	}
	lines, err := start(cmd)
	if err != nil {
		return err
	}
	var m memory
	for range 2 { // ready, and then the memory
		lines.Scan()
	}
	_, err = fmt.Sscan(lines.Text(), &m.anon, &m.file)
	if err := errors.Join(cmd.Wait(), err); err != nil {
		return fmt.Errorf("memory when idle: %w", err)
	}
	out.add("memory, idle", "MB", m.anon)
	out.add("mapped file, idle", "MB", m.file)
	return nil
}

// measureStart measures from the start of the process until the store is ready.
func measureStart(ctx context.Context, path, name string, out *column) error {
	cmd, err := childCommand(ctx, childStart, path)
	if err != nil {
		return err
	}
	begun := time.Now()
	lines, err := start(cmd)
	if err != nil {
		return err
	}
	ready := lines.Scan()
	took := time.Since(begun)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if !ready {
		return fmt.Errorf("%s: the child did not become ready", name)
	}
	out.add(name, "ms", ms(took))
	return nil
}

func killUnderLoad(ctx context.Context, path string) error {
	cmd, err := childCommand(ctx, childLoad, path)
	if err != nil {
		return err
	}
	lines, err := start(cmd)
	if err != nil {
		return err
	}
	if !lines.Scan() {
		return fmt.Errorf("the child that is to be killed ended: %w", cmd.Wait())
	}
	time.Sleep(killedAfter)
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	if err := cmd.Wait(); !strings.Contains(fmt.Sprint(err), syscall.SIGKILL.String()) {
		return fmt.Errorf("the child that is to be killed ended with %w", err)
	}
	return nil
}

func childCommand(ctx context.Context, what, path string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", what, "-file", path)
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// start starts a child and returns the lines that it prints.
func start(cmd *exec.Cmd) (*bufio.Scanner, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return bufio.NewScanner(stdout), cmd.Start()
}

// child is what a process does that was started to be measured.
func child(ctx context.Context, c config) error {
	s, err := open(c.childFile)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready")
	switch c.child {
	case childLoad:
		return publishForEver(ctx, s)
	case childIdle:
		if err := sayMemory(); err != nil {
			return err
		}
	}
	return s.Close()
}

// idleFor lets the store do what it has put off.
const idleFor = 4 * time.Second

func sayMemory() error {
	time.Sleep(idleFor)
	debug.FreeOSMemory()
	m, err := readMemory()
	fmt.Println(m.anon, m.file)
	return err
}

// publishForEver is a load of new devices, whose shelves never fill.
func publishForEver(ctx context.Context, s *bolt.Store) error {
	const endless = 1 << 30
	run := rand.Uint32()
	return spread(fillers, endless, func(m *maker, i int) error {
		name := fmt.Sprintf("late-%08x-%d", run, i)
		return m.publish(ctx, s, delivery.DeviceID{User: delivery.UserID(name), Name: "phone"}, 1)
	})
}

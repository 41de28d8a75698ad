package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A limit is a cgroup with a limit of memory, below the one that this process is
// in. The kernel ends the server where it takes more: its own memory, sockets and
// what it has written to files and is not on the disk yet. What is mapped of files
// is given back before.
type limit struct {
	dir string
	v2  bool
}

// newLimit makes the cgroup, which needs root. With version 2 the cgroup of this
// process has to be the root, or to have its processes in others.
func newLimit(bytes int64) (*limit, error) {
	parent, v2, err := ownCgroup()
	if err != nil {
		return nil, err
	}
	file := "memory.limit_in_bytes"
	if v2 {
		file = "memory.max"
		if err := os.WriteFile(filepath.Join(parent, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
			return nil, fmt.Errorf("a cgroup with a limit of memory: %w", err)
		}
	}
	l := &limit{filepath.Join(parent, fmt.Sprintf("welcomed-connections-%d", os.Getpid())), v2}
	if err := os.Mkdir(l.dir, 0o755); err != nil {
		return nil, fmt.Errorf("a cgroup with a limit of memory: %w", err)
	}
	if err := os.WriteFile(filepath.Join(l.dir, file), []byte(strconv.FormatInt(bytes, 10)), 0); err != nil {
		return nil, errors.Join(err, l.remove())
	}
	// Where there is swap, it is no memory.
	_ = os.WriteFile(filepath.Join(l.dir, "memory.swappiness"), []byte("0"), 0)
	_ = os.WriteFile(filepath.Join(l.dir, "memory.swap.max"), []byte("0"), 0)
	return l, nil
}

// ownCgroup returns the directory of the cgroup of this process that counts memory.
func ownCgroup() (dir string, v2 bool, err error) {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", false, err
	}
	for line := range strings.Lines(string(groups)) {
		id, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		if controllers == "memory" {
			return filepath.Join("/sys/fs/cgroup/memory", path), false, nil
		}
		if id == "0" {
			dir = filepath.Join("/sys/fs/cgroup", path)
		}
	}
	if dir == "" {
		return "", false, errors.New("no cgroup of this process counts memory")
	}
	return dir, true, nil
}

// command returns what starts a program in the cgroup.
func (l *limit) command(name string, args ...string) *exec.Cmd {
	if l == nil {
		return exec.Command(name, args...)
	}
	enter := `echo $$ > "$0/cgroup.procs" && exec "$@"`
	return exec.Command("/bin/sh", append([]string{"-c", enter, l.dir, name}, args...)...)
}

// killed is how often the kernel ended a process for its memory.
func (l *limit) killed() (n int) {
	file := "memory.oom_control"
	if l.v2 {
		file = "memory.events"
	}
	events, _ := os.ReadFile(filepath.Join(l.dir, file))
	for line := range strings.Lines(string(events)) {
		fmt.Sscanf(line, "oom_kill %d", &n)
	}
	return n
}

// remove removes the cgroup, whose processes have ended.
func (l *limit) remove() (err error) {
	if l == nil {
		return nil
	}
	for range 50 { // a process leaves a moment after it has ended
		if err = os.Remove(l.dir); err == nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

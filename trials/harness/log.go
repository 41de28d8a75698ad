package harness

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// A Log is what a server has written to stderr: lines of JSON, and at the end perhaps a
// sentence or a panic. It may be read while the server writes.
type Log struct {
	show    io.Writer
	serving chan struct{} // closed when the server has said where it listens

	mu         sync.Mutex
	text       bytes.Buffer
	whole      int // bytes of text that were read as lines
	complaints []string
	listens    addresses
}

// addresses are where a server says that it listens.
type addresses struct {
	Listen      string
	AdminListen string `json:"admin_listen"`
}

func newLog(show io.Writer) *Log { return &Log{show: show, serving: make(chan struct{})} }

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	for {
		line, _, found := bytes.Cut(l.text.Bytes()[l.whole:], []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.whole += len(line) + 1
		l.read(line)
	}
}

// read notes what a line says. What is no line of the log is a complaint.
func (l *Log) read(line []byte) {
	var entry struct {
		Level, Msg string
		addresses
	}
	err := json.Unmarshal(line, &entry)
	switch {
	case err != nil || entry.Level == "ERROR":
		l.complaints = append(l.complaints, string(line))
		if l.show != nil {
			_, _ = l.show.Write(append(bytes.Clone(line), '\n'))
		}
	case entry.Msg == "serving" && l.listens.Listen == "":
		l.listens = entry.addresses
		close(l.serving)
	}
}

func (l *Log) served() addresses {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.listens
}

// Complaints returns the errors, and the lines that are none of the log, like those of a
// panic.
func (l *Log) Complaints() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.complaints...)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// LastLine returns what the server said last.
func (l *Log) LastLine() string {
	lines := strings.Split(strings.TrimSpace(l.String()), "\n")
	return lines[len(lines)-1]
}

// Tail returns the end of what was written.
func (l *Log) Tail() string {
	text := strings.TrimSpace(l.String())
	return text[max(0, len(text)-2000):]
}

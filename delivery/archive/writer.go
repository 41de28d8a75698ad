package archive

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// A Writer writes an archive. It refuses what a Reader would.
type Writer struct {
	by  string
	now time.Time
	to  *bufio.Writer
	sum hash.Hash
	seq sequence
}

// NewWriter returns one that says who writes, and when.
func NewWriter(w io.Writer, by string, now time.Time) *Writer {
	return &Writer{by: by, now: now.UTC(), to: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
}

// Write writes the next record.
func (w *Writer) Write(r Record) error {
	if h, ok := r.(*Header); ok {
		filled := *h
		filled.Format, filled.Version, filled.WrittenAt, filled.WrittenBy = formatName, formatVersion, w.now, w.by
		r = &filled
	}
	if err := w.seq.next(r); err != nil {
		return fmt.Errorf("what is to be written is not sound: %w", err)
	}
	line, err := encode(r)
	if err != nil {
		return err
	}
	w.sum.Write(line)
	_, err = w.to.Write(line)
	return err
}

// Close writes what makes the archive a whole one, and returns what is in it.
func (w *Writer) Close() (Counts, error) {
	if !w.seq.begun {
		return Counts{}, errors.New("an archive without a header")
	}
	last := &end{Counts: w.seq.counts, SHA256: Hash(w.sum.Sum(nil))}
	return last.Counts, errors.Join(w.Write(last), w.to.Flush())
}

// encode returns the line of a record.
func encode(r Record) ([]byte, error) {
	fields, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("write a %s: %w", r.name(), err)
	}
	if len(fields) > lineBytes-64 {
		return nil, fmt.Errorf("a %s of %d bytes is too long for a line", r.name(), len(fields))
	}
	line := make([]byte, 0, len(fields)+64)
	line = append(line, `{"type":"`+r.name()+`",`...)
	return append(append(line, fields[1:]...), '\n'), nil
}

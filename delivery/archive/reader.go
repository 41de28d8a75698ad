package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"strings"
)

// ErrBroken: what is read is no archive, or not all of one, or another than was
// written.
var ErrBroken = errors.New("the archive is broken")

// At says at which line of an archive something is wrong.
func At(line int, err error) error { return fmt.Errorf("%w at line %d: %w", ErrBroken, line, err) }

// A Line is a record as it was read.
type Line struct {
	Number int // from 1
	Size   int // bytes
	Record Record
}

// A Reader reads an archive and checks all that can be checked line by line. The
// lines are only good for something if the last of them was: it has their sum.
type Reader struct {
	from *bufio.Reader
	sum  hash.Hash
	seq  sequence
	line int
}

const headerBegins = `{"type":"header",`

// NewReader returns one that reads r to its end.
func NewReader(r io.Reader) *Reader {
	return &Reader{from: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
}

// Header returns what the first line says, once it was read.
func (r *Reader) Header() Header { return r.seq.header }

// Counts returns how many lines of each type were read.
func (r *Reader) Counts() Counts { return r.seq.counts }

// Lines yields the records. An error, which is ErrBroken or one of reading, is the
// last thing that it yields; without one the archive was whole.
func (r *Reader) Lines() iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for {
			line, err := r.next()
			if err == io.EOF {
				return
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// next returns io.EOF behind the last line of a whole archive.
func (r *Reader) next() (Line, error) {
	text, err := r.readLine()
	if err != nil {
		return Line{}, err
	}
	record, err := decode(text)
	if err == nil {
		err = r.seq.next(record)
	}
	if last, ok := record.(*end); ok && err == nil {
		if err = r.finish(last); err == nil {
			return Line{}, io.EOF
		}
	}
	if err != nil {
		return Line{}, At(r.line, err)
	}
	r.sum.Write(text)
	return Line{Number: r.line, Size: len(text), Record: record}, nil
}

// readLine returns the next line, which has to end.
func (r *Reader) readLine() ([]byte, error) {
	r.line++
	var text []byte
	for {
		part, err := r.from.ReadSlice('\n')
		if text = append(text, part...); r.line == 1 && (err == nil || err == io.EOF) && !bytes.HasPrefix(text, []byte(headerBegins)) {
			return nil, At(1, errors.New("it is no archive of welcomed"))
		}
		if len(text) > lineBytes {
			return nil, At(r.line, fmt.Errorf("it is longer than %d bytes", lineBytes))
		}
		switch {
		case err == nil:
			return text, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF:
			return nil, At(r.line, errors.New("it is cut off: the line that says what there should be is missing"))
		default:
			return nil, fmt.Errorf("read the archive: %w", err)
		}
	}
}

// finish compares what was read with what the last line says.
func (r *Reader) finish(last *end) error {
	switch _, err := r.from.ReadByte(); {
	case last.Counts != r.seq.counts:
		return errors.New("there are other numbers of lines than were written")
	case last.SHA256 != Hash(r.sum.Sum(nil)):
		return errors.New("the lines before it are not those that were written, or not in their order: the SHA-256 is another")
	case err == nil:
		return errors.New("there is something behind the end")
	case err != io.EOF:
		return fmt.Errorf("read the archive: %w", err)
	}
	return nil
}

// decode reads a line, which begins with its type.
func decode(line []byte) (Record, error) {
	rest, ok := bytes.CutPrefix(line, []byte(`{"type":"`))
	name, _, found := bytes.Cut(rest[:min(len(rest), 64)], []byte(`",`))
	if !ok || !found {
		return nil, errors.New(`it does not begin with {"type":"…",`)
	}
	record := newRecord(string(name))
	if record == nil {
		return nil, fmt.Errorf("there is no type %.40q", name)
	}
	fields := rest[len(name)+len(`",`):]
	d := json.NewDecoder(io.MultiReader(strings.NewReader("{"), bytes.NewReader(fields)))
	d.DisallowUnknownFields()
	if err := d.Decode(record); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if d.InputOffset() < int64(len(fields)) { // all but the end of the line, and the brace is ours
		return nil, fmt.Errorf("there is something behind the %s", name)
	}
	return record, nil
}

package server

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strconv"

	"welcomed/mls"
)

// objects are the MLS objects of an answer. They are encoded as base64 while the answer is
// written. Package json would need four copies of each.
type objects struct{ list []encoded }

// An object marks the place of an MLS object in an answer; empty if there is none.
type object string

// place stands in the JSON for each object until the answer is written. No id contains it.
const place object = "\x00"

var placeJSON = []byte(`"\u0000"`)

// An encoded is bytes in two parts.
type encoded struct{ head, rest []byte }

func (e encoded) length() int { return 2 + base64.StdEncoding.EncodedLen(len(e.head)+len(e.rest)) }

// add adds bytes to the objects, in the order of the answer.
func (o *objects) add(b []byte) object { return o.framed(framingBare, 0, b) }

// framed is add for an MLS object, in the framing that the client asked for.
func (o *objects) framed(f framing, format mls.WireFormat, bare []byte) object {
	if len(bare) == 0 {
		return ""
	}
	o.list = append(o.list, encoded{f.head(format), bare})
	return place
}

// head returns the bytes in front of a bare object in this framing.
func (f framing) head(format mls.WireFormat) []byte {
	if f == framingMessage {
		return mls.Wrap(format, nil)
	}
	return nil
}

// answerObjects writes the answer that make returns, with its objects. They have size bytes,
// for which it reserves memory first.
func answerObjects(w http.ResponseWriter, r *request, size int, make func(*objects) any) error {
	if err := r.usage.HoldMemory(size); err != nil {
		return err
	}
	body, o := borrowBuffer(), new(objects)
	defer returnBuffer(body)
	if err := encode(body, make(o)); err != nil {
		return err
	}
	text := body.Bytes()
	if bytes.Count(text, placeJSON) != len(o.list) {
		return errors.New("encode answer: its objects are not where they should be")
	}
	length := len(text) - len(o.list)*len(placeJSON)
	for _, e := range o.list {
		length += e.length()
	}
	w.Header().Set("Content-Type", mediaJSON)
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(http.StatusOK)
	o.write(w, text)
	return nil
}

// write writes the answer. If the client does not take it, that is no error: the client can ask
// again.
func (o *objects) write(w io.Writer, text []byte) {
	out := chunks{w: w}
	for _, e := range o.list {
		before, after, _ := bytes.Cut(text, placeJSON)
		text = after
		out.write(before)
		out.write([]byte{'"'})
		out.encode(e)
		out.write([]byte{'"'})
	}
	out.write(text)
	out.flush()
}

// chunks writes base64, a few KiB at a time.
type chunks struct {
	w    io.Writer
	text [4 << 10]byte
	n    int
	err  error // why nothing more is written
}

func (c *chunks) write(b []byte) {
	for len(b) > 0 && c.err == nil {
		n := copy(c.text[c.n:], b)
		b = b[n:]
		if c.n += n; c.n == len(c.text) {
			c.flush()
		}
	}
}

func (c *chunks) flush() {
	if c.err == nil && c.n > 0 {
		_, c.err = c.w.Write(c.text[:c.n])
	}
	c.n = 0
}

// encode writes base64. Bytes of one part that do not fill a group of three are written with
// the next part.
func (c *chunks) encode(e encoded) {
	var three [3]byte
	left := 0
	for _, b := range [][]byte{e.head, e.rest} {
		for left > 0 && left < 3 && len(b) > 0 {
			three[left], b = b[0], b[1:]
			left++
		}
		if left == 3 {
			c.triples(three[:])
			left = 0
		}
		whole := len(b) / 3 * 3
		c.triples(b[:whole])
		if left == 0 {
			left = copy(three[:], b[whole:])
		}
	}
	var last [4]byte
	if left > 0 {
		base64.StdEncoding.Encode(last[:], three[:left])
		c.write(last[:])
	}
}

// triples writes the base64 of bytes whose number is a multiple of three.
func (c *chunks) triples(b []byte) {
	for len(b) > 0 && c.err == nil {
		room := (len(c.text) - c.n) / 4 * 3
		if room == 0 {
			c.flush()
			continue
		}
		n := min(room, len(b))
		base64.StdEncoding.Encode(c.text[c.n:], b[:n])
		c.n += n / 3 * 4
		b = b[n:]
	}
}

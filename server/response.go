package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// statusClientGone is counted instead of a status if the client has gone.
const statusClientGone = 499

// A response keeps the status, and gives the client a limited time to take the answer.
type response struct {
	http.ResponseWriter
	times        *timeouts
	draining     <-chan struct{}
	status       int       // 0: nothing was written
	beforeAnswer []func()  // are called when the answer is made
	problem      string    // the code of the problem that was answered with
	streams      time.Time // when it began to answer with a stream; zero: it does not
}

// Values of headers that every answer has; net/http only reads them.
var (
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
)

func (s *Server) newResponse(w http.ResponseWriter, hr *http.Request) *response {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = noSniff
	r := &response{ResponseWriter: w, times: &s.times, draining: s.draining}
	if hr.ProtoMajor < 2 {
		r.setDeadline(0) // HTTP/2 has no deadline of an earlier request, and resets a stream that waits for longer
	}
	return r
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *response) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
		for _, f := range w.beforeAnswer {
			f()
		}
		w.lastAnswer()
		size, _ := strconv.Atoi(w.Header().Get("Content-Length"))
		w.setDeadline(size)
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// setDeadline sets when a client is cut off that does not take size bytes in time. It also
// replaces the deadline of the request before on the same connection.
func (w *response) setDeadline(size int) {
	deadline := time.Now().Add(w.times.writing(size))
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline) // a recorder has none
}

func (w *response) code() int {
	if w.status == 0 {
		return statusClientGone
	}
	return w.status
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) error {
	return answerAs(w, status, mediaJSON, v)
}

func answerAs(w http.ResponseWriter, status int, mediaType string, v any) error {
	body := borrowBuffer()
	defer returnBuffer(body)
	err := encode(body, v)
	if err == nil {
		writeBody(w, status, mediaType, body.Bytes())
	}
	return err
}

func encode(b *bytes.Buffer, v any) error {
	if err := json.NewEncoder(b).Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return nil
}

// buffers are for JSON that is read or written. For a large body that is most of the memory
// that a request takes.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKept is the largest buffer that is kept for the next request.
const maxKept = 128 << 10

func borrowBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// returnBuffer takes a buffer back. Nothing in it may be in use.
func returnBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxKept {
		b.Reset()
		buffers.Put(b)
	}
}

// writeBody writes an answer. If the client does not take it, that is no error: the client can
// ask again.
func writeBody(w http.ResponseWriter, status int, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// answerContent writes body with an ETag over all of it, or the part that the client asked for,
// or that it has not changed.
func answerContent(w http.ResponseWriter, r *request, mediaType string, body []byte) error {
	if err := r.usage.HoldMemory(len(body)); err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	w.Header().Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	w.Header().Set("Content-Type", mediaType)
	c := &contentWriter{ResponseWriter: w}
	http.ServeContent(c, r.Request, "", time.Time{}, bytes.NewReader(body))
	return c.err
}

// A contentWriter catches the refusals of [http.ServeContent], so that they become problems
// like any other.
type contentWriter struct {
	http.ResponseWriter
	err error
}

func (c *contentWriter) WriteHeader(status int) {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		c.err = errRange
	case http.StatusPreconditionFailed:
		c.err = errPrecondition
	default:
		if status >= 400 {
			c.err = errors.New("serve content: " + http.StatusText(status))
			return
		}
		c.ResponseWriter.WriteHeader(status)
	}
}

func (c *contentWriter) Write(b []byte) (int, error) {
	if c.err != nil {
		return len(b), nil
	}
	return c.ResponseWriter.Write(b)
}

// utc formats a time: RFC 3339, to the millisecond. The zero time becomes an empty text, which
// omitzero leaves out.
func utc(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
}

package dev

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
)

// A show writes what is asked and answered.
type show struct {
	whole bool
	mu    sync.Mutex
	out   io.Writer
}

const (
	shownBytes = 100       // of an answer in a line
	wholeBytes = 256 << 10 // of a body that is shown whole
)

// An exchange is a request and its answer. It is the ResponseWriter of the answer.
type exchange struct {
	http.ResponseWriter
	request *http.Request
	show    *show
	begun   time.Time
	loses   func(*http.Request) bool // nil: nothing is lost
	lost    bool
	status  int
	sent    excerpt // of the request
	answer  excerpt
}

func (s *show) begin(w http.ResponseWriter, r *http.Request) *exchange {
	e := &exchange{ResponseWriter: w, show: s, begun: time.Now()}
	if s.whole && r.Body != nil && r.Body != http.NoBody {
		r = r.Clone(r.Context())
		r.Body = readCloser{io.TeeReader(r.Body, &e.sent), r.Body}
	}
	e.request = r
	return e
}

type readCloser struct {
	io.Reader
	io.Closer
}

// Unwrap is for [http.ResponseController].
func (e *exchange) Unwrap() http.ResponseWriter { return e.ResponseWriter }

// WriteHeader implements http.ResponseWriter. All is done by then, so that what is lost
// here is the answer alone.
func (e *exchange) WriteHeader(status int) {
	if status >= 200 && e.status == 0 {
		e.status = status
		if e.loses != nil && e.loses(e.request) {
			e.lost = true
			panic(http.ErrAbortHandler)
		}
	}
	e.ResponseWriter.WriteHeader(status)
	if media := e.media(); media == "text/event-stream" || media == "application/x-ndjson" {
		e.write([]byte(e.line(fmt.Sprint(status, " ", media, ", and goes on"))))
	}
}

func (e *exchange) media() string {
	media, _, _ := mime.ParseMediaType(e.Header().Get("Content-Type"))
	return media
}

// line says what became of the request so far.
func (e *exchange) line(summary string) string {
	return fmt.Sprintf("%s %s %s → %s (%d ms)\n", e.begun.Format("15:04:05.000"), e.request.Method,
		printable(e.request.URL.RequestURI()), summary, time.Since(e.begun).Milliseconds())
}

func (e *exchange) write(b []byte) {
	e.show.mu.Lock()
	defer e.show.mu.Unlock()
	_, _ = e.show.out.Write(b)
}

// Write implements http.ResponseWriter.
func (e *exchange) Write(b []byte) (int, error) {
	if e.status == 0 {
		e.WriteHeader(http.StatusOK)
	}
	n, err := e.ResponseWriter.Write(b)
	_, _ = e.answer.Write(b[:n])
	return n, err
}

// end shows the exchange; it is deferred.
func (e *exchange) end() {
	var b bytes.Buffer
	b.WriteString(e.line(e.summary()))
	if e.show.whole {
		part(&b, "  > ", e.request.Header, &e.sent)
		if !e.lost {
			part(&b, "  < ", e.Header(), &e.answer)
		}
	}
	e.write(b.Bytes())
}

// summary is the answer in a few words.
func (e *exchange) summary() string {
	switch {
	case e.status == 0:
		return "the client left"
	case e.lost:
		return fmt.Sprint(e.status, ", and this reply was lost")
	case e.status == http.StatusNoContent, e.status == http.StatusNotModified, e.request.Method == http.MethodHead:
		return fmt.Sprint(e.status)
	}
	var problem struct{ Code, Detail string }
	media := e.media()
	switch {
	case e.status >= 400 && json.Unmarshal(e.answer.kept.Bytes(), &problem) == nil:
		return printable(fmt.Sprint(e.status, " ", problem.Code, ": ", problem.Detail))
	case media != "application/json":
		return printable(fmt.Sprintf("%d %s, %d bytes", e.status, media, e.answer.size))
	}
	text := strings.Join(strings.Fields(e.answer.kept.String()), " ")
	if len(text) > shownBytes {
		text = strings.ToValidUTF8(text[:shownBytes], "") + "…"
	}
	return printable(fmt.Sprint(e.status, " ", text))
}

// part writes the headers and the body of a request or an answer.
func part(b *bytes.Buffer, before string, header http.Header, body *excerpt) {
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			if name == "Authorization" {
				value = "(not shown)"
			}
			fmt.Fprintf(b, "%s%s: %s\n", before, name, printable(value))
		}
	}
	if body.size == 0 {
		return
	}
	text := body.kept.String()
	if strings.ContainsFunc(text, func(c rune) bool { return c == unicode.ReplacementChar || c == 0 }) {
		text = base64.StdEncoding.EncodeToString(body.kept.Bytes())
	}
	for line := range strings.Lines(text) {
		fmt.Fprintf(b, "%s%s\n", before, printable(strings.TrimRight(line, "\r\n")))
	}
	if rest := body.size - body.kept.Len(); rest > 0 {
		fmt.Fprintf(b, "%s… and %d bytes\n", before, rest)
	}
}

// An excerpt keeps the beginning of what is written to it.
type excerpt struct {
	kept bytes.Buffer
	size int
}

// Write implements io.Writer.
func (x *excerpt) Write(b []byte) (int, error) {
	x.size += len(b)
	_, _ = x.kept.Write(b[:min(len(b), wholeBytes-x.kept.Len())])
	return len(b), nil
}

// printable is text that a terminal shows as it is.
func printable(text string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return '·'
		}
		return c
	}, text)
}

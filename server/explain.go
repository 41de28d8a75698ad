package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"welcomed/delivery"
	"welcomed/operator/explain"
	statuspage "welcomed/operator/status"
)

const (
	mediaText      = "text/plain"
	mediaHTML      = "text/html"
	mediaMultipart = "multipart/form-data"
)

// explainBody is the largest body: a Welcome, and the parts of a form around it.
func explainBody(l delivery.Limits) int { return l.WelcomeBytes + slack }

// operatorAsks handles GET and POST /explain of the admin socket.
func (s *Server) operatorAsks(w http.ResponseWriter, r *request) error {
	r.Request.Body = io.NopCloser(orEmpty(r.body))
	return s.explain(w, r.Request)
}

func orEmpty(r io.Reader) io.Reader {
	if r == nil {
		return bytes.NewReader(nil)
	}
	return r
}

// explainPage handles GET and POST /explain of the admin listener. It changes nothing. A client
// that may not read the answer cannot make it read a Welcome either.
func (s *Server) explainPage(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, int64(explainBody(s.limits)))
	err := http.NewCrossOriginProtection().Check(r)
	if err != nil {
		err = fmt.Errorf("%w: %w", errForbidden, err)
	} else {
		err = s.explain(w, r)
	}
	if err == nil || r.Context().Err() != nil {
		return
	}
	p := problemOf(err)
	if p.Status == http.StatusInternalServerError {
		s.log.Error("explain failed", "error", err)
	}
	p.Detail = clip(err.Error()) // who runs the server may know
	switch preferred(r.Header) {
	case mediaJSON:
		_ = answerAs(w, p.Status, "application/problem+json", p)
	case mediaHTML:
		s.writePage(w, p.Status, statuspage.Answer{Failed: p.Detail, Asked: r.URL.Query().Get("q")})
	default:
		plain(w, p.Status, p.Detail+"\n")
	}
}

// explain answers a question. The status is 404 if nothing is known, but the body is an answer
// like any other.
func (s *Server) explain(w http.ResponseWriter, r *http.Request) error {
	question, err := readQuestion(r)
	if err != nil {
		return err
	}
	done, err := s.reads.Acquire(r.Context(), "explain")
	if err != nil {
		return err
	}
	e, err := s.explained(r.Context(), question)
	done()
	if err != nil {
		return err
	}
	status := http.StatusOK
	if !e.Known {
		status = http.StatusNotFound
	}
	w.Header().Set("Vary", "Accept")
	switch preferred(r.Header) {
	case mediaJSON:
		w.Header().Set("Cache-Control", "no-store")
		return answer(w, status, e)
	case mediaHTML:
		s.writePage(w, status, statuspage.Answer{Explanation: &e, Asked: r.URL.Query().Get("q")})
	default:
		plain(w, status, e.Text())
	}
	return nil
}

func (s *Server) explained(ctx context.Context, q explain.Question) (e explain.Explanation, err error) {
	stats, err := s.store.Stats(ctx)
	if err != nil {
		return e, err
	}
	about := explain.Facts{Question: q, Now: time.Now(), Limits: s.limits, RestoredAt: stats.RestoredAt}
	if err := s.store.Ready(ctx); err != nil {
		about.Trouble = err.Error()
	}
	facts, err := explain.Gather(ctx, s.store, s.refusals, about)
	if err != nil {
		return e, err
	}
	return explain.Explain(facts), nil
}

// readQuestion reads the question from the query, or a Welcome from the body: bare or in a
// form.
func readQuestion(r *http.Request) (q explain.Question, err error) {
	if r.Method == http.MethodPost {
		q, err = readAskedObject(r)
	} else {
		q, err = readAskedQuery(r.URL.RawQuery)
	}
	if errors.Is(err, explain.ErrQuestion) {
		err = fmt.Errorf("%w: %w", errBadRequest, err)
	}
	return q, err
}

func readAskedQuery(raw string) (explain.Question, error) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return explain.Question{}, fmt.Errorf("%w: query: %w", errBadRequest, err)
	}
	for name, values := range query {
		switch name {
		case "user", "device", "ref", "q":
		default:
			return explain.Question{}, fmt.Errorf("%w: unknown query parameter %q", errBadRequest, name)
		}
		if len(values) > 1 {
			return explain.Question{}, fmt.Errorf("%w: query parameter %s is given twice", errBadRequest, name)
		}
	}
	user, device, ref, text := query.Get("user"), query.Get("device"), query.Get("ref"), query.Get("q")
	switch {
	case user != "" && ref == "" && text == "":
		return explain.OfUser(user, device)
	case ref != "" && user+device+text == "":
		return explain.OfRef(ref)
	case text != "" && user+device+ref == "":
		return explain.Parse(text)
	}
	return explain.Question{}, fmt.Errorf("%w: say who cannot join: user, user and device, ref, or q", errBadRequest)
}

func readAskedObject(r *http.Request) (q explain.Question, err error) {
	is, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch is {
	case mediaMLS:
		b, err := readObject(r.Body)
		if err != nil {
			return q, err
		}
		return explain.OfObject(b)
	case mediaMultipart:
		return readForm(r, params["boundary"])
	}
	return q, fmt.Errorf("%w: Content-Type is %q, want %s or %s", errMediaType, r.Header.Get("Content-Type"), mediaMLS, mediaMultipart)
}

func readObject(from io.Reader) ([]byte, error) {
	b, err := io.ReadAll(from)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("%w: more than %d bytes", errTooLarge, tooLarge.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body ended early", errBadRequest)
	}
	return b, nil
}

// readForm reads the fields of a form: a file, or text if there is no file.
func readForm(r *http.Request, boundary string) (q explain.Question, err error) {
	if boundary == "" {
		return q, fmt.Errorf("%w: a form without a boundary", errBadRequest)
	}
	form, err := r.MultipartReader()
	if err != nil {
		return q, fmt.Errorf("%w: %w", errBadRequest, err)
	}
	fields := make(map[string][]byte)
	for range 4 { // a form has two fields
		part, err := form.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return q, fmt.Errorf("%w: form: %w", errBadRequest, err)
		}
		b, err := readObject(part)
		if err != nil {
			return q, err
		}
		fields[part.FormName()] = b
	}
	if b := fields["welcome"]; len(b) > 0 {
		return explain.OfObject(b)
	}
	return explain.Parse(string(fields["q"]))
}

// preferred returns the format of the answer: text, unless the client asks for another.
func preferred(h http.Header) string {
	quality, best := accepted(h), mediaText
	for _, media := range []string{mediaJSON, mediaHTML} {
		if quality[media] > quality[best] {
			best = media
		}
	}
	return best
}

// pageGuard allows a page to load its style sheet and to send its form, and nothing else.
const pageGuard = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (s *Server) writePage(w http.ResponseWriter, status int, a statuspage.Answer) {
	a.Version, a.Time = s.options.Version, time.Now().UTC()
	page, err := statuspage.ExplainPage(a)
	if err != nil {
		plain(w, http.StatusInternalServerError, "the page cannot be made: "+strconv.Quote(err.Error())+"\n")
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", pageGuard)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	writeBody(w, status, mediaHTML+"; charset=utf-8", page)
}

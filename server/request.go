package server

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/julienschmidt/httprouter"

	"welcomed/auth"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/server/admission"
)

const (
	mediaJSON = "application/json"
	mediaMLS  = "message/mls" // RFC 9420 §17.10
)

// A request is a request whose path and query have been read.
type request struct {
	*http.Request
	id     string // Request-Id
	route  *route
	caller delivery.Caller
	client netip.Addr // where it comes from
	usage  admission.Usage

	identity auth.Identity // whose credentials they are
	operator bool          // came over the admin socket

	// What the path names; zero where the route does not.
	user    delivery.UserID
	device  delivery.DeviceID
	welcome delivery.WelcomeID
	ref     mls.KeyPackageRef
	token   string // its id
	code    string // of a refusal

	query url.Values // only parameters that the route has

	// body ends with an error at limit; nil: there is none or it is not read.
	// It is not in Request.Body, where net/http looks for its own.
	body  io.Reader
	limit int
	room  int // bytes that are accounted for

	checkTime *admission.CheckTime // that reading the body takes

	// permitted looks at the credentials again, where they were looked at; a body
	// that comes only after this time needs it.
	permitted func() error
	late      time.Time
}

func (s *Server) newRequest(w *response, hr *http.Request, rt *route) *request {
	r := &request{Request: hr, id: requestID(hr), route: rt, client: s.clientAddress(hr), checkTime: s.checkTime}
	w.Header().Set("Request-Id", r.id)
	if hr.Body == nil || hr.Body == http.NoBody {
		return r
	}
	// Until the end of the body, where net/http lifts it. Also where the body is
	// not read: what is left of it is thrown away before the next request.
	deadline := time.Now().Add(s.times.body)
	_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(deadline) // a recorder has none
	if rt.body != nil {
		r.limit = rt.body(s.limits)
		r.body = http.MaxBytesReader(w.ResponseWriter, hr.Body, int64(r.limit))
	}
	return r
}

// requestID returns the id that the client chose, if it can stand in a log and in a header, or
// else a new one.
func requestID(r *http.Request) string {
	id := r.Header.Get("Request-Id")
	outside := func(c rune) bool { return c <= ' ' || c > '~' }
	if id == "" || len(id) > 64 || strings.ContainsFunc(id, outside) {
		return rand.Text()
	}
	return id
}

// publishes reports whether the answer to a refusal has "invalid".
func (r *request) publishes() bool {
	return r.route.path == shelfPath && (r.Method == http.MethodPost || r.Method == http.MethodPut)
}

// readPath reads the path's parameters, which are still escaped.
func (r *request) readPath(params httprouter.Params) error {
	for _, p := range params {
		value, err := url.PathUnescape(p.Value)
		if err != nil {
			return fmt.Errorf("%w: %w", errBadRequest, err)
		}
		if err := r.readParam(p.Key, value); err != nil {
			return err
		}
	}
	return nil
}

func (r *request) readParam(key, value string) (err error) {
	switch key {
	case "user":
		r.user = delivery.UserID(value)
		if err = delivery.ValidIdentifier(value); err != nil {
			err = fmt.Errorf("user id: %w", err)
		}
	case "device":
		r.device = delivery.DeviceID{User: r.user, Name: value}
		err = r.device.Valid()
	case "id":
		r.welcome, err = delivery.ParseWelcomeID(value)
	case "token":
		r.token = value
	case "code":
		r.code = value
	case "ref":
		if r.ref, err = mls.ParseKeyPackageRef(value); err != nil {
			err = fmt.Errorf("%w: %q is not the ref of a KeyPackage", errNotServed, value)
		}
	}
	return err
}

// readQuery reads the query. It refuses a parameter that the route does not have: with a
// misspelt hold, a Welcome would be given out too early.
func (r *request) readQuery() error {
	if r.URL.RawQuery == "" {
		return nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fmt.Errorf("%w: query: %w", errBadRequest, err)
	}
	known := strings.Fields(r.route.query)
	for name, values := range query {
		switch {
		case slices.Contains(known, name+"*"):
		case !slices.Contains(known, name):
			return fmt.Errorf("%w: unknown query parameter %q", errBadRequest, name)
		case len(values) > 1:
			return fmt.Errorf("%w: query parameter %s is given twice", errBadRequest, name)
		}
	}
	r.query = query
	return nil
}

// flag reads a query parameter that is on or off.
func (r *request) flag(name string) (bool, error) {
	switch v := r.query.Get(name); {
	case !r.query.Has(name), v == "0", v == "false":
		return false, nil
	case v == "1", v == "true":
		return true, nil
	default:
		return false, fmt.Errorf("%w: %s=%q, want 0, 1, true or false", errBadRequest, name, v)
	}
}

// choice reads a query parameter that has one of some values, by default the
// first of them.
func (r *request) choice(name string, values ...string) (string, error) {
	if !r.query.Has(name) {
		return values[0], nil
	}
	if v := r.query.Get(name); slices.Contains(values, v) {
		return v, nil
	}
	return "", fmt.Errorf("%w: %s=%q, want %s", errBadRequest, name, r.query.Get(name), strings.Join(values, " or "))
}

// suites reads the repeatable query parameter cipher_suite.
func (r *request) suites() ([]mls.CipherSuite, error) {
	var suites []mls.CipherSuite
	for _, v := range r.query["cipher_suite"] {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%w: cipher_suite=%q, want a number from 1 to 65535", errBadRequest, v)
		}
		suites = append(suites, mls.CipherSuite(n))
	}
	return suites, nil
}

// A framing says how MLS objects are written in an answer.
type framing string

const (
	framingBare    framing = "bare"
	framingMessage framing = "mls_message"
)

// framing reads the query parameter framing. Without it the framing is usual.
func (r *request) framing(usual framing) (framing, error) {
	other := framingBare
	if usual == framingBare {
		other = framingMessage
	}
	f, err := r.choice("framing", string(usual), string(other))
	return framing(f), err
}

// readBody appends the whole body, which must not be compressed, to b.
func (r *request) readBody(b *bytes.Buffer) error {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return fmt.Errorf("%w: Content-Encoding is %q, only identity is read", errMediaType, encoding)
	}
	if r.body == nil {
		return nil
	}
	if r.ContentLength > int64(r.limit) {
		return fmt.Errorf("%w: the body has %d bytes, at most %d are read", errTooLarge, r.ContentLength, r.limit)
	}
	for {
		if err := r.makeRoom(b); err != nil {
			return err
		}
		// A buffer that was used before may have more room than is accounted for.
		n, err := r.body.Read(b.AvailableBuffer()[:min(b.Available(), r.room-b.Len())])
		b.Write(b.AvailableBuffer()[:n]) // in place
		if err == io.EOF {
			return r.stillMay()
		}
		if err != nil {
			return r.bodyError(err)
		}
	}
}

// stillMay checks the credentials again if the body took long. Otherwise a client could act
// long after a revocation, if it sends the body slowly.
func (r *request) stillMay() error {
	if r.permitted == nil || time.Now().Before(r.late) {
		return nil
	}
	return r.permitted()
}

// firstRoom is how much memory a body gets at first, whatever length was announced.
const firstRoom = 4 << 10

// makeRoom makes room in b for more of the body: twice as much as has come, but not more than
// was announced, and a byte to find the end. It reserves the memory when it is needed.
func (r *request) makeRoom(b *bytes.Buffer) error {
	if b.Len() < r.room && b.Available() > 0 {
		return nil
	}
	room := max(firstRoom, 2*b.Len())
	if r.ContentLength >= 0 {
		room = max(b.Len(), min(room, int(r.ContentLength))) + 1
	}
	if err := r.usage.HoldMemory(room - r.room); err != nil {
		return err
	}
	r.room = room
	if b.Cap() < room {
		larger := bytes.NewBuffer(make([]byte, 0, room))
		larger.Write(b.Bytes())
		*b = *larger
	}
	return nil
}

func (r *request) bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("%w: the body has more than %d bytes", errTooLarge, r.limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errSlow
	}
	if r.Context().Err() != nil {
		return r.Context().Err()
	}
	return fmt.Errorf("%w: the body ended early", errBadRequest)
}

// mediaType returns the media type of the body, which has to be one of read.
func (r *request) mediaType(read ...string) (string, error) {
	is := r.Header.Get("Content-Type")
	if slices.Contains(read, is) {
		return is, nil // as nearly always
	}
	is, _, err := mime.ParseMediaType(is)
	if err != nil || !slices.Contains(read, is) {
		return "", fmt.Errorf("%w: Content-Type is %q, want %s", errMediaType, r.Header.Get("Content-Type"), strings.Join(read, " or "))
	}
	return is, nil
}

// readJSON reads a body that is JSON. An empty one is {}.
func (r *request) readJSON(v any) error {
	body := borrowBuffer()
	defer returnBuffer(body)
	if err := r.readBody(body); err != nil || body.Len() == 0 {
		return err
	}
	if _, err := r.mediaType(mediaJSON); err != nil {
		return err
	}
	if err := r.usage.BeginWork(r.Context(), parsedMemory(body.Bytes())); err != nil {
		return err
	}
	return r.parse(body.Bytes(), v)
}

// parse reads JSON. The caller pays for the time that it takes.
func (r *request) parse(body []byte, v any) error {
	reading, err := r.checkTime.ChargeReading(r.caller, len(body))
	if err != nil {
		return err
	}
	defer reading.Settle()
	return parseJSON(body, v)
}

// readMessage reads a body that is either one MLS object, which it returns as raw, or JSON,
// which it reads into v. An empty body is {}. Objects are parts of the body, which nobody else
// may use after that.
func (r *request) readMessage(v any) (raw []byte, err error) {
	buffer := borrowBuffer()
	err = r.readBody(buffer)
	body := buffer.Bytes()
	if err == nil && len(body) > maxKept && cap(body) > len(body)+spareBytes {
		err = r.usage.HoldMemory(len(body)) // it came without its length
	}
	if err != nil || len(body) == 0 || cap(body) > len(body)+spareBytes {
		body = append([]byte{}, body...)
		returnBuffer(buffer)
	}
	if err != nil {
		return nil, err
	}
	if len(body) == 0 && r.Header.Get("Content-Type") == "" {
		return nil, nil
	}
	is, err := r.mediaType(mediaJSON, mediaMLS)
	switch {
	case err != nil:
		return nil, err
	case is == mediaMLS:
		return body, nil
	case len(body) == 0:
		return nil, nil
	}
	return nil, r.parse(body, v)
}

// spareBytes is by how much the buffer of a body that goes to the store may be larger than the
// body.
const spareBytes = 64

// A deviceJSON names a device in a body.
type deviceJSON struct {
	User   delivery.UserID `json:"user"`
	Device string          `json:"device"`
}

// parseRefs reads refs in a body; nil stays nil.
func parseRefs(texts []string) ([]mls.KeyPackageRef, error) {
	if texts == nil {
		return nil, nil
	}
	refs := make([]mls.KeyPackageRef, len(texts))
	for i, text := range texts {
		ref, err := parseRef(text)
		if err != nil {
			return nil, fmt.Errorf("refs[%d]: %w", i, err)
		}
		refs[i] = ref
	}
	return refs, nil
}

func parseRef(text string) (mls.KeyPackageRef, error) {
	ref, err := mls.ParseKeyPackageRef(text)
	if err != nil {
		return "", fmt.Errorf("%w: %q is not the ref of a KeyPackage", errBadRequest, text)
	}
	return ref, nil
}

func refStrings(refs []mls.KeyPackageRef) []string {
	texts := make([]string, len(refs))
	for i, ref := range refs {
		texts[i] = ref.String()
	}
	return texts
}

package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// An EventType says what an [Event] tells. A newer server may have others.
type EventType string

// What an event tells.
const (
	EventWelcome    EventType = "welcome"     // a Welcome waits for the device
	EventStock      EventType = "stock"       // the device has few KeyPackages left, or none
	EventKeyPackage EventType = "key_package" // a last resort of the device was handed out
	EventOutcome    EventType = "outcome"     // what became of a Welcome of the user's, for one recipient
	EventOpen       EventType = "open"        // a stream has begun: see Gap
)

// An EventGap says why events are missing. Who has kept in step by events alone has to look
// at everything again.
type EventGap string

// Why events are missing.
const (
	GapExpired  EventGap = "expired"  // the client was away for longer than 25 hours
	GapRestored EventGap = "restored" // the server was put back to a backup
	GapDamaged  EventGap = "damaged"  // the server cannot read some of them
)

// An Event is something that has happened on the server.
type Event struct {
	Type EventType `json:"type"`
	// ID is where to go on, with Following.After. It is not to be looked into.
	ID string    `json:"id"`
	At time.Time `json:"at"`
	// User is whose event it is; of EventOutcome that is who has posted.
	User      string          `json:"user"`
	Device    string          `json:"device"` // not of EventOutcome
	Welcome   string          `json:"welcome"`
	Ref       string          `json:"ref"`       // of the KeyPackage
	Recipient *DeviceID       `json:"recipient"` // of EventOutcome
	Status    RecipientStatus `json:"status"`    // of EventOutcome
	Reason    Reason          `json:"reason"`    // of EventOutcome, with RecipientRejected
	Stock     *Stock          `json:"stock"`     // of EventStock, as it was then
	Gap       EventGap        `json:"gap"`       // of EventOpen; empty if nothing is missing
}

// An EventPage answers [Client.PollEvents].
type EventPage struct {
	Events []Event  `json:"events"`
	Next   string   `json:"next"` // where to go on, also if there was no event
	More   bool     `json:"more"` // another page can be read at once
	Gap    EventGap `json:"gap"`
}

// Following says whose events are read, and from where.
type Following struct {
	// User is whose events are read. A service may leave it empty: then those of all users
	// are, and the outcomes of what the service has posted for nobody.
	User string
	// Device narrows them to those of one device, and the outcomes of what its user has
	// posted. A token of a device has to name it.
	Device string
	// After is the ID of the last event that was handled. Empty: from now on.
	After string
}

func (f Following) call() call {
	r := call{method: http.MethodGet, path: path("events"), query: url.Values{}}
	switch {
	case f.Device != "":
		r.path = path("users", f.User, "devices", f.Device, "events")
	case f.User != "":
		r.path = path("users", f.User, "events")
	}
	if f.After != "" {
		r.query.Set("after", f.After)
	}
	return r
}

// PollEvents returns the events that are there now.
func (c *Client) PollEvents(ctx context.Context, f Following) (p EventPage, err error) {
	r := f.call()
	r.query.Set("poll", "1")
	return p, c.do(ctx, r, &p)
}

// Events follows events as they happen. It connects again whenever the stream ends, and goes
// on where it was: each event is told once. Save the ID of what was handled, to go on there
// in another process.
//
// The first one is an EventOpen, whose ID is where the stream begins. If events are missing
// later on, another EventOpen has the Gap.
//
// The sequence ends with an error: the cause of ctx, one that a repeat does not help, or the
// last of [Client.Attempts] in a row that failed. To begin anew after the last ID is safe.
func (c *Client) Events(ctx context.Context, f Following) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		opened := false
		for failures := 0; ; {
			begun := time.Now()
			told, err := c.follow(ctx, &f, func(e Event) bool {
				again := e.Type == EventOpen && opened && e.Gap == ""
				opened = true
				return again || yield(e, nil)
			})
			if err == nil {
				return // the caller wants no more
			}
			if failures++; told || time.Since(begun) > lasting {
				failures = 1
			}
			pause, again := c.reconnects(err, failures)
			if ctx.Err() == nil && again {
				if gone := c.sleep(ctx, pause); gone == nil {
					continue
				}
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			yield(Event{}, err)
			return
		}
	}
}

const (
	// lasting is how long a stream on which nothing happens is open before it counts as one
	// that works.
	lasting = 10 * time.Second
	// streamSilence is how long nothing may come over a stream before it counts as dead.
	// There is a heartbeat every 20 seconds.
	streamSilence = time.Minute
	// displacedFor is how long a stream stays away for which the server has ended another
	// one, as too many of the device were open: they would displace each other in turn.
	displacedFor = 30 * time.Second
	// longestEvent is more than any has.
	longestEvent = 64 << 10
)

// errSilence is why a stream is ended here.
var errSilence = errors.New("nothing has come over the stream for a minute")

// An endError is the last word of a stream.
type endError struct{ reason string }

func (e endError) Error() string { return "the server has ended the stream: " + e.reason }

func wasDisplaced(err error) bool {
	end, ok := errors.AsType[endError](err)
	return ok && end.reason == "displaced"
}

// reconnects returns whether the stream is opened again after an error, and when.
func (c *Client) reconnects(err error, failures int) (after time.Duration, again bool) {
	if wasDisplaced(err) {
		return displacedFor + jitter(displacedFor), true
	}
	return c.repeats(call{}, err, failures)
}

// follow reads one stream, and moves f on as it does. It returns nil if the caller wants no
// more, and whether an event was told.
func (c *Client) follow(ctx context.Context, f *Following, yield func(Event) bool) (told bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(answerTime, func() { cancel(errSilence) })
	defer silent.Stop()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	r := f.call()
	r.header = map[string]string{"Accept": "application/x-ndjson"}
	resp, err := c.openStream(ctx, r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, longestEvent)
	lines.Split(wholeLines)
	for silent.Reset(streamSilence); lines.Scan(); silent.Reset(streamSilence) {
		silent.Stop() // the caller may take its time
		var e Event
		if err := read(r, lines.Bytes(), &e); err != nil {
			return told, err
		}
		if e.ID != "" {
			f.After = e.ID
		}
		switch e.Type {
		case "heartbeat":
			continue
		case "end":
			return told, endError{string(e.Reason)}
		}
		told = told || e.Type != EventOpen
		if !yield(e) {
			return told, nil
		}
	}
	if err := lines.Err(); err != nil {
		return told, fmt.Errorf("%s /v1%s: read the stream: %w", r.method, r.path, err)
	}
	return told, fmt.Errorf("%s /v1%s: the stream has ended", r.method, r.path)
}

// wholeLines is for [bufio.Scanner]. What is left of a line that was cut off is not returned.
func wholeLines(data []byte, _ bool) (advance int, line []byte, err error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	return 0, nil, nil
}

// openStream sends a request whose answer is a stream.
func (c *Client) openStream(ctx context.Context, r call) (*http.Response, error) {
	target, err := c.target(r)
	if err != nil {
		return nil, err
	}
	token, err := c.token(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := c.streamOnce(ctx, r, target, token)
	if CodeOf(err) == CodeInvalidToken && c.renewed(ctx, token) {
		if token, err = c.token(ctx); err == nil {
			resp, err = c.streamOnce(ctx, r, target, token)
		}
	}
	return resp, err
}

func (c *Client) streamOnce(ctx context.Context, r call, target, token string) (*http.Response, error) {
	resp, err := c.send(ctx, r, target, token)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return nil, err
	}
	return nil, newError(r, resp, body)
}

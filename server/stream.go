package server

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"welcomed/delivery"
)

const (
	mediaSSE    = "text/event-stream"
	mediaNDJSON = "application/x-ndjson"
)

// Types of the lines of a stream that tell of no event.
const (
	lineOpen      = "open"      // from where it tells, and whether events are missing
	lineHeartbeat = "heartbeat" // nothing has happened
	lineEnd       = "end"       // and why
)

// A StreamEnd says why a stream has ended.
type StreamEnd string

const (
	StreamLeft      StreamEnd = "client_left"
	StreamStopped   StreamEnd = "shutting_down"
	StreamDisplaced StreamEnd = "displaced"      // by a newer one
	StreamSlow      StreamEnd = "too_slow"       // it was cut off
	StreamRemoved   StreamEnd = "device_removed" // or its user
	StreamRefused   StreamEnd = "refused"        // the client may not have it any more
	StreamFailed    StreamEnd = "failed"         // the store, or the server
)

// StreamEnds are all of them.
var StreamEnds = []StreamEnd{StreamLeft, StreamStopped, StreamDisplaced, StreamSlow, StreamRemoved, StreamRefused, StreamFailed}

// streamsPerOwner is how many streams of all of a user's events, or of a service's, are open
// at a time. One device has as many as it has waiting claims.
const streamsPerOwner = 16

// A stream tells a client of events as they come. It keeps nothing but how far it has told:
// it reads a page behind that, writes it, and waits until the store says that there may be
// more. So nothing is lost or told twice between catching up and going live, and a client
// that reads slowly takes the memory of one page.
type stream struct {
	s       *Server
	r       *request
	w       http.ResponseWriter
	ndjson  bool
	query   delivery.EventQuery // After is how far it has told
	begun   bool                // to answer
	existed bool                // the device
	wrote   time.Time           // when something was written last
	end     StreamEnd           // why it is over; empty: it goes on
	broken  bool                // nothing more can be written
}

// stream answers with a stream of events, until the client leaves, may not have it any
// more, or the server stops.
func (s *Server) stream(w http.ResponseWriter, r *request, q delivery.EventQuery) error {
	st := &stream{s: s, r: r, w: w, ndjson: acceptsNDJSON(r.Header), query: q}
	select {
	case <-s.draining:
		return errStopping
	default:
	}
	// What is refused takes no other stream's place.
	if _, err := s.store.Events(r.Context(), r.caller, q); err != nil {
		return err
	}
	if r.Method == http.MethodHead {
		st.begin()
		return nil
	}
	if err := r.usage.BeginWait(); err != nil {
		return err
	}
	defer r.usage.EndWait()
	wake, stop := s.store.WatchEvents(q.User, q.Device, r.identity.Owner())
	defer stop()
	waiter := s.streams.join(s.streamKey(r, q))
	defer waiter.leave()
	s.open.Add(1)
	defer s.open.Add(-1)

	tell := inGoroutine(st.tell)
	_, next, err := tell(false)
	if err == nil && st.end == "" {
		err = s.keepTrying(r, longRequest{wake: wake, waiter: waiter}, next, tell)
	}
	if !st.begun {
		return err
	}
	st.finish(waiter, err)
	return nil
}

// streamKey returns which streams are alike, and how many of those are open at a time. Those
// of services, and of tokens that may only read, take no place of the user's own.
func (s *Server) streamKey(r *request, q delivery.EventQuery) (waitKey, int) {
	key := waitKey{r.identity.Service, delivery.DeviceID{User: q.User, Name: q.Device}}
	if r.identity.ReadOnly {
		key.reader += readOnlyParty
	}
	if q.Device != "" {
		return key, s.caps.WaitsPerDevice
	}
	return key, streamsPerOwner
}

// tell is an attempt: it tells all that there is, or that nothing has happened.
func (st *stream) tell(over bool) (ended bool, next time.Time, err error) {
	for !over {
		page, err := st.s.store.Events(st.r.Context(), st.r.caller, st.query)
		if err != nil {
			return false, next, err
		}
		if st.existed && !page.Exists {
			st.end = StreamRemoved
			return true, next, nil
		}
		st.existed = page.Exists && st.query.Device != ""
		if st.write(page); st.end != "" {
			return true, next, nil
		}
		if !page.More {
			break
		}
		if err := st.s.stillPermitted(st.r); err != nil {
			return false, next, err
		}
	}
	return over, st.wrote.Add(st.s.times.beat), nil
}

// write writes what a page has. Lines that are no events have an id too, so that a
// client to which nothing happens for long has a cursor that is not older than what is
// kept.
func (st *stream) write(page delivery.EventPage) {
	b := borrowBuffer()
	defer returnBuffer(b)
	if !st.begun || page.Gap != "" {
		st.line(b, eventJSON{Type: lineOpen, ID: cmp.Or(st.query.After, page.Next), Gap: page.Gap})
	}
	for _, e := range page.Events {
		st.line(b, newEvent(e))
	}
	st.query.After = page.Next
	if b.Len() == 0 {
		if st.s.now().Before(st.wrote.Add(st.s.times.beat)) {
			return // it was woken for another device
		}
		st.line(b, eventJSON{Type: lineHeartbeat, ID: page.Next})
	}
	st.send(b.Bytes())
	if st.end == "" {
		st.s.options.EventsSent(len(page.Events))
	}
}

// line adds a line, in the format that the client wants.
func (st *stream) line(b *bytes.Buffer, line eventJSON) {
	if st.ndjson {
		_ = encode(b, line) // strings and numbers encode
		return
	}
	if line.Type == lineHeartbeat {
		fmt.Fprintf(b, ":\nid: %s\n\n", line.ID)
		return
	}
	if line.Type == lineOpen {
		fmt.Fprintf(b, "retry: %d\n", (reconnectAfter + rand.N(reconnectWithin)).Milliseconds())
	}
	fmt.Fprintf(b, "id: %s\nevent: %s\ndata: ", line.ID, line.Type)
	_ = encode(b, line)
	b.WriteByte('\n')
}

// After a restart of the server browsers come back within a while, not all at once.
const (
	reconnectAfter  = time.Second
	reconnectWithin = 4 * time.Second
)

// begin begins the answer.
func (st *stream) begin() {
	if response, ok := st.w.(*response); ok {
		response.streams = time.Now()
	}
	h := st.w.Header()
	h.Set("Content-Type", mediaSSE)
	if st.ndjson {
		h.Set("Content-Type", mediaNDJSON)
	}
	h.Set("X-Accel-Buffering", "no") // nginx keeps answers back without it
	st.w.WriteHeader(http.StatusOK)
	st.begun = true
}

// send sends lines. A client that takes them slowly is cut off: after the time for an answer
// of that size it is told so, if it reads again within a third of that time.
func (st *stream) send(lines []byte) {
	if !st.begun {
		st.begin()
	}
	c, begun, enough := http.NewResponseController(st.w), st.s.now(), st.s.times.writing(len(lines))
	_ = c.SetWriteDeadline(time.Now().Add(enough + enough/3)) // a recorder has none
	_, err := st.w.Write(lines)
	if err == nil {
		err = c.Flush()
	}
	st.wrote = st.s.now()
	took := st.wrote.Sub(begun)
	switch {
	case err != nil && took < enough:
		st.end, st.broken = StreamLeft, true
	case err != nil:
		st.end, st.broken = StreamSlow, true
	case took > enough:
		st.end = StreamSlow
	}
	if !st.broken {
		_ = c.SetWriteDeadline(time.Time{}) // HTTP/2 would end the stream then, also while nothing is written
	}
}

// finish ends a stream, with the reason as its last word if that can be written.
func (st *stream) finish(w *waiter, err error) {
	reason := st.end
	switch {
	case st.end != "":
	case st.r.Context().Err() != nil:
		st.end, st.broken = StreamLeft, true
	case err != nil:
		p := st.s.failed(st.r, err)
		if st.end, reason = StreamFailed, StreamEnd(p.Code); p.Status < 500 {
			st.end = StreamRefused
		}
	default:
		st.end = w.ended()
		reason = st.end
	}
	st.s.options.StreamEnded(st.end)
	if st.broken {
		return
	}
	b := borrowBuffer()
	defer returnBuffer(b)
	st.line(b, eventJSON{Type: lineEnd, ID: st.query.After, Reason: string(reason)})
	st.send(b.Bytes())
}

// ended returns why a stream is over that was not ended by its client.
func (w *waiter) ended() StreamEnd {
	select {
	case <-w.displaced:
		return StreamDisplaced
	default:
		return StreamStopped
	}
}

// acceptsNDJSON reports whether the client wants lines of JSON rather than server-sent
// events.
func acceptsNDJSON(h http.Header) bool {
	quality := accepted(h)
	return quality[mediaNDJSON] > quality[mediaSSE]
}

package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// timeouts bound how long a client can keep the server waiting.
type timeouts struct {
	header time.Duration // to come whole
	body   time.Duration // to come whole
	idle   time.Duration // between two requests of a connection
	write  time.Duration // for an answer to be taken, besides what its size allows
	rate   int           // bytes of an answer that are taken in a second, at least
	poll   time.Duration // a claim waits at most
	quiet  time.Duration // in which no request comes before connections are closed, when the server stops
	grace  time.Duration // for requests under way then
	again  time.Duration // after which a waiting claim is given once more what the device has not settled
	late   time.Duration // that a body may take before the credentials are looked at again
	beat   time.Duration // in which something is sent over a stream
}

// newTimeouts returns times that suit a phone on a slow line. A client that stalls on purpose
// gains little, because its share of memory and connections is bounded. So no setting changes
// them.
func newTimeouts(o Options) timeouts {
	return timeouts{
		header: cmp.Or(o.HeaderRead, 10*time.Second), // it is a packet or two, sent again a few times
		body:   cmp.Or(o.BodyRead, 30*time.Second),   // 4 MiB at a megabit a second
		idle:   cmp.Or(o.Idle, 120*time.Second),      // longer than proxies and libraries keep one, which are to close first
		write:  cmp.Or(o.Write, 30*time.Second),      // until a phone that changes its network is back; see rate, too
		rate:   32 << 10,
		poll:   cmp.Or(o.LongPoll, 50*time.Second),
		quiet:  250 * time.Millisecond,
		grace:  20 * time.Second,
		again:  20 * time.Second,
		late:   time.Second,
		beat:   20 * time.Second, // proxies end what is silent for 30
	}
}

// writing returns how long an answer of size bytes may take.
func (t timeouts) writing(size int) time.Duration {
	return t.write + time.Duration(size)*time.Second/time.Duration(t.rate)
}

// errStoreFailed is what Serve returns when the store has failed. The store's Close returns
// why.
var errStoreFailed = errors.New("the store cannot go on")

// failedGrace is how long running requests may take when the store has failed: some of them may
// never end.
const failedGrace = 2 * time.Second

// Serve answers on both listeners and on the admin socket until ctx is done, which is no error,
// or until the store has failed. Then it takes no new connections, answers waiting claims with
// what they have, answers requests that come over open connections, and lets running requests
// finish. It closes the admin listener last. When it returns, everything is closed. Serve can
// be called once.
func (s *Server) Serve(ctx context.Context, api, admin net.Listener) error {
	apiServer, adminServer := s.httpServer(s.API()), s.httpServer(s.Admin())
	api = s.connections.Listen(api)
	adminServer.ReadTimeout, adminServer.WriteTimeout = s.times.body, s.times.write
	open := newOpenConnections()
	apiServer.ConnState = func(c net.Conn, state http.ConnState) {
		s.connections.Observe(c, state)
		open.note(c, state)
	}
	socketServer := s.httpServer(s.Socket())
	commands, operators := newOpenConnections(), newOpenConnections()
	socketServer.ConnState, adminServer.ConnState = commands.note, operators.note
	ended := make(chan error, 3)
	var serving sync.WaitGroup
	if s.options.Socket != nil {
		serving.Go(func() { ended <- socketServer.Serve(s.options.Socket) })
	}
	serving.Go(func() { ended <- s.serveAPI(apiServer, api) })
	serving.Go(func() { ended <- adminServer.Serve(admin) })

	var err error
	grace := s.times.grace
	select {
	case <-ctx.Done():
	case <-s.store.Failed():
		err, grace = errStoreFailed, min(grace, failedGrace)
	case err = <-ended:
		err = fmt.Errorf("serve: %w", err)
	}
	s.drainConnections(api, open)
	err = errors.Join(err, s.stopAPI(apiServer, open, grace))
	_, socketErr := stop(socketServer, commands, grace)
	err = errors.Join(err, socketErr)
	_, _ = stop(adminServer, operators, time.Second) // nothing is lost when a scrape is cut off
	serving.Wait()
	return err
}

func (s *Server) serveAPI(srv *http.Server, l net.Listener) error {
	if s.options.Certificate == nil {
		return srv.Serve(l)
	}
	srv.TLSConfig = s.options.Certificate.config()
	return srv.ServeTLS(l, "", "")
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           closeChunked(h),
		ReadHeaderTimeout: s.times.header,
		IdleTimeout:       s.times.idle,
		MaxHeaderBytes:    s.caps.HeaderBytes,
		HTTP2:             s.http2(),
		ErrorLog:          newWebLog(s.log),

		DisableGeneralOptionsHandler: true, // OPTIONS * is a request as any other
	}
}

// closeChunked closes the connection with the answer to a chunked request. If the request had a
// Content-Length too, it may try to pass two requests for one, and the connection has to be
// closed (RFC 9112 §6.1). net/http removes that header before a handler sees it, so
// closeChunked treats all chunked requests in this way. They are few, because clients know the
// length of what they send.
func closeChunked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// http2 bounds what a connection of HTTP/2 holds beside its requests: a frame, and the parts of
// bodies that have come and are not read yet.
func (s *Server) http2() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          100,
		MaxReceiveBufferPerConnection: 64 << 10,
		MaxReceiveBufferPerStream:     64 << 10,
		MaxReadFrameSize:              16 << 10,
		WriteByteTimeout:              s.times.write,
	}
}

package server

import (
	"net"
	"net/http"
	"testing"
	"time"
)

// A closedListener was closed by somebody else, and Accept has not noticed yet.
type closedListener struct {
	net.Listener
	accepting, noticed chan struct{}
}

func (l *closedListener) Accept() (net.Conn, error) {
	close(l.accepting)
	<-l.noticed
	return nil, net.ErrClosed
}

func (l *closedListener) Close() error {
	close(l.noticed)
	return net.ErrClosed
}

// TestAListenerThatIsClosedAlreadyCutsNobodyOff: the one of the API is closed
// before its server stops.
func TestAListenerThatIsClosedAlreadyCutsNobodyOff(t *testing.T) {
	l := &closedListener{accepting: make(chan struct{}), noticed: make(chan struct{})}
	srv := &http.Server{}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	<-l.accepting
	if _, err := stop(srv, newOpenConnections(), time.Minute); err != nil {
		t.Error(err)
	}
	<-served
}

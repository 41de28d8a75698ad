package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"
)

// A Server is a process of the program that serves, or is about to.
type Server struct {
	Config
	*Process
	Log *Log

	scheme string
	http   *http.Client
}

// API returns the address of the API, a host:port, and "" until the server serves.
func (s *Server) API() string { return s.Log.served().Listen }

// AdminAddress returns that of the admin listener.
func (s *Server) AdminAddress() string { return s.Log.served().AdminListen }

// URL returns that of the API, without a path.
func (s *Server) URL() string { return s.scheme + "://" + s.API() }

// Client returns a client without a token, whose connections are those of all clients of
// this server.
func (s *Server) Client() *Client { return NewClient(s.http, s.URL()) }

// Serving returns when the server has said where it listens, with an error if it ends
// before, takes more than patience, or ctx is done.
func (s *Server) Serving(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the server does not serve"))
	defer cancel()
	select {
	case <-s.Log.serving:
		return nil
	case <-s.Ended():
		return s.endedItself()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// endedItself is the error of a server that was not asked to end.
func (s *Server) endedItself() error {
	return fmt.Errorf("the server ended by itself: %s", s.Log.Tail())
}

// Ready returns when the server serves and says that it is ready.
func (s *Server) Ready(ctx context.Context) error {
	if err := s.Serving(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the server is not ready"))
	defer cancel()
	for {
		if _, err := get(ctx, "http://"+s.AdminAddress()+"/readyz"); err == nil {
			return nil
		}
		select {
		case <-s.Ended():
			return s.endedItself()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Terminate ends the server as an operator does, with SIGTERM, and returns an error if
// it ends with another code than 0.
func (s *Server) Terminate() error {
	s.http.CloseIdleConnections()
	if err := s.Stop(syscall.SIGTERM); err != nil {
		return fmt.Errorf("SIGTERM: the server ended with %w: %s", err, s.Log.Tail())
	}
	return nil
}

// Kill ends the server in any case. It may have ended before, and s may be nil.
func (s *Server) Kill() {
	if s == nil || s.Process == nil {
		return
	}
	s.http.CloseIdleConnections()
	_ = s.Stop(syscall.SIGKILL)
}

// get returns the body of a good answer.
func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %.200s", url, resp.StatusCode, body)
	}
	return body, err
}

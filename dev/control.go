package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// Control is the path below which a Server is controlled. No other server has it.
const Control = "/dev"

// A Status is how a Server stands. It answers GET of Control, and every control.
type Status struct {
	Time     time.Time `json:"time"`          // by the Server's clock
	Token    string    `json:"service_token"` // of Service
	FullDisk bool      `json:"full_disk"`
	Losing   *Loss     `json:"lose_next_reply"` // null: none is to be lost
	// Exhausted answers only the control of that name.
	Exhausted *Exhausted `json:"exhausted,omitempty"`
}

// A Loss is of the next answer to a request whose path has Path in it.
type Loss struct {
	Path string `json:"path"` // empty: any path
}

// Exhausted says whose KeyPackages were reserved, and how many.
type Exhausted struct {
	User     string `json:"user"`
	Reserved int    `json:"reserved"`
}

func isControl(r *http.Request) bool {
	return r.URL.Path == Control || strings.HasPrefix(r.URL.Path, Control+"/")
}

// errControl: a control was asked for what it cannot do.
var errControl = errors.New("bad request")

// controls are what a Server can be told, all over HTTP.
func (s *Server) controls() http.Handler {
	mux := http.NewServeMux()
	add := func(pattern string, do func(*http.Request, *Status) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			var status Status
			if err := do(r, &status); errors.Is(err, errControl) {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			s.describe(&status)
			_ = json.NewEncoder(w).Encode(status) // that nobody reads it is no error
		})
	}
	add("GET "+Control, func(*http.Request, *Status) error { return nil })
	add("POST "+Control+"/clock", func(r *http.Request, _ *Status) error {
		return s.advance(r.Context(), r.FormValue("seconds"))
	})
	add("POST "+Control+"/lose-next-reply", func(r *http.Request, _ *Status) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lose = &Loss{Path: r.FormValue("path")}
		return nil
	})
	add("POST "+Control+"/exhaust", func(r *http.Request, status *Status) (err error) {
		status.Exhausted, err = s.exhaust(r.Context(), delivery.UserID(r.FormValue("user")))
		return err
	})
	add("POST "+Control+"/full-disk", func(r *http.Request, _ *Status) error {
		return s.fill(r.FormValue("is"))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store") // of what has a token
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Vary", "Origin")
		if origin := r.Header.Get("Origin"); origin != "" {
			h.Set("Access-Control-Allow-Origin", origin) // one of this machine
		}
		mux.ServeHTTP(w, r)
	})
}

// describe says how the Server stands.
func (s *Server) describe(status *Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Time, status.Token, status.FullDisk, status.Losing = s.clock.Now().UTC().Truncate(time.Millisecond), s.token, s.full, s.lose
}

// advance has the clock be ahead by as much, and ends what has had its time by then.
func (s *Server) advance(ctx context.Context, seconds string) error {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if most := int64(mostAhead / time.Second); err != nil || n < 1 || n > most {
		return fmt.Errorf("%w: seconds=%s is not a whole number from 1 to %d", errControl, seconds, most)
	}
	if !s.clock.advance(time.Duration(n) * time.Second) {
		return fmt.Errorf("%w: the clock would be more than 100 years ahead; it is at %s, and begins anew with the server",
			errControl, s.clock.Now().UTC().Format(time.RFC3339))
	}
	return s.sweep(ctx)
}

// fill has the store be full, or no more.
func (s *Server) fill(is string) error {
	if is != "on" && is != "off" {
		return fmt.Errorf("%w: is=%s is neither on nor off", errControl, is)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = is == "on"
	s.memory.SetFull(s.full)
	return nil
}

// exhaust reserves all KeyPackages that are on the shelves of a user's devices, as
// somebody else would, but for last resorts. The user has to have a device: whose name is
// misspelled in a test would otherwise be exhausted without a word.
func (s *Server) exhaust(ctx context.Context, user delivery.UserID) (*Exhausted, error) {
	if err := delivery.ValidIdentifier(string(user)); err != nil {
		return nil, fmt.Errorf("%w: user: %w", errControl, err)
	}
	caller := delivery.Caller{Service: "dev"}
	if devices, err := s.store.Devices(ctx, caller, user); err != nil {
		return nil, err
	} else if len(devices) == 0 {
		return nil, fmt.Errorf("%w: user=%s has no device here", errControl, user)
	}
	listing, err := s.store.List(ctx, caller, user, delivery.ListOptions{})
	if err != nil {
		return nil, err
	}
	done := &Exhausted{User: string(user)}
	for _, device := range listing.Devices {
		for _, kp := range device.KeyPackages {
			if kp.LastResort {
				continue
			}
			reserved, err := s.store.Reserve(ctx, caller, delivery.ReserveRequest{
				Devices: []delivery.DeviceID{{User: user, Name: device.Device}}, Suites: []mls.CipherSuite{kp.Suite},
			})
			if err != nil {
				return nil, err
			}
			if reserved.Suite != 0 {
				done.Reserved++
			}
		}
	}
	return done, nil
}

// loses reports whether the answer to a request is to be lost, which is so once.
func (s *Server) loses(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lose == nil || r.Method == http.MethodOptions || !strings.Contains(r.URL.Path, s.lose.Path) {
		return false
	}
	s.lose = nil
	return true
}

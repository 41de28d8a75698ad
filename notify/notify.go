// Package notify sends a short message to a back end when there is something for a device
// to fetch, so that the back end can wake it.
//
// It promises that a receiver can tell who has sent a message, that a message says only
// that there is something and never what, and that nothing is sent to an address to which
// the operator has not agreed. A message may come more than once, and not at all when its
// receiver stays away for days: it is a hint, and a device that asks by itself needs none.
// The package refuses to know where messages wait.
package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// ErrGone: the receiver wants no more messages (status 410).
var ErrGone = errors.New("the receiver wants no more messages")

// A Refused says that a receiver has answered otherwise than with a status of 200 to 299.
type Refused struct {
	Status int
	// RetryAfter is for how long the receiver wants nothing; zero if it has not said.
	RetryAfter time.Duration
}

// Error implements error.
func (r *Refused) Error() string {
	text := fmt.Sprintf("the receiver answered %d", r.Status)
	if name := http.StatusText(r.Status); name != "" {
		text += " " + name
	}
	if r.Status >= 300 && r.Status < 400 {
		text += ", and redirects are not followed"
	}
	return text
}

// Is has a Refused with status 410 match ErrGone.
func (r *Refused) Is(target error) bool {
	return target == ErrGone && r.Status == http.StatusGone
}

// Options say how receivers are reached. The zero value is usable.
type Options struct {
	// Allow are receivers at addresses that are not public.
	Allow Allow
	// Limit is how long an attempt may take, from the look-up of the name to the
	// answer; 0: AttemptLimit.
	Limit time.Duration
	// UserAgent says who sends.
	UserAgent string
}

// AttemptLimit is how long an attempt may take unless Options say otherwise.
const AttemptLimit = 15 * time.Second

const (
	// largestAnswer is how much of an answer is read, so that its connection can be used
	// again: nothing in it matters.
	largestAnswer = 4 << 10
	// idleConnections are kept open for the next message.
	idleConnections = 16
)

// A Client sends requests to receivers. Many may use it at a time.
type Client struct {
	http  http.Client
	limit time.Duration
	agent string
	allow Allow
}

// NewClient returns a client. It uses no proxy: a proxy would choose the address, and the
// rules about addresses would be those of the proxy.
func NewClient(o Options) *Client {
	if o.Limit == 0 {
		o.Limit = AttemptLimit
	}
	return &Client{
		limit: o.Limit,
		agent: o.UserAgent,
		allow: o.Allow,
		http: http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				DialContext:            o.Allow.dial,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true,
				MaxIdleConnsPerHost:    idleConnections,
				MaxIdleConns:           4 * idleConnections,
				IdleConnTimeout:        time.Minute,
				MaxResponseHeaderBytes: 16 << 10,
			},
		},
	}
}

// Close closes the connections that nobody uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Do sends a request and returns the answer if its status is 200 to 299; its body has
// been read and closed. Another answer is a *Refused. A request to an address that is
// not allowed is ErrNotAllowed.
func (c *Client) Do(req *http.Request) (*http.Response, error) {
	if err := c.allow.url(req.URL); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(req.Context(), c.limit)
	defer cancel()
	req = req.WithContext(ctx)
	if c.agent != "" {
		req.Header.Set("User-Agent", c.agent)
	}
	// A message is the same however often it comes: a connection that was kept, and that the
	// receiver has closed meanwhile, costs no attempt. An empty list is not sent.
	req.Header["Idempotency-Key"] = []string{}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.reason(ctx, err)
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, largestAnswer)) // the status was all that matters
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &Refused{resp.StatusCode, retryAfter(resp.Header, time.Now())}
	}
	return resp, nil
}

// reason leaves the URL out of an error: who knows it may be able to send there.
func (c *Client) reason(ctx context.Context, err error) error {
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("no answer within %s: %w", c.limit, context.DeadlineExceeded)
	}
	return err
}

// retryAfter reads the header, which has seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second // of the range, the largest
	}
	if at, err := http.ParseTime(text); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

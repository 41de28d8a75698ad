package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Client asks one server for one caller. Set its fields before the first use; then any
// number of goroutines may use it.
type Client struct {
	// URL is where the server is, without /v1, for example "https://mls.example.org".
	URL string
	// HTTP sends the requests; nil: http.DefaultClient. If it has a Timeout, that has to be
	// longer than a claim waits.
	HTTP *http.Client
	// Token returns the bearer token; nil: none is sent. It is called for every request, so
	// it may return another token when one expires. When the server calls a token invalid,
	// it is called once more, and the request is repeated if it returns another one.
	Token func(context.Context) (string, error)
	// OnBehalfOf is the "user" or the "user/device" for whom a service acts; empty: the
	// caller acts for itself.
	OnBehalfOf string
	// Attempts is how often a request is sent at most; 0: five times, 1: it is never
	// repeated.
	Attempts int
	// MaxDelay is the longest Retry-After for which a repeat is waited for. If the server
	// asks for more, the [*Error] is returned, with RetryAfter. 0: 30 seconds.
	MaxDelay time.Duration

	pause func(context.Context, time.Duration) error // nil: sleep
}

// StaticToken is a [Client.Token] that is always the same.
func StaticToken(token string) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return token, nil }
}

// For returns a client of the same service that acts on behalf of a "user" or a
// "user/device". It then has the budgets of this user, and what it reserves and posts
// belongs to this user.
func (c *Client) For(behalf string) *Client {
	other := *c
	other.OnBehalfOf = behalf
	return &other
}

// A call is one request of the API.
type call struct {
	method string
	path   string // behind /v1, escaped
	query  url.Values
	header map[string]string
	media  string
	body   []byte
	wait   time.Duration // how long the server may take besides the usual
	// unsafe: if the server has done it already, a repeat does it a second time.
	unsafe bool
}

const (
	mediaJSON = "application/json"
	// answerTime is how long an answer may take, besides what is asked to wait: a poor line
	// carries the largest one within a minute.
	answerTime = time.Minute
	// answerBytes is more than any answer has.
	answerBytes = 256 << 20
)

// withJSON returns the call with v as its body.
func (r call) withJSON(v any) call {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("a body that is no JSON: %v", err)) // strings, numbers and bytes encode
	}
	r.media, r.body = mediaJSON, b
	return r
}

// do sends a request, as often as is of use, and reads the answer: into answer, which is
// nil, a *[]byte or what JSON is read into.
func (c *Client) do(ctx context.Context, r call, answer any) error {
	target, err := c.target(r)
	if err != nil {
		return err
	}
	refused := "" // a token
	for attempt := 1; ; attempt++ {
		token, err := c.token(ctx)
		if err != nil {
			return err
		}
		err = c.once(ctx, r, target, token, answer)
		if e, ok := errors.AsType[*Error](err); ok {
			e.Attempts = attempt
			if e.Code == CodeInvalidToken && refused == "" && attempt < c.attempts() {
				if refused = token; c.renewed(ctx, token) {
					continue
				}
			}
		}
		delay, again := c.repeats(r, err, attempt)
		if err == nil || !again || ctx.Err() != nil {
			return err
		}
		if gone := c.sleep(ctx, delay); gone != nil {
			return fmt.Errorf("%w, after %w", gone, err)
		}
	}
}

func (c *Client) token(ctx context.Context) (string, error) {
	if c.Token == nil {
		return "", nil
	}
	token, err := c.Token(ctx)
	if err != nil {
		err = fmt.Errorf("get a token: %w", err)
	}
	return token, err
}

// renewed reports whether there is another token than one that was refused.
func (c *Client) renewed(ctx context.Context, refused string) bool {
	token, err := c.token(ctx)
	return err == nil && token != refused
}

// target returns the URL of a request.
func (c *Client) target(r call) (string, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return "", fmt.Errorf("the server's URL is %q, want one like https://mls.example.org", c.URL)
	}
	target := strings.TrimRight(c.URL, "/") + "/v1" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	return target, nil
}

// once sends a request once.
func (c *Client) once(ctx context.Context, r call, target, token string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime+r.wait)
	defer cancel()
	resp, err := c.send(ctx, r, target, token)
	if err != nil {
		return err // it names method and URL
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerBytes))
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", r.method, target, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return newError(r, resp, body)
	}
	return read(r, body, answer)
}

// send returns the answer to a request, whose body is not read yet.
func (c *Client) send(ctx context.Context, r call, target, token string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, target, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	if r.media != "" {
		req.Header.Set("Content-Type", r.media)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if c.OnBehalfOf != "" {
		req.Header.Set("On-Behalf-Of", c.OnBehalfOf)
	}
	return c.http().Do(req)
}

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

// unmarshal reads an answer. Tests replace it by one that refuses unknown fields.
var unmarshal = json.Unmarshal

// An answerError is that an answer is not of this API. To ask again does not help.
type answerError struct{ error }

func (e answerError) Unwrap() error { return e.error }

func read(r call, body []byte, answer any) error {
	switch answer := answer.(type) {
	case nil:
		return nil
	case *[]byte:
		*answer = body
		return nil
	}
	if err := unmarshal(body, answer); err != nil {
		return answerError{fmt.Errorf("%s /v1%s: this is no answer of welcomed: %w: %.200q", r.method, r.path, err, body)}
	}
	return nil
}

// path joins segments of a path, which are escaped: an id may have any printable character.
func path(segments ...string) string {
	var b strings.Builder
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

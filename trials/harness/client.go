package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"welcomed/client"
)

// Media types of what is sent.
const (
	MediaJSON = "application/json"
	MediaMLS  = "message/mls"
)

// A Client asks one server for one caller. Its methods are those of the Go client, which
// sends each request once here. Ask and Do send what that client never would, and have the
// answer as it is. Any number of goroutines may use it.
type Client struct{ client.Client }

// NewClient returns a client without a token.
func NewClient(h *http.Client, url string) *Client {
	return &Client{client.Client{HTTP: h, URL: url, Attempts: 1}}
}

// As returns a client of the same server with another token.
func (c *Client) As(token string) *Client {
	other := NewClient(c.HTTP, c.URL)
	other.Token = client.StaticToken(token)
	return other
}

// For returns a client of the same service that asks on behalf of a user or a device.
func (c *Client) For(behalf string) *Client { return &Client{*c.Client.For(behalf)} }

// An Answer is a whole one, of any status.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Good reports whether the request succeeded.
func (a Answer) Good() bool { return a.Status >= 200 && a.Status < 300 }

// A Problem is what a refusal says.
type Problem struct{ Code, Detail string }

// Problem returns what an answer that is not good says; Code is empty if it says nothing.
func (a Answer) Problem() (p Problem) {
	_ = json.Unmarshal(a.Body, &p)
	return p
}

// RetryAfter returns how long the server asks to wait, and 0 if it does not.
func (a Answer) RetryAfter() time.Duration {
	seconds, _ := strconv.Atoi(a.Header.Get("Retry-After"))
	return time.Duration(seconds) * time.Second
}

// Refusal makes an error of an answer that is not the one that was wanted.
func (a Answer) Refusal(method, path string) *client.Error {
	p := a.Problem()
	if p.Code == "" {
		p.Detail = fmt.Sprintf("%.300s", a.Body)
	}
	return &client.Error{Method: method, Path: path, Status: a.Status, Code: client.Code(p.Code), Detail: p.Detail}
}

// Ask sends a request that may be answered in any way. A body of bytes is an MLS object,
// one of json.RawMessage is JSON as it is, any other value but nil is made JSON. Headers
// are names and values in turn.
func (c *Client) Ask(ctx context.Context, method, path string, body any, headers ...string) (a Answer, err error) {
	media, content, err := encode(body)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(content))
	if err != nil {
		return a, err
	}
	for name, value := range map[string]string{"Content-Type": media, "On-Behalf-Of": c.OnBehalfOf} {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if c.Token != nil {
		token, err := c.Token(ctx)
		if err != nil {
			return a, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	if a.Body, err = io.ReadAll(resp.Body); err != nil {
		err = fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return a, err
}

func encode(body any) (media string, content []byte, err error) {
	switch body := body.(type) {
	case nil:
		return "", nil, nil
	case []byte:
		return MediaMLS, body, nil
	case json.RawMessage:
		return MediaJSON, body, nil
	}
	content, err = json.Marshal(body)
	return MediaJSON, content, err
}

// Do sends a request that has to succeed, and reads the JSON of its answer into answer
// unless that is nil. If it does not succeed, the error is a *client.Error.
func (c *Client) Do(ctx context.Context, method, path string, body, answer any, headers ...string) error {
	a, err := c.Ask(ctx, method, path, body, headers...)
	switch {
	case err != nil:
		return err
	case !a.Good():
		return a.Refusal(method, path)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(a.Body, answer); err != nil {
		return fmt.Errorf("%s %s: the answer is no JSON: %w: %.300s", method, path, err, a.Body)
	}
	return nil
}

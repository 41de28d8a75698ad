package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An Error is an answer by which the server says no. Find it with errors.AsType or
// errors.As, or ask [CodeOf].
type Error struct {
	Method, Path string        // of the request, the path without /v1
	Status       int           // of HTTP
	Code         Code          // empty if it does not come from the server, but from a proxy, say
	Title        string        // the status in words
	Detail       string        // what is wrong, and what to do about it; for a developer
	RequestID    string        // by which the operator finds the request
	RetryAfter   time.Duration // after which a repeat may succeed; 0: the server names no time
	Attempts     int           // how often the request was sent

	Invalid    []InvalidKeyPackage // of a publication: what is wrong with which KeyPackage
	Room       int                 // with CodeStockFull: how many KeyPackages would fit
	Recipients []Recipient         // with CodeNoMatchingKeyPackage: why for each
}

// An InvalidKeyPackage says what is wrong with one KeyPackage of a publication.
type InvalidKeyPackage struct {
	Index  int    `json:"index"` // in the publication
	Ref    string `json:"ref"`   // empty if it cannot be read
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Error implements error.
func (e *Error) Error() string {
	what := e.Detail
	if e.Code != "" {
		what = string(e.Code) + ": " + e.Detail
	}
	return fmt.Sprintf("%s /v1%s: %d %s", e.Method, e.Path, e.Status, what)
}

// CodeOf returns the code with which the server has refused something, or "" if err is
// another kind of error or none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}

// A problem is the body of a refusal (RFC 9457).
type problem struct {
	Type       string              `json:"type"`
	Title      string              `json:"title"`
	Status     int                 `json:"status"`
	Code       Code                `json:"code"`
	Detail     string              `json:"detail"`
	RequestID  string              `json:"request_id"`
	Invalid    []InvalidKeyPackage `json:"invalid"`
	Room       int                 `json:"room"`
	Recipients []Recipient         `json:"recipients"`
}

// newError reads a refusal. What a proxy says of its own is taken as it is.
func newError(r call, resp *http.Response, body []byte) *Error {
	e := &Error{
		Method: r.method, Path: r.path, Status: resp.StatusCode,
		Title: http.StatusText(resp.StatusCode), RequestID: resp.Header.Get("Request-Id"),
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	var p problem
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/problem+json") && unmarshal(body, &p) == nil {
		e.Code, e.Title, e.Detail = p.Code, p.Title, p.Detail
		e.Invalid, e.Room, e.Recipients = p.Invalid, p.Room, p.Recipients
		return e
	}
	e.Detail = fmt.Sprintf("%.200q", body)
	return e
}

//go:build !race && !fuzz

package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"

	"welcomed/server/openapi"
)

// ordinary are headers that the description leaves to HTTP and to browsers, or says once
// for all answers.
var ordinary = []string{"Accept", "Accept-Encoding", "Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type",
	"Date", "Host", "Origin", "Range", "User-Agent", "Vary", "Forwarded", "Via", "X-Real-Ip", "Cache-Control", "X-Content-Type-Options"}

func isOrdinary(header string) bool {
	return slices.Contains(ordinary, header) || strings.HasPrefix(header, "Access-Control-") || strings.HasPrefix(header, "X-Forwarded-")
}

// conforming compares requests and answers with the description. It fails for a field or
// header that is not described, although clients are told to ignore such ones.
var conforming = sync.OnceValue(func() validator.Validator {
	document, err := libopenapi.NewDocument(openapi.JSON())
	if err != nil {
		panic(err)
	}
	v, errs := validator.NewValidator(document, config.WithoutSecurityValidation(), config.WithFormatAssertions(),
		config.WithStrictMode(), config.WithStrictIgnoredHeaders(ordinary...))
	if errs != nil {
		panic(errs)
	}
	return v
})

// conforms fails unless a request that was served, and every answer, is as described. A
// store that is made up for a test may refuse what none does: then contrived is true, and
// only the refusals that are described are looked at.
func (r reply) conforms(req *http.Request, body []byte, contrived bool) {
	r.t.Helper()
	method := strings.Replace(req.Method, http.MethodHead, http.MethodGet, 1)
	route, o := operationOf(method, req.URL.EscapedPath())
	if o == nil {
		return // there is no such path or method
	}
	response := resolved(o.at("responses").(map[string]any)[strconv.Itoa(r.status)])
	codes := texts(response["x-codes"])
	if contrived && !slices.Contains(codes, r.code()) {
		return
	}
	switch {
	case response == nil:
		r.t.Errorf("%s: %s is not described with %d: %.500s", r.what, route, r.status, r.body)
	case req.Method == http.MethodHead:
	default:
		if codes != nil && !slices.Contains(codes, r.code()) {
			r.t.Errorf("%s: %d has the code %s, and described are %v", r.what, r.status, r.code(), codes)
		}
		r.requestConforms(req, body, o)
		r.answerConforms(req, response)
	}
}

func (r reply) requestConforms(req *http.Request, body []byte, o object) {
	r.t.Helper()
	if r.status >= 400 {
		return
	}
	asked := req.Clone(req.Context())
	asked.Body = io.NopCloser(bytes.NewReader(body))
	if o.text("x-caller") == "anyone" {
		asked.Header.Del("On-Behalf-Of") // it is not read
	}
	for name := range asked.Header {
		if isOrdinary(name) && !slices.Contains([]string{"Content-Type", "Accept"}, name) {
			asked.Header.Del(name)
		}
	}
	if ok, errs := conforming().ValidateHttpRequest(asked); !ok {
		for _, err := range errs {
			r.t.Errorf("%s: the request is not as described: %v", r.what, err)
		}
	}
}

func (r reply) answerConforms(req *http.Request, response object) {
	r.t.Helper()
	headers, _ := response["headers"].(map[string]any)
	described := make(map[string]bool)
	for name := range headers {
		described[http.CanonicalHeaderKey(name)] = true
	}
	for name := range r.header {
		if !described[name] && !isOrdinary(name) {
			r.t.Errorf("%s: %d has the header %s, which is not described", r.what, r.status, name)
		}
	}
	media, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	content, _ := response["content"].(map[string]any)
	if _, ok := content[media]; len(r.body) > 0 && !ok {
		r.t.Errorf("%s: %d is %s, which is not described", r.what, r.status, media)
	}
	header := r.header.Clone()
	for name := range header {
		if isOrdinary(name) && name != "Content-Type" && !described[name] {
			header.Del(name)
		}
	}
	answer := &http.Response{StatusCode: r.status, Header: header, Body: io.NopCloser(bytes.NewReader(r.body)), Request: req}
	if ok, errs := conforming().ValidateHttpResponse(req, answer); !ok {
		for _, err := range errs {
			r.t.Errorf("%s: the answer %d is not as described: %v", r.what, r.status, err)
		}
	}
}

// code is that of a problem; empty for another answer.
func (r reply) code() string {
	var p struct{ Code string }
	if r.status >= 400 {
		_ = json.Unmarshal(r.body, &p)
	}
	return p.Code
}

// operationOf finds the operation for a path as it was sent.
func operationOf(method, path string) (route string, o object) {
	sent, best := strings.Split(path, "/"), -1
	for pattern, item := range described["paths"].(map[string]any) {
		segments, exact := strings.Split(pattern, "/"), 0
		if len(segments) != len(sent) {
			continue
		}
		for i, segment := range segments {
			if segment == sent[i] {
				exact++
			} else if !strings.HasPrefix(segment, "{") || sent[i] == "" {
				exact = -len(segments)
			}
		}
		operation, ok := item.(map[string]any)[strings.ToLower(method)].(map[string]any)
		if ok && exact > best {
			route, o, best = fmt.Sprint(method, " ", pattern), operation, exact
		}
	}
	return route, o
}

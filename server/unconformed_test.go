//go:build race || fuzz

package server_test

import "net/http"

// conforms looks at nothing: go test without -race compares every answer. The validator's
// packages take minutes to be built for the race detector or for fuzzing.
func (r reply) conforms(*http.Request, []byte, bool) {}

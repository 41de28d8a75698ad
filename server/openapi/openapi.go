// Package openapi is the description of the HTTP API, in the terms of OpenAPI 3.1. It is
// written by hand in openapi.yaml, and openapi.json is made of that. It knows nothing of the
// server; the tests of package server compare the two.
package openapi

import _ "embed"

//go:generate go test . -run TestGenerated -args -update
//go:generate go test . -run TestReference -args -update

var (
	//go:embed openapi.yaml
	inYAML []byte
	//go:embed openapi.json
	inJSON []byte
)

// YAML returns the description as it was written. It must not be changed.
func YAML() []byte { return inYAML }

// JSON returns the description. It must not be changed.
func JSON() []byte { return inJSON }

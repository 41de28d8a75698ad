// Package server is the HTTP API of welcomed. It also has the admin listener for operators, and
// the admin socket for their commands.
//
// It promises that a handler decides nothing that a [delivery.Store] decides. A handler reads a
// request, asks the store one thing, and writes the answer. One table maps errors to statuses
// and stable codes (problem.go). Another table has a line for each path (route.go), with who
// may use it (auth.go). Package admission bounds what clients take, at one time and over time.
// A server that is told to stop finishes the requests that it has begun.
//
// It does not know how things are stored, how they are counted, or how credentials are checked.
package server

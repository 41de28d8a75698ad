// Package server is the HTTP API of welcomed, and beside it the listener for
// those who run it and the socket for their commands.
//
// It promises that a handler decides nothing a [delivery.Store] decides: it
// reads a request, asks the store one thing and writes the answer down. What
// can go wrong becomes a status and a stable code in one table (problem.go),
// every path is a line of another (route.go), and with it who may use it
// (auth.go). What clients take is bounded, at the same time and as time goes by
// (package admission). A server that is told to stop finishes what it has begun.
//
// It refuses to know how things are stored, how they are counted, and how
// credentials are checked.
package server

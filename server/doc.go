// Package server is the HTTP API of welcomed, and the listener beside it for
// those who run it.
//
// It promises that a handler decides nothing a [delivery.Store] decides: it
// reads a request, asks the store one thing and writes the answer down. What
// can go wrong becomes a status and a stable code in one table (problem.go),
// every path is a line of another (route.go). Bodies, answers and waiting are
// bounded, and a server that is told to stop finishes what it has begun.
//
// It refuses to know how things are stored and how they are counted.
package server

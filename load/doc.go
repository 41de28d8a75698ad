// Package load makes MLS objects and drives a running server with them over
// HTTP, to measure the server.
//
// It promises that the clock sees the server and not this package: objects are
// signed and requests encoded before it starts, every caller has a connection of
// its own that is open by then, and an answer is checked by comparing bytes. It
// promises exact percentiles, and that a measurement is only as good as its
// answers: every Welcome that was posted comes back once, byte for byte, or the
// measurement fails.
//
// It refuses to know how the server does it. It imports neither the server nor a
// store; what it knows of them is what GET /v1 says and what the API promises.
package load

// Package cli is the command line of welcomed: it reads flags and the
// environment, puts the parts together and takes them apart again in order.
//
// It promises that every flag --x-y is also WELCOMED_X_Y, that what goes wrong
// is one sentence on stderr and a non-zero exit code, and that a server that is
// told to stop loses nothing. It refuses to know how an event is decided or
// answered.
package cli

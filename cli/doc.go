// Package cli is the command line of welcomed. It reads flags and the environment, puts the
// parts of the server together, and takes them apart again in order.
//
// It promises that every flag --x-y is also the variable WELCOMED_X_Y, that an error is one
// sentence on stderr with a non-zero exit code, and that a server that is told to stop loses
// nothing. It does not know how an event is decided or answered.
package cli

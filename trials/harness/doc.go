// Package harness starts the built program, speaks to it and stops it, for all that
// tries or measures it. It has the one way to start a server, the one client, and the one
// shell for the programs of the folders beside it.
//
// It knows the program by its command line, its log and its API alone. Of the product it
// imports the Go client only: what a trial finds is not found with the code that it tries.
package harness

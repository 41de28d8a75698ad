// Package disk breaks disks, to see what becomes of a store on them.
//
// A [Disk] is a file system in memory that another process serves through FUSE,
// so that what it does to a program are real answers to real system calls: an
// error at any write, sync, truncation or allocation of a run, once or from then
// on, half a write, no space, no disk. It keeps a journal of what the program
// did. A [Platter] plays the journal back and says what a power cut would have
// left at any moment: of what was not synced, any part, down to sectors.
//
// The tests run a fixed workload, count its operations, and run it again with
// each fault at each of them. What the store acknowledged has to be there when it
// is opened again, what it refused must have left nothing, and what it was not
// sure of is there as a whole or not at all. They do it with the store in the
// process and, with fewer faults, with the program. Without FUSE they are
// skipped.
package disk

// Package bolt keeps rows in one bbolt file. It is an engine of package store, which decides
// every event and defines the rows. No other package imports bbolt. This comment describes the
// file. Version 5 of its format has version 5 of the rows. Opening a file of version 3 or 4
// keeps a copy of it, and brings it to version 5.
//
// Payloads are written once, in the order of their arrival. States are small rows that are
// scattered over the file. A transaction appends the state rows that it changes to a log. They
// are also kept in memory, above the rows bucket. When the log has grown, they are merged into
// the bucket in the order of their keys, many rows to a page. Opening a file reads the log.
//
// Events that wait at the same time share a commit. An answer is given when the last commit
// that it has seen is on the disk.
//
// The buckets:
//
//	meta          rows of the kind meta, and two of the file's own:
//	              "state" → sequence, first piece of the log that is not merged, latest time
//	              seen, and the totals; versions 3 and 4 have fewer of those;
//	              "commit" → number of the last transaction(8), and of the piece after
//	              the last one of the log(8); versions 3 and 4 have none
//	log           slot(4) → number of the piece(8), bytes: changed rows, each its key
//	              with the length in front and its value with the length + 1 in
//	              front, 0 for a row that is gone; slots are used again
//	key_packages  rows of that kind
//	welcomes      rows of that kind
//	rows          rows of all other kinds, each behind the code of its kind
//
// Beside the database lies a file whose name ends in .revoked. It has what was revoked and
// removed: see revoked.go. When a backup is put in the place of the database, this file is
// newer, and opening the database carries out what it says.
package bolt

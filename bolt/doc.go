// Package bolt keeps rows in one bbolt file. It is an engine of package store, which decides
// every event and says what the rows are, and the only importer of bbolt. This comment is
// the file; version 5 of its format is version 5 of the rows. A file of version 3 or 4 is
// brought to it when it is opened, after a copy was kept.
//
// Payloads are written once, in the order of their arrival. States live in small rows that
// are scattered over the file: what changes in them is appended to a log in the same
// transaction, is kept in memory above the rows bucket, and is merged into it in the order
// of the keys, many rows to a page, when the log has grown. Opening a file reads the log.
//
// Events that wait at the same time share a commit. An answer is given after the commit
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
// Beside the file lies another one, with .revoked behind its name, that says what was
// revoked and removed: see revoked.go. It is newer than a backup that is put in the place
// of the file, and opening carries it out.
package bolt

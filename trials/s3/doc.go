// Package s3 tests backups to an S3 server with a real one, versitygw, and the
// real binary: make s3-test.
package s3

package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

const (
	// partSize is how much of an upload is in memory: parts are sent one after the
	// other, each with a checksum that the server compares.
	partSize = 8 << 20
	// silence is how long a server may take nothing, or say nothing to a request,
	// before it is given up.
	silence = time.Minute
	// attempts are made for each request; the schedule has its own.
	attempts = 3
	// abandonedAfter is when parts of an upload are removed that nobody completed.
	abandonedAfter = 24 * time.Hour

	amazon = "https://s3.amazonaws.com"
	// defaultRegion is what servers other than Amazon's expect.
	defaultRegion = "us-east-1"
	sumKey        = "Sha256"
)

// S3Options say how a server is asked.
type S3Options struct {
	Endpoint             string // URL; empty: Amazon's
	Region               string // empty: us-east-1
	AccessKey, SecretKey string
	SessionToken         string
}

// A Bucket is the part of a bucket behind a prefix.
type Bucket struct {
	client         *minio.Client
	endpoint       string
	bucket, prefix string // the prefix is empty or ends with a slash
}

// scheme is how the address of a bucket begins.
const scheme = "s3://"

// IsBucket reports whether place is an address of a bucket.
func IsBucket(place string) bool { return strings.HasPrefix(place, scheme) }

// OpenBucket returns the place with the address s3://BUCKET/PREFIX. It asks the
// server nothing.
func OpenBucket(address string, o S3Options) (*Bucket, error) {
	rest, ok := strings.CutPrefix(address, scheme)
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return nil, fmt.Errorf("%s is not an address like s3://BUCKET/PREFIX", address)
	}
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	if o.Endpoint == "" {
		o.Endpoint = amazon
	}
	host, secure, err := parseEndpoint(o.Endpoint)
	if err != nil {
		return nil, err
	}
	if o.Region == "" {
		o.Region = defaultRegion
	}
	client, err := minio.New(host, &minio.Options{
		Creds:        credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken),
		Secure:       secure,
		Region:       o.Region,
		BucketLookup: minio.BucketLookupAuto, // in the host name for Amazon and the few that are like it, in the path for all others
		Transport:    transport(),
		MaxRetries:   attempts,
	})
	if err != nil {
		return nil, err
	}
	return &Bucket{client, o.Endpoint, bucket, prefix}, nil
}

func parseEndpoint(endpoint string) (host string, secure bool, err error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return "", false, fmt.Errorf("%q is not the address of a server like https://s3.example.com", endpoint)
	}
	return u.Host, u.Scheme == "https", nil
}

// transport gives up a server that takes nothing any more.
func transport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = silence
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{Timeout: 30 * time.Second}).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return impatient{conn}, nil
	}
	return t
}

// An impatient connection breaks when nothing can be written for too long.
type impatient struct{ net.Conn }

func (c impatient) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (b *Bucket) String() string { return scheme + b.bucket + "/" + strings.TrimSuffix(b.prefix, "/") }

// List implements Place.
func (b *Bucket) List(ctx context.Context) ([]Backup, error) {
	ctx, stop := context.WithCancel(ctx) // of a listing that is given up
	defer stop()
	var all []Backup
	for o := range b.client.ListObjects(ctx, b.bucket, minio.ListObjectsOptions{Prefix: b.prefix + namePrefix}) {
		if o.Err != nil {
			return nil, b.explain("list", o.Err)
		}
		name := strings.TrimPrefix(o.Key, b.prefix)
		if at, ours := parseName(name); ours {
			all = append(all, Backup{name, at, o.Size})
		}
	}
	sortByTime(all)
	return all, ctx.Err()
}

// put copies a file there under a name that nothing has. The server compares the
// checksum of each part; then its size is looked up.
func (b *Bucket) put(ctx context.Context, as Backup, file io.Reader, sum []byte) error {
	sent := make(chan error, 1)
	go func() {
		_, err := b.client.PutObject(ctx, b.bucket, b.prefix+as.Name, file, as.Size, minio.PutObjectOptions{
			ContentType:    "application/octet-stream",
			PartSize:       max(partSize, uint64(as.Size/9000)), // there may be 10,000 parts
			SendContentMd5: true,
			UserMetadata:   map[string]string{sumKey: hex.EncodeToString(sum)},
		})
		sent <- err
	}()
	if err := abandoned(ctx, sent); err != nil {
		return b.explain("write to", err)
	}
	all, err := b.List(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(there Backup) bool { return there.Name == as.Name })
	if i < 0 || all[i].Size != as.Size {
		return fmt.Errorf("%s took %s and does not have it whole", b, as.Name)
	}
	return nil
}

// abandoned returns what was sent, or soon after ctx is done: the server is told
// then that nobody wants the upload any more, and may not answer.
func abandoned(ctx context.Context, sent <-chan error) error {
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
	}
	select {
	case <-sent:
	case <-time.After(abortTime):
	}
	return ctx.Err()
}

// Open implements Place. What the object cannot be is an error of Read.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	o, err := b.client.GetObject(ctx, b.bucket, b.prefix+name, minio.GetObjectOptions{})
	if err != nil {
		return nil, 0, b.explain("read from", err)
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		return nil, 0, b.explain("read from", err)
	}
	return compared(o, info.UserMetadata[sumKey]), info.Size, nil
}

// Remove implements Place.
func (b *Bucket) Remove(ctx context.Context, name string) error {
	err := b.client.RemoveObject(ctx, b.bucket, b.prefix+name, minio.RemoveObjectOptions{})
	if err == nil {
		return nil
	}
	if code := minio.ToErrorResponse(err).Code; code == minio.AccessDenied {
		return fmt.Errorf("%w: %w", ErrKept, b.explain("remove from", err))
	}
	return b.explain("remove from", err)
}

// removeAbandoned removes the parts of uploads that a killed process had begun:
// nobody sees them, and they are paid for. A server that does not allow it keeps
// them.
func (b *Bucket) removeAbandoned(ctx context.Context, now time.Time) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for u := range b.client.ListIncompleteUploads(ctx, b.bucket, b.prefix+namePrefix, true) {
		if u.Err != nil {
			return
		}
		_, ours := parseName(path.Base(u.Key))
		if ours && now.Sub(u.Initiated) > abandonedAfter {
			_ = b.client.RemoveIncompleteUpload(ctx, b.bucket, u.Key)
		}
	}
}

// compared returns r, whose end is an error if its content has another SHA-256
// than sum; an empty one says nothing.
func compared(r io.ReadCloser, sum string) io.ReadCloser {
	want, err := hex.DecodeString(sum)
	if err != nil || len(want) != sha256.Size {
		return r
	}
	return &comparing{r, sha256.New(), want}
}

type comparing struct {
	io.ReadCloser
	sum  hash.Hash
	want []byte
}

func (c *comparing) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.sum.Write(b[:n])
	if err == io.EOF && !bytes.Equal(c.sum.Sum(nil), c.want) {
		return n, errors.New("the server returns something else than was sent to it")
	}
	return n, err
}

// explain says what is wrong with a server or with what it was told.
func (b *Bucket) explain(what string, err error) error {
	said := minio.ErrorResponse{}
	if !errors.As(err, &said) {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // the URL has the request in it
		}
		return fmt.Errorf("%s %s at %s: %w", what, b, b.endpoint, err)
	}
	switch said.Code {
	case minio.NoSuchBucket:
		return fmt.Errorf("%s has no bucket %s", b.endpoint, b.bucket)
	case minio.NoSuchKey:
		return fmt.Errorf("%w: %s has none of that name", ErrNone, b)
	case minio.SignatureDoesNotMatch:
		return fmt.Errorf("%s refuses the secret key: it is not the one of this access key", b.endpoint)
	case minio.InvalidAccessKeyID:
		return fmt.Errorf("%s does not know the access key", b.endpoint)
	case minio.AccessDenied:
		return fmt.Errorf("%s does not allow this access key to %s %s", b.endpoint, what, b)
	}
	return fmt.Errorf("%s %s at %s: %s (%s)", what, b, b.endpoint, said.Error(), said.Code)
}

package s3

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"welcomed/trials/harness"
)

const (
	accessKey = "operator"
	secretKey = "a secret of the operator"
	bucket    = "backups"
)

// A gateway is a real S3 server on a directory.
type gateway struct {
	t       *testing.T
	dir     string
	address string
	flags   []string
	process *harness.Process

	endpoint string
	roots    string // PEM file to trust; empty: no TLS
	root     *minio.Client
}

// startGateway starts an S3 server with one empty bucket.
func startGateway(t *testing.T, secure bool) *gateway {
	t.Helper()
	free, err := harness.FreeAddress()
	must(t, err)
	g := &gateway{t: t, dir: t.TempDir(), address: free.String(), endpoint: "http://" + free.String()}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if secure {
		g.endpoint = "https://" + g.address
		g.roots = filepath.Join(t.TempDir(), "roots.pem")
		key := filepath.Join(filepath.Dir(g.roots), "key.pem")
		certificate, err := harness.NewCertificate()
		must(t, err)
		must(t, certificate.Write(g.roots, key))
		transport.TLSClientConfig = certificate.TLS()
		g.flags = []string{"--cert", g.roots, "--key", key}
	}
	must(t, os.Mkdir(filepath.Join(g.dir, "data"), 0o700))
	must(t, os.Mkdir(filepath.Join(g.dir, "users"), 0o700))
	g.root, err = minio.New(g.address, &minio.Options{
		Creds: credentials.NewStaticV4(accessKey, secretKey, ""), Secure: secure, Region: "us-east-1", Transport: transport, MaxRetries: 1,
	})
	must(t, err)
	g.start()
	must(t, g.root.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{}))
	return g
}

func (g *gateway) start() {
	g.t.Helper()
	args := append([]string{"--port", g.address, "--quiet", "--iam-dir", filepath.Join(g.dir, "users")}, g.flags...)
	cmd := exec.Command(os.Getenv("S3_SERVER"), append(args, "posix", filepath.Join(g.dir, "data"))...)
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+accessKey, "ROOT_SECRET_KEY="+secretKey)
	process, err := harness.Start(cmd, nil)
	must(g.t, err)
	g.process = process
	g.t.Cleanup(g.kill)
	for range 1000 {
		if _, err = g.root.ListBuckets(g.t.Context()); err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	g.t.Fatal("the S3 server does not answer: ", err)
}

func (g *gateway) kill() { _ = g.process.Stop(syscall.SIGKILL) }

// objects are the names in the bucket.
func (g *gateway) objects() (names []string) {
	g.t.Helper()
	for _, name := range g.all() {
		if !strings.Contains(name, ".revoked") {
			names = append(names, name)
		}
	}
	return names
}

// all are the names of backups and of what was revoked.
func (g *gateway) all() (names []string) {
	g.t.Helper()
	for o := range g.root.ListObjects(context.Background(), bucket, minio.ListObjectsOptions{Recursive: true}) {
		must(g.t, o.Err)
		names = append(names, o.Key)
	}
	return names
}

// unfinished is how many uploads somebody has begun.
func (g *gateway) unfinished() (n int) {
	g.t.Helper()
	for u := range g.root.ListIncompleteUploads(context.Background(), bucket, "", true) {
		must(g.t, u.Err)
		n++
	}
	return n
}

// allow makes a user who may do in the bucket what the actions say, and no more.
func (g *gateway) allow(access, secret, policy string) {
	g.t.Helper()
	out, err := exec.Command(os.Getenv("S3_SERVER"), "admin", "--access", accessKey, "--secret", secretKey, "--endpoint-url", g.endpoint,
		"create-user", "--access", access, "--secret", secret, "--role", "user").CombinedOutput()
	if err != nil {
		g.t.Fatalf("create a user: %v: %s", err, out)
	}
	must(g.t, g.root.SetBucketPolicy(g.t.Context(), bucket, policy))
}

// A narrow road leads to a server and lets so many bytes a second through.
type road struct {
	net.Listener
	to       string
	perTenth atomic.Int64 // bytes in a tenth of a second
	carried  atomic.Int64 // bytes towards the server
}

func narrowRoad(t *testing.T, to string, perSecond int64) *road {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	r := &road{Listener: l, to: to}
	r.perTenth.Store(perSecond / 10)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.carry(conn)
		}
	}()
	return r
}

func (r *road) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", r.to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		_, _ = io.Copy(client, server)
		client.Close()
		server.Close()
	}()
	for {
		n, err := io.CopyN(server, client, r.perTenth.Load())
		r.carried.Add(n)
		if err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// wait returns when more bytes than that have gone towards the server.
func (r *road) wait(t *testing.T, bytes int64) {
	t.Helper()
	until(t, fmt.Sprintf("%d bytes are on the way", bytes), func() bool { return r.carried.Load() > bytes })
}

func (r *road) endpoint() string { return "http://" + r.Addr().String() }

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 6000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it is never so that ", what)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func contains(t *testing.T, text, words string) {
	t.Helper()
	if !strings.Contains(text, words) {
		t.Errorf("%q is not in\n%s", words, text)
	}
}

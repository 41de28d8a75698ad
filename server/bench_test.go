package server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/metrics"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// An instantStore answers at once what a store with all the work done would,
// so that what is measured is the server.
type instantStore struct {
	delivery.Store
	claimed  delivery.ClaimResult
	reserved delivery.Reservation
}

func (s *instantStore) Failed() <-chan struct{} { return nil }

func (s *instantStore) Watch(delivery.DeviceID, delivery.TokenOwner) (<-chan struct{}, func()) {
	return make(chan struct{}, 1), func() {}
}

func (s *instantStore) Publish(_ context.Context, _ delivery.Caller, _ delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	p := delivery.Publications{Items: make([]delivery.Published, len(items)), Stock: delivery.Stock{Available: len(items), Room: 400}}
	for i, kp := range items {
		p.Items[i] = delivery.Published{Ref: kp.Ref, Suite: kp.Suite, LastResort: kp.LastResort, Lifetime: kp.Lifetime,
			ExpiresAt: stillClock{}.Now(), Status: delivery.Stored, New: true}
	}
	return p, nil
}

func (s *instantStore) Reserve(context.Context, delivery.Caller, delivery.ReserveRequest) (delivery.Reservation, error) {
	return s.reserved, nil
}

func (s *instantStore) Post(_ context.Context, caller delivery.Caller, p delivery.Posting) (delivery.Outcome, error) {
	o := delivery.Outcome{ID: delivery.IDOf(caller, p.Welcome.Bytes()), Recipients: make([]delivery.Recipient, len(p.Welcome.Secrets))}
	for i, secret := range p.Welcome.Secrets {
		o.Recipients[i] = delivery.Recipient{Ref: secret.NewMember, Device: &delivery.DeviceID{User: "alice", Name: "phone"}, Status: delivery.StatusPending, Matched: true}
	}
	return o, nil
}

func (s *instantStore) Claim(context.Context, delivery.Caller, delivery.DeviceID, delivery.ClaimOptions) (delivery.ClaimResult, error) {
	return s.claimed, nil
}

func (s *instantStore) Acknowledge(context.Context, delivery.Caller, delivery.DeviceID, delivery.WelcomeID, mls.KeyPackageRef) error {
	return nil
}

// newInstantStore answers claims with one Welcome of 1 KB and reservations with
// one KeyPackage of each of n devices.
func newInstantStore(devices int) *instantStore {
	kp := parsed(signer.KeyPackage())
	welcome, err := mls.ParseWelcome(mlstest.WelcomeSize(850, 1, kp.Ref()))
	if err != nil {
		panic(err)
	}
	now := stillClock{}.Now()
	s := &instantStore{
		claimed: delivery.ClaimResult{Deliveries: []delivery.Delivery{{ID: delivery.IDOf(delivery.Unauthenticated(), welcome.Bytes()), Ref: kp.Ref(),
			Welcome: welcome.Slice(0), PostedBy: "bob", PostedAt: now, RedeliveredUntil: now}}, Stock: delivery.Stock{Available: 20}},
		reserved: delivery.Reservation{Suite: 1},
	}
	for i := range devices {
		s.reserved.Users = append(s.reserved.Users, delivery.ReservedUser{User: delivery.UserID(fmt.Sprint("user", i)), Status: delivery.UserSuccess,
			Devices: []delivery.ReservedDevice{{Device: "phone", Status: delivery.DeviceReserved, KeyPackage: &delivery.ListedKeyPackage{
				Ref: kp.Ref(), Suite: 1, Lifetime: kp.LeafNode.Lifetime, ExpiresAt: now, Bytes: kp.Bytes()}}}})
	}
	return s
}

func parsed(keyPackage []byte) *mls.KeyPackage {
	kp, err := mls.ParseKeyPackage(keyPackage)
	if err != nil {
		panic(err)
	}
	return kp
}

// newMeasured returns a server that is put together as the binary does it.
func newMeasured(store delivery.Store, change ...func(*server.Options)) *server.Server {
	m := metrics.New(prometheus.NewRegistry(), "bench")
	o := server.Options{NoAuth: server.NoAuthLocal, Store: m.Store(store), Limits: delivery.DefaultLimits(), Observe: m.ObserveRequest}
	for _, c := range change {
		c(&o)
	}
	return server.New(o)
}

// An exchange is a request and what it is answered with.
type exchange struct {
	name   string
	path   string
	header http.Header
	body   []byte
	status int
}

func newExchange(name, path string, body any, status int, headers ...string) exchange {
	req, err := http.NewRequest("POST", path, nil)
	if err != nil {
		panic(err)
	}
	setBody(req, body)
	var b []byte
	if req.Body != nil {
		b, _ = io.ReadAll(req.Body)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	return exchange{name, path, req.Header, b, status}
}

// hotPaths are the requests that a busy server is busy with.
func hotPaths() []exchange {
	hundred := newKeyPackages(100)
	welcome := mlstest.WelcomeSize(850, 1, parsed(hundred[0]).Ref())
	refs := make([]mls.KeyPackageRef, 1000)
	for i := range refs {
		refs[i] = mls.KeyPackageRef(mlstest.Random(32))
	}
	thousand := mlstest.WelcomeSize(240<<10, 1, refs...)
	users := make([]string, 100)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
	}
	id := strings.Repeat("ab", 32)
	return []exchange{
		newExchange("claim", phone+"/claim", nil, 200),
		newExchange("claim-skip", phone+"/claim", object{"skip": []string{id}, "max": 5}, 200),
		newExchange("claim-raw", phone+"/claim", nil, 200, "Accept", "message/mls"),
		newExchange("ack", phone+"/welcomes/"+id+"/ack", nil, 204),
		newExchange("ack-ref", phone+"/welcomes/"+id+"/ack", object{"ref": id}, 204),
		newExchange("post-raw", "/v1/welcomes", welcome, 201),
		newExchange("post-json", "/v1/welcomes", object{"welcome": welcome}, 201),
		newExchange("post-1000-raw", "/v1/welcomes", thousand, 201),
		newExchange("post-1000-json", "/v1/welcomes", object{"welcome": thousand}, 201),
		newExchange("publish-1-raw", shelf, hundred[0], 201),
		newExchange("publish-1", shelf, publication{hundred[:1]}, 201),
		newExchange("publish-100", shelf, publication{hundred}, 201),
		newExchange("reserve-100", "/v1/key-packages/reserve", object{"users": users}, 200),
	}
}

// BenchmarkHandler measures what the server does besides the store and the
// network: the whole handler with an instant store.
func BenchmarkHandler(b *testing.B) {
	api := newMeasured(newInstantStore(100)).API()
	for _, x := range hotPaths() {
		b.Run(x.name, func(b *testing.B) {
			template := x.request()
			w := &sink{header: http.Header{}}
			b.ReportAllocs()
			b.SetBytes(int64(len(x.body)))
			for b.Loop() {
				w.reset()
				api.ServeHTTP(w, x.again(template))
				if w.status != x.status {
					b.Fatalf("%s: %d %s", x.name, w.status, w.body.Bytes())
				}
			}
		})
	}
}

func (x exchange) request() *http.Request {
	req, err := http.NewRequest("POST", "http://localhost"+x.path, nil)
	if err != nil {
		panic(err)
	}
	req.Header = x.header
	return req
}

// again returns the request with a new body.
func (x exchange) again(template *http.Request) *http.Request {
	req := *template
	req.Body, req.ContentLength = http.NoBody, 0
	if len(x.body) > 0 {
		req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(x.body)), int64(len(x.body))
	}
	return &req
}

// A sink is a recorder that costs next to nothing.
type sink struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *sink) Header() http.Header              { return w.header }
func (w *sink) WriteHeader(status int)           { w.status = status }
func (w *sink) Write(b []byte) (int, error)      { return w.body.Write(b) }
func (w *sink) SetReadDeadline(time.Time) error  { return nil }
func (w *sink) SetWriteDeadline(time.Time) error { return nil }

func (w *sink) reset() {
	clear(w.header)
	w.status = 0
	w.body.Reset()
}

// BenchmarkSocket is the same over a connection that is kept, one request after
// the other; the client is as plain as can be.
func BenchmarkSocket(b *testing.B) {
	addr := serveMeasured(b, newInstantStore(100))
	for _, x := range hotPaths() {
		b.Run(x.name, func(b *testing.B) {
			c := dialPlain(b, addr)
			text := x.wire()
			b.ReportAllocs()
			b.SetBytes(int64(len(x.body)))
			for b.Loop() {
				if status := c.roundTrip(b, text); status != x.status {
					b.Fatalf("%s: %d", x.name, status)
				}
			}
		})
	}
}

// serveMeasured serves on a socket and returns its address.
func serveMeasured(b *testing.B, store delivery.Store, change ...func(*server.Options)) string {
	b.Helper()
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = newMeasured(store, change...).Serve(ctx, api, admin)
	}()
	b.Cleanup(func() { stop(); <-ended })
	return api.Addr().String()
}

// wire returns the request as it goes over a connection.
func (x exchange) wire() []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n", x.path, len(x.body))
	_ = x.header.Write(&text)
	text.WriteString("\r\n")
	text.Write(x.body)
	return text.Bytes()
}

// A plainClient reads of an answer the status and the length.
type plainClient struct {
	net.Conn
	r *bufio.Reader
}

func dialPlain(b *testing.B, addr string) *plainClient {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return &plainClient{c, bufio.NewReaderSize(c, 64<<10)}
}

func (c *plainClient) roundTrip(b *testing.B, text []byte) (status int) {
	if _, err := c.Write(text); err != nil {
		b.Fatal(err)
	}
	length := 0
	for {
		line, err := c.r.ReadSlice('\n')
		switch {
		case err != nil:
			b.Fatal(err)
		case len(line) == 2:
			if _, err := c.r.Discard(length); err != nil {
				b.Fatal(err)
			}
			return status
		case status == 0:
			status, _ = strconv.Atoi(string(line[9:12]))
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			length, _ = strconv.Atoi(string(bytes.TrimSpace(line[16:])))
		}
	}
}

// BenchmarkChecks compares what publishing costs with the two signature checks
// of each KeyPackage alone. Both use all processors, and they take turns, so
// that the ratio means something on a machine that is not idle. An operation is
// four hundred KeyPackages of suite 1.
func BenchmarkChecks(b *testing.B) {
	for _, row := range []struct {
		name    string
		store   func(*testing.B) delivery.Store
		each    int // KeyPackages of a request
		callers int
	}{
		{"handler/1-a-request", func(*testing.B) delivery.Store { return newInstantStore(0) }, 1, runtime.GOMAXPROCS(0)},
		{"handler/100-a-request", func(*testing.B) delivery.Store { return newInstantStore(0) }, 100, 1},
		{"file/1-a-request", openFile, 1, 64},
		{"file/100-a-request", openFile, 100, 4},
	} {
		b.Run(row.name, func(b *testing.B) { compareChecks(b, row.store(b), row.each, row.callers) })
	}
}

func compareChecks(b *testing.B, store delivery.Store, each, callers int) {
	const keyPackages = 400
	api := newMeasured(store).API()
	publications := make([][]exchange, b.N)
	for i := range publications {
		list := newKeyPackages(keyPackages)
		for chunk := range slices.Chunk(list, each) {
			path := fmt.Sprintf("/v1/users/user%d/devices/phone/key-packages", i)
			publications[i] = append(publications[i], newExchange("", path, publication{chunk}, 201))
		}
	}
	check := bareChecks(len(signer.KeyPackage()))
	var bare, ours time.Duration
	b.ResetTimer()
	for _, requests := range publications {
		start := time.Now()
		share(keyPackages, runtime.GOMAXPROCS(0), func(int) { check() })
		middle := time.Now()
		share(len(requests), callers, func(i int) { exchangeOnce(b, api, requests[i]) })
		bare, ours = bare+middle.Sub(start), ours+time.Since(middle)
	}
	checks := float64(2 * keyPackages * b.N)
	b.ReportMetric(checks/bare.Seconds(), "bare-checks/s")
	b.ReportMetric(checks/ours.Seconds(), "checks/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "of-bare")
}

// bareChecks returns what does nothing but check two signatures over as many
// bytes as in a KeyPackage of size bytes: up to its own signature, and the leaf
// without signature, key and header around it; each behind a label.
func bareChecks(size int) func() {
	const signature, label, around = 2 + ed25519.SignatureSize, 24, 2 + 2 + 33 + 1
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	whole := mlstest.Random(size - signature + label)
	leaf := whole[:len(whole)-signature-around]
	wholeSigned, leafSigned := ed25519.Sign(private, whole), ed25519.Sign(private, leaf)
	return func() {
		if !ed25519.Verify(public, leaf, leafSigned) || !ed25519.Verify(public, whole, wholeSigned) {
			panic("a good signature is refused")
		}
	}
}

// BenchmarkClaimBesideChecks measures how long claims take while publications
// of the slowest suite keep every processor busy, and without them; spare is the
// number of threads beyond one for each processor.
func BenchmarkClaimBesideChecks(b *testing.B) {
	slow := mlstest.NewSigner(5, "alice")
	list := make([][]byte, 20)
	for i := range list {
		list[i] = slow.KeyPackage()
	}
	publish := newExchange("", shelf, publication{list}, 201).wire()
	for _, publishers := range []int{0, 1, 4} {
		for _, spare := range []int{0, 1} {
			b.Run(fmt.Sprintf("publishers=%d/spare=%d", publishers, spare), func(b *testing.B) {
				processors := runtime.GOMAXPROCS(0)
				defer runtime.GOMAXPROCS(processors)
				runtime.GOMAXPROCS(processors + spare)
				addr := serveMeasured(b, newInstantStore(0), func(o *server.Options) { o.Checks = processors })
				defer keepPublishing(b, addr, publish, publishers)()
				timeClaims(b, addr)
			})
		}
	}
}

// keepPublishing sends requests, one after the other from each of some
// publishers, until it is called back.
func keepPublishing(b *testing.B, addr string, request []byte, publishers int) (stop func()) {
	var stopped atomic.Bool
	var publishing sync.WaitGroup
	for range publishers {
		c := dialPlain(b, addr)
		publishing.Go(func() {
			for !stopped.Load() {
				c.roundTrip(b, request)
			}
		})
	}
	return func() {
		stopped.Store(true)
		publishing.Wait()
	}
}

func timeClaims(b *testing.B, addr string) {
	claim := newExchange("", phone+"/claim", nil, 200).wire()
	c := dialPlain(b, addr)
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		c.roundTrip(b, claim)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "p99-ms")
}

// share spreads n calls over callers.
func share(n, callers int, call func(i int)) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				call(i)
			}
		})
	}
	running.Wait()
}

func openFile(b *testing.B) delivery.Store {
	store, err := bolt.Open(filepath.Join(b.TempDir(), "welcomed.db"), bolt.Options{Limits: delivery.DefaultLimits(), Clock: stillClock{}})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	return store
}

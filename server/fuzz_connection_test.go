package server_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"welcomed/mls/mlstest/malformed"
)

func randomBytes(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 9420))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// A badRequest is a request that somebody might make.
type badRequest struct {
	method, target, header string
	body                   []byte
}

// A mutator makes bad requests of the seeds.
type mutator struct {
	*rand.Rand
	seeds []badRequest
}

func newMutator(tb testing.TB, seed uint64) *mutator {
	m := &mutator{Rand: rand.New(rand.NewPCG(seed, 9420))}
	add := func(method, target, header string, body []byte) {
		m.seeds = append(m.seeds, badRequest{method, target, header, body})
	}
	seeds(tb, add)
	for _, row := range malformedRows() {
		path := shelf
		if row.For != nil {
			path = "/v1/welcomes"
		}
		add("POST", path, seedHeaders[1], row.Broken)
		add("POST", path, seedHeaders[0], []byte(text(object{"welcome": row.Broken})))
	}
	return m
}

// malformedRows are those of the tables, made once.
var malformedRows = sync.OnceValue(func() []malformed.Row { return append(malformed.KeyPackages(), malformed.Welcomes()...) })

func pick[T any](m *mutator, list []T) T { return list[m.IntN(len(list))] }

var badSegments = []string{"", ".", "..", "%2e", "%2F", "%00", "%", "%zz", "%c3%28", "é", "\x7f", "*", ":user", "a b", "a%20b", "~", "+", "%2B", "=", ";x=1", "?", "#", "\\",
	strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("%41", 300), strings.Repeat("x", 5000), strings.Repeat("../", 50), "{id}", "{ref}", "reserve", "claim", "devices"}

var badHeaders = []string{"Content-Type: application/json; charset", "Content-Type: message/mls; version=\"1.0\"", "Content-Encoding: gzip", "Content-Encoding: deflate, identity", "Accept: */*", "Accept: message/mls;q=2, application/json;q=NaN",
	"Accept: message/mls;q=-1", "Range: bytes=0-", "Range: bytes=99999999999999999999-", "Range: bytes=" + strings.Repeat("0-1,", 500), "Range: x", "If-Match: *", "If-Match: \"", "If-Match: \"\"", "Range: bytes=", "Content-Type: ;", "Accept: /", "Accept: ,", "If-Match: W/\"x\"", "If-None-Match: *",
	"If-None-Match: " + strings.Repeat("\"a\",", 500), "If-Modified-Since: yesterday", "If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT", "If-Range: \"x\"", "Idempotency-Key: " + strings.Repeat("k", 300), "Idempotency-Key: \x01",
	"Request-Id: \x01", "Request-Id: " + strings.Repeat("r", 65), "Request-Id: {alice}", "Authorization:", "Authorization: Bearer", "Authorization: Bearer " + strings.Repeat("t", 5000), "Authorization: Bearer {alice} x",
	"Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", "Authorization: Basic Og==", "Authorization: Bearer {service}", "On-Behalf-Of: alice", "On-Behalf-Of: alice/phone/x", "On-Behalf-Of: ../x", "On-Behalf-Of:", "On-Behalf-Of: " + strings.Repeat("a", 600),
	"Host: example.org", "Host: localhost:99999999", "Host:", "Host: [::1", "Origin: null", "Origin: http://localhost:1", "Origin: \x00", "Origin: http://[::1", "Forwarded: for=x", "X-Forwarded-For: 1.2.3.4, ,,", "X-Forwarded-Proto: https", "Via: x", "X-Real-IP: x",
	"Expect: 100-continue", "Expect: x", "Connection: upgrade\r\nUpgrade: websocket", "Transfer-Encoding: chunked", "Trailer: Content-Length", "Cookie: " + strings.Repeat("a=b;", 1000), "X-HTTP-Method-Override: DELETE"}

var badTexts = []string{`{"key_packages":[` + strings.Repeat(`"AA==",`, 200) + `"AA=="]}`, strings.Repeat(`[`, 5000), strings.Repeat(`{"a":`, 5000), `{"refs":null,"refs":null}`, `{"\u0000":1}`, "{\"refs\":[\"\xff\"]}", `{"max":1e999}`,
	`{"max":-9223372036854775809}`, `{"users":["` + strings.Repeat("u", 300) + `"]}`, `{"users":[""]}`, `{"cipher_suites":[1,1]}`, `{"cipher_suites":[1.0]}`, `{"welcome":null}`, `{"welcome":"","ratchet_tree":"AA","context":"` + strings.Repeat("A", 8000) + `"}`,
	"\xef\xbb\xbf{}", "null", "true", `"x"`, "{}{}", "{} \x00", `{"digest":"zz"}`, `{"ref":""}`, `{"reason":"other","detail":"\u202e\u0007"}`, "<xml/>", "%PDF", "\x1f\x8b\x08\x00", "a=b&c=d"}

// next makes a request that is wrong in one to three ways.
func (m *mutator) next() badRequest {
	r := pick(m, m.seeds)
	for range 1 + m.IntN(3) {
		switch m.IntN(8) {
		case 0:
			segments := strings.Split(r.target, "/")
			segments[m.IntN(len(segments))] = pick(m, badSegments)
			r.target = strings.Join(segments, "/")
		case 1:
			r.target += pick(m, []string{"?", "&", "?a=%", "?wait=1s", "?limit=0", "?cipher_suite=65536", "?framing=" + pick(m, badSegments), "/", "?hold=" + pick(m, badSegments), "?after=" + pick(m, badSegments)})
		case 2:
			r.header += "\r\n" + pick(m, badHeaders)
		case 3:
			r.header = pick(m, seedHeaders)
		case 4:
			r.method = pick(m, []string{"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "QUERY", "get"})
		case 5:
			r.body = pick(m, m.seeds).body
		case 6:
			r.body = []byte(pick(m, badTexts))
		default:
			r.body = m.damage(r.body)
		}
	}
	return r
}

// damage changes some bytes.
func (m *mutator) damage(b []byte) []byte {
	b = bytes.Clone(b)
	if len(b) == 0 {
		return []byte{byte(m.Uint32())}
	}
	at := m.IntN(len(b))
	switch m.IntN(5) {
	case 0:
		return b[:at]
	case 1:
		return append(b[:at:at], b[at/2:]...)
	case 2:
		b[at] = pick(m, []byte{0, 0xff, 0x80, 0xc0, '"', '{', '\\', ','})
	case 3:
		b[at] ^= 1 << m.IntN(8)
	default:
		return append(b, byte(m.Uint32()))
	}
	return b
}

// badInputs is how many requests TestBadInput makes, if it is not told for how
// long.
const badInputs = 2000

// TestBadInput makes bad requests of real servers, in process and over sockets:
// none is answered with what no answer may be, and no goroutine is left.
// $WELCOMED_BAD_INPUT says for how long, and the test says how many there were.
func TestBadInput(t *testing.T) {
	before, seed := runtime.NumGoroutine(), uint64(badInputs)
	more := func(round int) bool { return round < badInputs }
	if text := os.Getenv("WELCOMED_BAD_INPUT"); text != "" {
		long, err := time.ParseDuration(text)
		must(t, err)
		seed = uint64(time.Now().UnixNano())
		more = func(int) bool { return time.Now().Before(time.Unix(0, int64(seed)).Add(long)) }
	}
	b := newBadInput(t, seed)
	for round := 0; more(round) && !t.Failed(); round++ {
		b.tryNext(t, round)
	}
	b.end(t)
	checkGoroutines(t, before)
	total, text := summary(b.counts)
	fmt.Printf("%d bad inputs tried (seed %d): %s; %d connections closed without an answer\n", total+b.closed, seed, text, b.closed)
	same(t, "some were tried", total > 0, true)
}

// A badInput is servers in process and one on a socket, to which bad requests are
// made.
type badInput struct {
	*mutator
	targets *supply
	sockets *target
	addr    string
	stop    func() error
	counts  map[int]int
	closed  int
}

func newBadInput(t *testing.T, seed uint64) *badInput {
	b := &badInput{mutator: newMutator(t, seed), counts: map[int]int{}}
	b.targets = &supply{clock: stillClock{}, most: 20_000, ended: func(counts map[int]int) {
		for status, n := range counts {
			b.counts[status] += n
		}
	}}
	var dir string
	b.sockets, dir = furnished(t, stillClock{})
	t.Cleanup(func() { os.RemoveAll(dir) })
	var err error
	b.addr, b.stop, err = b.sockets.listen()
	must(t, err)
	return b
}

// tryNext makes a bad request, and sometimes a bad connection.
func (b *badInput) tryNext(t *testing.T, round int) {
	r := b.next()
	for _, p := range b.targets.next(t).try(r.method, r.target, r.header, r.body) {
		t.Error(p)
	}
	if round%16 > 0 {
		return
	}
	statuses, problem := throw(b.addr, b.garble(r))
	if problem != "" {
		t.Error(problem)
	}
	for _, status := range statuses {
		b.counts[status]++
	}
	if len(statuses) == 0 {
		b.closed++
	}
}

func (b *badInput) end(t *testing.T) {
	b.targets.end(t)
	must(t, b.stop())
	must(t, b.sockets.end())
	same(t, "log", badLines(b.sockets.log.String()), "")
}

// TestRefusalsTakeNoMemory: what a refused request took is given back, in process
// and over sockets. The bounds are far more than what is left by chance, and far
// less than a few hundred bytes of each.
func TestRefusalsTakeNoMemory(t *testing.T) {
	b := newBadInput(t, 1)
	var refused []badRequest
	for len(refused) < 300 {
		if r := b.next(); isRefused(t, b.targets.next(t), r) {
			refused = append(refused, r)
		}
	}
	in := b.targets.next(t)
	grows(t, "requests", 20, 100, len(refused)*len(in.handlers), func() {
		for _, r := range refused {
			in.try(r.method, r.target, r.header, r.body)
		}
	})
	grows(t, "connections", 5, 500, len(refused), func() {
		for _, r := range refused {
			throw(b.addr, b.garble(r))
		}
	})
	b.end(t)
}

// isRefused reports whether all servers refuse a request.
func isRefused(t *testing.T, in *target, r badRequest) bool {
	was := in.counts
	in.counts = map[int]int{}
	defer func() { in.counts = was }()
	must(t, problemsOf(in.try(r.method, r.target, r.header, r.body)))
	for status := range in.counts {
		if status < 400 {
			return false
		}
	}
	return len(in.counts) > 0
}

func problemsOf(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return errors.New(strings.Join(problems, "\n"))
}

// grows calls round, which makes n requests, to fill what is kept for use again,
// and then so many times more, after which the heap may have grown by most bytes
// for each request.
func grows(t *testing.T, what string, rounds, most, n int, round func()) {
	t.Helper()
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // what the first one has finalized
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for range 2 {
		round()
	}
	before := heap()
	for range rounds {
		round()
	}
	grown := heap() - before
	t.Logf("%d %s: the heap has grown by %d bytes", rounds*n, what, grown)
	if grown > int64(rounds*n*most) {
		t.Errorf("%d bytes for each of %d %s are kept", grown/int64(rounds*n), rounds*n, what)
	}
}

// badLines are the lines of a log that say more than that a connection was bad.
func badLines(log string) string {
	var bad []string
	for line := range strings.Lines(log) {
		if strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
			bad = append(bad, line)
		}
	}
	return strings.Join(bad, "")
}

// settledGoroutines waits until there are at most so many goroutines, but not for
// ever, and returns how many there are.
func settledGoroutines(most int) int {
	n := runtime.NumGoroutine()
	for end := time.Now().Add(patience); n > most && time.Now().Before(end); n = runtime.NumGoroutine() {
		time.Sleep(10 * time.Millisecond)
	}
	return n
}

func checkGoroutines(t *testing.T, before int) {
	t.Helper()
	if n := settledGoroutines(before); n > before {
		var stacks strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
		t.Errorf("%d goroutines, %d before:\n%s", n, before, &stacks)
	}
}

// garble makes bytes of a request as a broken client or an attacker would send
// them.
func (m *mutator) garble(r badRequest) []byte {
	head := r.method + " " + r.target + " HTTP/1.1\r\n" + r.header + "\r\n"
	switch m.IntN(6) {
	case 0:
		head += fmt.Sprintf("Content-Length: %d\r\n", len(r.body)+m.IntN(3)-1)
	case 1:
		head += fmt.Sprintf("Content-Length: %d\r\nContent-Length: %d\r\n", len(r.body), len(r.body)+m.IntN(2))
	case 2:
		head += "Transfer-Encoding: chunked\r\n"
		r.body = fmt.Appendf(nil, "%x\r\n%s\r\n%s\r\n\r\n", len(r.body), r.body, pick(m, []string{"0", "zz", "ffffffffffffffff", "-1", "0;x", ""}))
	case 3:
		head = pick(m, badConnections)
	default:
		head += fmt.Sprintf("Content-Length: %d\r\n", len(r.body))
	}
	raw := append([]byte(head+"\r\n"), r.body...)
	if m.IntN(3) == 0 {
		raw = m.damage(raw)
	}
	if m.IntN(8) == 0 {
		raw = append(raw, raw...)
	}
	return raw
}

// throw sends bytes, says that no more will come, and returns the statuses of the
// answers.
func throw(addr string, raw []byte) (statuses []int, problem string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	go func() {
		_, _ = c.Write(raw) // the server may have closed it
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	answer, err := io.ReadAll(c)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return nil, fmt.Sprintf("neither answered nor closed: %.2000q", raw)
	}
	return readStatuses(raw, answer)
}

// readStatuses reads answers one after the other. Where a request was HEAD, what
// follows is the next answer.
func readStatuses(raw, answer []byte) (statuses []int, problem string) {
	reader := bufio.NewReader(bytes.NewReader(answer))
	request := &http.Request{Method: http.MethodGet}
	if bytes.HasPrefix(raw, []byte("HEAD ")) {
		request.Method = http.MethodHead
	}
	for {
		if _, err := reader.Peek(1); err != nil {
			return statuses, ""
		}
		resp, err := http.ReadResponse(reader, request)
		if err != nil {
			return statuses, ""
		}
		if resp.StatusCode >= 500 && resp.StatusCode != 501 && resp.StatusCode != 505 { // net/http's own: an encoding, a version
			return statuses, fmt.Sprintf("%.2000q is answered %.2000q", raw, answer)
		}
		statuses = append(statuses, resp.StatusCode)
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return statuses, ""
		}
	}
}

// badConnections are beginnings of what is no HTTP/1.1, or nearly.
var badConnections = []string{
	"", "\r\n\r\n", "GET", "GET /v1", "GET /v1 HTTP/1.1", "GET /v1 HTTP/1.1\r\n", "GET  /v1  HTTP/1.1\r\nHost: x\r\n", "GET /v1 HTTP/3.7\r\nHost: localhost\r\n", "GET /v1 HTTP/1.0\r\n", "GET /v1 HTTP/0.9\r\n", "GET /v1 http/1.1\r\nHost: localhost\r\n",
	"GET /v1 HTTP/1.1\r\nHost: a\r\nHost: b\r\n", "GET /v1 HTTP/1.1\r\nHost: a b\r\n", "GET /v1 HTTP/1.1\r\nHost : localhost\r\n", "GET /v1 HTTP/1.1\r\n Host: localhost\r\n", "GET /v1 HTTP/1.1\r\nHost: localhost\r\n folded\r\n", "GET /v1 HTTP/1.1\nHost: localhost\n",
	"GET /%zz HTTP/1.1\r\nHost: localhost\r\n", "GET v1 HTTP/1.1\r\nHost: localhost\r\n", "GET * HTTP/1.1\r\nHost: localhost\r\n", "G\x00T /v1 HTTP/1.1\r\nHost: localhost\r\n", "GET /v1\x00 HTTP/1.1\r\nHost: localhost\r\n", "GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n",
	"GET /v1 HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 40<<10) + "\r\n", "GET /v1 HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: y\r\n", 8000), "GET /" + strings.Repeat("x", 40<<10) + " HTTP/1.1\r\nHost: localhost\r\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "GET /v1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "SSH-2.0-x\r\n", "EHLO x\r\n",
	"POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n", "POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 1\r\n", "POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n", "POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0x10\r\n",
	"POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n", "POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n", "POST /v1/welcomes HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
	"POST /v1/welcomes HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n", "POST /v1/users/alice/devices/phone/claim HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 10\r\n", "GET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /v1 HTTP/1.1\r\nHost: localhost\r\n\r\nGET /x HTTP/1.1\r\nHost: localhost\r\n",
	"HEAD /v1 HTTP/1.1\r\nHost: localhost\r\n", "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n", "TRACE /v1 HTTP/1.1\r\nHost: localhost\r\n",
}

// FuzzConnection sends any bytes over a socket: they are answered, or the
// connection is closed, and the server goes on without a goroutine more.
func FuzzConnection(f *testing.F) {
	for _, text := range badConnections {
		f.Add([]byte(text + "\r\n"))
	}
	m := newMutator(f, 1)
	for range 200 {
		f.Add(m.garble(m.next()))
	}
	s, dir := furnished(f, stillClock{})
	defer os.RemoveAll(dir)
	addr, stop, err := s.listen()
	if err != nil {
		f.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			f.Error(err)
		}
		if err := s.end(); err != nil {
			f.Error(err)
		}
	}()
	tried, before := 0, 0
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, problem := throw(addr, raw); problem != "" {
			t.Error(problem)
		}
		if bad := badLines(s.log.String()); bad != "" {
			t.Errorf("%.2000q is logged:\n%s", raw, bad)
		}
		if tried++; tried%64 == 1 {
			checkAlive(t, addr, &before)
		}
	})
}

// checkAlive expects an answer, and as many goroutines as the first time.
func checkAlive(t *testing.T, addr string, before *int) {
	t.Helper()
	statuses, problem := throw(addr, []byte("GET /v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
	if problem != "" || len(statuses) != 1 || statuses[0] != 200 {
		t.Fatalf("the server is gone: %v %s", statuses, problem)
	}
	if *before == 0 {
		time.Sleep(100 * time.Millisecond) // what has just been closed
		*before = runtime.NumGoroutine()
	}
	checkGoroutines(t, *before)
}

package auth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A steppedClock stands still until it is advanced.
type steppedClock struct {
	mu     sync.Mutex
	time   time.Time
	timers []steppedTimer
	armed  *sync.Cond
}

type steppedTimer struct {
	after time.Duration
	at    time.Time
	fired chan time.Time
}

func newSteppedClock() *steppedClock {
	c := &steppedClock{time: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)}
	c.armed = sync.NewCond(&c.mu)
	return c
}

func (c *steppedClock) clock() clock { return clock{now: c.now, after: c.arm} }

func (c *steppedClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.time
}

func (c *steppedClock) arm(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	fired := make(chan time.Time, 1)
	c.timers = append(c.timers, steppedTimer{d, c.time.Add(d), fired})
	c.armed.Broadcast()
	return fired
}

// advance fires what was armed until now and is due then.
func (c *steppedClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
	c.timers = slices.DeleteFunc(c.timers, func(t steppedTimer) bool {
		due := !t.at.After(c.time)
		if due {
			t.fired <- c.time
		}
		return due
	})
}

// set changes the time, and nobody notices.
func (c *steppedClock) set(unix int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = time.Unix(unix, 0)
}

// wait returns once somebody waits for one of these times to pass.
func (c *steppedClock) wait(times ...time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !slices.ContainsFunc(c.timers, func(t steppedTimer) bool { return slices.Contains(times, t.after) }) {
		c.armed.Wait()
	}
}

// A testKey is half of a pair, and says in its JWK and in headers what it is
// told to.
type testKey struct {
	kid, alg string
	private  crypto.Signer
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey      = sync.OnceValue(func() testKey { return newRSA("rsa", 2048) })
	otherRSAKey = sync.OnceValue(func() testKey { return newRSA("other", 2048) })
	es256Key    = sync.OnceValue(func() testKey { return newEC("p256", "ES256", elliptic.P256()) })
	edKey       = sync.OnceValue(func() testKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return testKey{"ed", "EdDSA", must(private, err)}
	})
)

func newRSA(kid string, bits int) testKey {
	return testKey{kid, "RS256", must(rsa.GenerateKey(rand.Reader, bits))}
}

func newEC(kid, alg string, curve elliptic.Curve) testKey {
	return testKey{kid, alg, must(ecdsa.GenerateKey(curve, rand.Reader))}
}

func (k testKey) named(kid string) testKey { return testKey{kid, k.alg, k.private} }

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (k testKey) jwk() map[string]any {
	m := map[string]any{"use": "sig"}
	if k.kid != "" {
		m["kid"] = k.kid
	}
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		m["kty"], m["n"], m["e"] = "RSA", base64url(public.N.Bytes()), base64url(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point := must(public.Bytes()) // 4, X and Y
		half := len(point) / 2
		m["kty"], m["crv"], m["x"], m["y"] = "EC", public.Params().Name, base64url(point[1:1+half]), base64url(point[1+half:])
	case ed25519.PublicKey:
		m["kty"], m["crv"], m["x"] = "OKP", "Ed25519", base64url(public)
	}
	return m
}

var hashes = map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}

// sign makes the signature of alg by hand, so that the library is not its own
// witness.
func (k testKey) sign(alg, input string) []byte {
	hash, hashed := crypto.Hash(0), []byte(input)
	if h, ok := hashes[alg[2:]]; ok {
		hash = h
		sum := h.New()
		sum.Write(hashed)
		hashed = sum.Sum(nil)
	}
	var opts crypto.SignerOpts = hash
	if strings.HasPrefix(alg, "PS") {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	private, ok := k.private.(*ecdsa.PrivateKey)
	if !ok {
		return must(k.private.Sign(rand.Reader, hashed, opts))
	}
	r, s, err := ecdsa.Sign(rand.Reader, private, hashed)
	size := (private.Params().BitSize + 7) / 8
	return append(must(r, err).FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
}

// A draft is a token before it is signed.
type draft struct {
	key            testKey
	header, claims map[string]any
}

func (d *draft) token() string {
	input := base64url([]byte(text(d.header))) + "." + base64url([]byte(text(d.claims)))
	return input + "." + base64url(d.key.sign(d.key.alg, input))
}

// An issuer is a real one on a loopback address.
type issuer struct {
	*httptest.Server
	arrived chan string // the path of a request that is held

	mu       sync.Mutex
	keys     []map[string]any
	name     string // in its discovery document; empty: its own
	jwks     string // as name
	status   int
	text     string        // instead of keys
	held     chan struct{} // requests wait until it is closed
	requests map[string]int
}

func newIssuer(t testing.TB, keys ...testKey) *issuer {
	i := &issuer{status: http.StatusOK, requests: map[string]int{}, arrived: make(chan string, 100)}
	i.publish(keys...)
	i.Server = httptest.NewServer(i)
	t.Cleanup(func() {
		i.CloseClientConnections()
		i.Close()
	})
	return i
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) publish(keys ...testKey) {
	set := []map[string]any{}
	for _, key := range keys {
		set = append(set, key.jwk())
	}
	i.set(func() { i.keys = set })
}

func text(v any) string { return string(must(json.Marshal(v))) }

func jwks(keys ...testKey) string {
	set := []map[string]any{}
	for _, key := range keys {
		set = append(set, key.jwk())
	}
	return text(map[string]any{"keys": set})
}

// fetches returns how often the keys were asked for.
func (i *issuer) fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests["/keys"]
}

// asked returns how often it was asked for anything.
func (i *issuer) asked() (n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, requests := range i.requests {
		n += requests
	}
	return n
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	i.requests[r.URL.Path]++
	status, held, instead := i.status, i.held, i.text
	name, jwks := i.name, i.jwks
	keys := text(map[string]any{"keys": i.keys})
	i.mu.Unlock()
	if held != nil {
		i.arrived <- r.URL.Path
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
	}
	w.WriteHeader(status)
	switch {
	case r.URL.Path == "/.well-known/openid-configuration":
		document := map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
		if name != "" {
			document["issuer"] = name
		}
		if jwks != "" {
			document["jwks_uri"] = jwks
		}
		w.Write(must(json.Marshal(document)))
	case instead != "":
		io.WriteString(w, instead)
	default:
		io.WriteString(w, keys)
	}
}

// A party is an issuer and who believes it.
type party struct {
	*issuer
	*oidc
	clock *steppedClock
	log   *lockedBuffer
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) count(words string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), words)
}

func optionsFor(i *issuer) OIDCOptions {
	opts := DefaultOIDCOptions()
	opts.Issuer, opts.Audience = i.URL, []string{"elsewhere", "welcomed"}
	return opts
}

// meet starts a party whose options are changed by change.
func meet(t testing.TB, i *issuer, change func(*OIDCOptions)) *party {
	t.Helper()
	p, err := tryToMeet(t, i, change)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func tryToMeet(t testing.TB, i *issuer, change func(*OIDCOptions)) (*party, error) {
	p := &party{issuer: i, clock: newSteppedClock(), log: &lockedBuffer{}}
	opts := optionsFor(i)
	opts.Log = slog.New(slog.NewTextHandler(p.log, nil))
	if change != nil {
		change(&opts)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	var err error
	p.oidc, err = newOIDC(ctx, opts, p.clock.clock())
	return p, err
}

// draft returns alice's token, which is valid for five minutes.
func (p *party) draft(key testKey) *draft {
	now := p.clock.now().Unix()
	d := &draft{
		key:    key,
		header: map[string]any{"alg": key.alg, "typ": "JWT"},
		claims: map[string]any{"iss": p.URL, "aud": "welcomed", "sub": "alice", "iat": now - 60, "exp": now + 300},
	}
	if key.kid != "" {
		d.header["kid"] = key.kid
	}
	return d
}

// try returns what becomes of a token of alice that is signed with key.
func (p *party) try(key testKey) error {
	_, err := p.Authenticate(context.Background(), p.draft(key).token())
	return err
}

// regularly returns after the next regular refresh.
func (p *party) regularly() {
	pause := p.oidc.keys.pause()
	p.clock.wait(pause)
	p.clock.advance(pause)
	p.clock.wait(p.oidc.keys.rhythm.regular, p.oidc.keys.rhythm.most)
}

func ExampleOIDC() {
	_, err := OIDC(context.Background(), OIDCOptions{Issuer: "https://id.example.com", UserClaim: "sub", Algorithms: []string{"RS256"}})
	fmt.Println(err)
	// Output: no audience is named, so tokens for other servers would be valid here
}

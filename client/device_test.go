package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/client"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// A phoneOf is a device under test: its store, and what it has asked the server.
type phoneOf struct {
	*client.Device
	t     *testing.T
	store *fileStore

	mu    sync.Mutex
	asked []string // "METHOD last-of-the-path bytes"
}

func (s *served) phone(t *testing.T) *phoneOf {
	t.Helper()
	p := &phoneOf{t: t, store: &fileStore{path: filepath.Join(t.TempDir(), "app.json")}}
	c := s.service().For("alice")
	c.HTTP = through(func(r *http.Request) (*http.Response, error) {
		p.mu.Lock()
		p.asked = append(p.asked, fmt.Sprint(r.Method, " ", path.Base(r.URL.Path), " ", r.ContentLength))
		p.mu.Unlock()
		return http.DefaultTransport.RoundTrip(r)
	})
	p.Device = p.store.device(c)
	return p
}

// visit visits and returns what was asked.
func (p *phoneOf) visit() []string {
	p.t.Helper()
	p.asked = nil
	must(p.t, p.Visit(p.t.Context()))
	return p.asked
}

func (p *phoneOf) state() appState {
	p.t.Helper()
	s, err := p.store.load()
	must(p.t, err)
	return s
}

func (p *phoneOf) inventory() client.Inventory {
	p.t.Helper()
	i, err := p.Client.Inventory(p.t.Context(), p.ID)
	must(p.t, err)
	same(p.t, "server and device are in step", fmt.Sprint(i.Refs), fmt.Sprint(refsHeld(p.state())))
	return i
}

func (p *phoneOf) shelf() int {
	p.t.Helper()
	if counts := p.inventory().Counts; len(counts) > 0 {
		return counts[0].Available - len(p.inventory().LastResort)
	}
	return 0
}

func (s *served) adder(t *testing.T) *adder {
	return &adder{t, s.service().For("bob"), map[string]string{}}
}

// outcome is what became of the only Welcome of an adder.
func (a *adder) outcome() string {
	a.t.Helper()
	for id := range a.posted {
		o, err := a.client.Outcome(a.t.Context(), id)
		must(a.t, err)
		r := o.Recipients[0]
		return strings.TrimSpace(fmt.Sprintln(r.Status, r.Reason, r.Detail))
	}
	return "nothing was posted"
}

func TestADeviceFillsItsShelf(t *testing.T) {
	p := serve(t).phone(t)
	p.visit()
	same(t, "on the shelf", p.shelf(), 5)
	same(t, "last resorts", len(p.inventory().LastResort), 1)
}

// By default a device publishes before the server calls its stock low: otherwise each use of
// a KeyPackage would be one of a device that is low.
func TestADeviceFillsItsShelfBeforeItIsLow(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.service().For("bob")
	p.Low, p.High, p.Most = 0, 0, 0
	p.visit()
	same(t, "on the shelf", p.shelf(), 50)
	reserve := func(n int) client.Stock {
		for range n {
			_, err := bob.Reserve(t.Context(), client.Reserving{Users: []string{phone.User}})
			must(t, err)
		}
		claimed, err := p.Client.Claim(t.Context(), phone, client.Claiming{})
		must(t, err)
		p.visit()
		return claimed.Stock
	}
	same(t, "low with 20", reserve(30).Low, false)
	same(t, "on the shelf", p.shelf(), 20)
	same(t, "low with 19", reserve(1).Low, false)
	same(t, "filled", p.shelf() >= 50, true)
}

// A visit at which nothing is to be done asks as much for any number of KeyPackages.
func TestALookAtTheShelfHasAConstantSize(t *testing.T) {
	p := serve(t).phone(t)
	p.visit()
	few := p.visit()
	p.Low, p.High, p.Most = 150, 150, 150
	p.visit()
	same(t, "on the shelf", p.shelf(), 150)
	if many := p.visit(); !slices.Equal(few, many) || len(few) != 3 {
		t.Errorf("asked %v, and with 150 KeyPackages %v", few, many)
	}
}

// The key store was lost: what it had is withdrawn, so that nobody uses it, and the adder of
// the Welcome that waits is told.
func TestADeviceThatHasLostItsKeys(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	bob.add("join")
	old := refsHeld(p.state())
	p.store.path += ".new"
	p.Device = p.store.device(p.Client)
	p.visit()
	same(t, "on the shelf", p.shelf(), 5)
	for _, ref := range refsHeld(p.state()) {
		if slices.Contains(old, ref) {
			t.Errorf("%s is still there", ref)
		}
	}
	same(t, "outcome", bob.outcome(), "rejected no_matching_key_package")
}

// Private keys that the server does not know of are published, and those that it needs no
// more are deleted.
func TestServerAndKeyStoreAreBroughtInStep(t *testing.T) {
	s := serve(t)
	p := s.phone(t)
	p.visit()
	_, err := p.store.Make(t.Context(), client.Order{Count: 2, CipherSuite: 1, RestoreEpoch: p.inventoryEpoch()})
	must(t, err)
	p.visit()
	same(t, "on the shelf", p.shelf(), 7)
	keys := p.state().Keys
	refs := refsHeld(p.state())
	usedOnce := refs[slices.IndexFunc(refs, func(ref string) bool { return !keys[ref].LastResort })] // it makes another last resort
	must(t, p.Client.Withdraw(t.Context(), phone, usedOnce))
	p.visit()
	p.inventory()
	same(t, "held", len(p.state().Keys), 7)
}

func (p *phoneOf) inventoryEpoch() string { return p.inventory().RestoreEpoch }

// What the server refuses for good is deleted, and keeps nothing else from the shelf.
func TestAKeyPackageThatIsRefused(t *testing.T) {
	p := serve(t).phone(t)
	p.visit()
	bad := signer.KeyPackage(mlstest.WithLifetime(1, 2))
	must(t, p.store.change("make", func(s *appState) {
		s.Keys[refOf(bad)] = client.HeldKeyPackage{Ref: refOf(bad), CipherSuite: 1, Bytes: bad}
		good := signer.KeyPackage()
		s.Keys[refOf(good)] = client.HeldKeyPackage{Ref: refOf(good), CipherSuite: 1, Bytes: good}
	}))
	p.visit()
	same(t, "on the shelf", p.shelf(), 6)
	p.store.path += ".wrong"
	must(t, p.store.change("make", func(s *appState) {
		s.Keys["ab"] = client.HeldKeyPackage{Ref: "ab", CipherSuite: 1, Bytes: signer.KeyPackage()}
	}))
	if err := p.Visit(t.Context()); err == nil {
		t.Error("a ref that is none was not noticed")
	}
}

// There is room for fewer than are wanted: those that do not fit are not kept.
func TestAShelfThatIsSmall(t *testing.T) {
	p := serve(t, func(o *server.Options) {}).phone(t)
	p.Low, p.High, p.Most = 5, 600, 600
	p.visit()
	same(t, "on the shelf", p.shelf(), 500)
	same(t, "held", len(p.state().Keys), 501)
}

// The faster KeyPackages are used, the more are kept.
func TestTheShelfFollowsTheUse(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	made := func(ago time.Duration) {
		must(t, p.store.change("make", func(s *appState) {
			for ref, k := range s.Keys {
				k.MadeAt = time.Now().Add(-ago)
				s.Keys[ref] = k
			}
		}))
	}
	for _, row := range []struct {
		what string
		ago  time.Duration // when the shelf was filled, from which 3 were used since
		want int
	}{
		{"in ten weeks", 10 * 7 * 24 * time.Hour, 5},
		{"in three days", 3 * 24 * time.Hour, 14},
		{"in an hour", time.Hour, 20},
	} {
		for p.shelf() > 2 {
			bob.add("join")
			must(t, p.Client.Acknowledge(t.Context(), phone, p.claimed(), ""))
		}
		made(row.ago)
		same(t, "left "+row.what, p.shelf(), 2)
		p.Device = p.store.device(p.Client) // another process
		p.visit()
		same(t, "on the shelf after "+row.what, p.shelf(), row.want)
		for p.shelf() > 5 {
			bob.add("join")
			must(t, p.Client.Acknowledge(t.Context(), phone, p.claimed(), ""))
		}
	}
}

// claimed claims one Welcome past the device, and joins with it.
func (p *phoneOf) claimed() string {
	p.t.Helper()
	c, err := p.Client.Claim(p.t.Context(), p.ID, client.Claiming{})
	must(p.t, err)
	must(p.t, p.store.Join(p.t.Context(), c.Welcomes[0]))
	return c.Welcomes[0].ID
}

// A last resort that was handed out is replaced, and its key is kept: another Welcome may
// come for it.
func TestALastResortIsReplaced(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.LastResortOnly = true
	p.visit()
	first := refsHeld(p.state())
	for range 3 {
		bob.add("join")
		p.visit()
	}
	must(t, p.store.check(bob.posted, func(id string) (client.Outcome, error) { return bob.client.Outcome(t.Context(), id) }))
	if now := refsHeld(p.state()); len(now) != 4 || !slices.Contains(now, first[0]) {
		t.Errorf("held: %v, at first %v", now, first)
	}
	same(t, "fresh ones", len(p.inventory().LastResort), 1)
}

func TestWhatTheAdderIsTold(t *testing.T) {
	for does, want := range map[string]string{
		"join":    "acknowledged",
		declines:  "rejected declined not this one",
		laterOnce: "acknowledged",
	} {
		s := serve(t)
		p, bob := s.phone(t), s.adder(t)
		p.visit()
		bob.add(does)
		if err := p.Visit(t.Context()); (err != nil) != (does == laterOnce) {
			t.Errorf("%s: %v", does, err)
		}
		p.visit()
		same(t, does, bob.outcome(), want)
		p.inventory()
	}
}

// Another process of the app joins between the look-up and the attempt, which then finds no
// private key. The Welcome is not rejected.
func TestAnotherProcessIsFaster(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	bob.add("join")
	p.Join = func(ctx context.Context, w client.Welcome) error {
		must(t, p.store.Join(ctx, w))
		return &client.CannotJoin{Reason: client.ReasonNoMatchingKeyPackage}
	}
	p.visit()
	same(t, "outcome", bob.outcome(), "acknowledged")
}

// A key store that cannot be read is no lost key.
func TestAStoreThatCannotBeRead(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	bob.add("join")
	path := p.store.path
	p.store.path = filepath.Dir(path)
	if err := p.Visit(t.Context()); err == nil {
		t.Error("no error")
	}
	same(t, "outcome", bob.outcome(), "delivered")
	p.store.path = path
	p.visit()
	same(t, "outcome", bob.outcome(), "acknowledged")
}

func TestALargeRatchetTreeIsFetched(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	r, err := bob.client.Reserve(t.Context(), client.Reserving{Users: []string{"alice"}})
	must(t, err)
	tree := make([]byte, 100_000)
	_, err = bob.client.Post(t.Context(), client.Posting{Welcome: mlstest.WelcomeFor(r.KeyPackages()[0].Bytes), RatchetTree: tree})
	must(t, err)
	got := 0
	p.Join = func(_ context.Context, w client.Welcome) error {
		got = len(w.RatchetTree)
		return nil
	}
	p.visit()
	same(t, "tree", got, len(tree))
}

// Two installations under one id withdraw each other's KeyPackages. The one that knows that
// it has lost nothing says so.
func TestAnotherInstallationUsesTheID(t *testing.T) {
	s := serve(t)
	p, q := s.phone(t), s.phone(t)
	p.visit()
	q.visit() // may be the same one after a loss
	if err := p.Visit(t.Context()); !errors.Is(err, client.ErrShared) {
		t.Errorf("%v", err)
	}
}

// The operator puts a backup in place that knows nothing of the last KeyPackages. They are
// handed out to nobody any more, but their keys are kept, and new ones are made.
func TestAfterTheServerWasRestored(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.Most = 5
	p.visit()
	var backup []byte
	s.copied(func() {
		var err error
		backup, err = os.ReadFile(s.file)
		must(t, err)
	})
	p.Client.URL, bob.client.URL = s.url, s.url
	for range 3 {
		bob.add("join")
		p.visit()
	}
	before := refsHeld(p.state())
	s.copied(func() {
		must(t, os.WriteFile(s.file, backup, 0o600))
		must(t, bolt.MarkRestored(t.Context(), s.file))
	})
	p.Client.URL, bob.client.URL = s.url, s.url
	p.visit()
	same(t, "on the shelf", p.shelf(), 5)
	for _, ref := range before {
		if !slices.Contains(refsHeld(p.state()), ref) {
			t.Errorf("the key of %s is gone", ref)
		}
	}
	bob.posted = map[string]string{}
	bob.add("join")
	p.visit()
	same(t, "outcome", bob.outcome(), "acknowledged")
}

// running runs a device and returns the Welcomes that it joins with, and what Run returned.
func (p *phoneOf) running(ctx context.Context) (joined <-chan string, ended <-chan error) {
	ids, end := make(chan string, 10), make(chan error, 1)
	p.Join = func(ctx context.Context, w client.Welcome) error {
		err := p.store.Join(ctx, w)
		if err == nil {
			ids <- w.ID
		}
		return err
	}
	go func() { end <- p.Run(ctx) }()
	return ids, end
}

const patience = 30 * time.Second

func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// Run joins as Welcomes come, although something on the way ends each request after a while,
// as proxies do.
func TestRunThroughAProxyThatCutsOff(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	p.visit()
	const cut = 300 * time.Millisecond
	waits := make(chan string, 1000)
	p.Client.HTTP = through(func(r *http.Request) (*http.Response, error) {
		ctx, cancel := context.WithTimeout(r.Context(), cut)
		resp, err := http.DefaultTransport.RoundTrip(r.WithContext(ctx))
		if r.URL.Query().Has("wait") {
			waits <- r.URL.Query().Get("wait")
		}
		if errors.Is(err, context.DeadlineExceeded) && r.Context().Err() == nil {
			resp, err = &http.Response{StatusCode: 504, Header: http.Header{}, Body: http.NoBody}, nil
		}
		if err != nil {
			cancel()
			return nil, err
		}
		resp.Body = &closing{resp.Body, cancel}
		return resp, nil
	})
	p.Wait = time.Second
	ctx, stop := context.WithCancel(t.Context())
	joined, ended := p.running(ctx)
	same(t, "first wait", wait(t, "the first wait", waits), "1s")
	if second, err := time.ParseDuration(wait(t, "the second wait", waits)); err != nil || second >= p.Wait {
		t.Errorf("then it waits %s", second)
	}
	for range 3 {
		bob.add("join")
		wait(t, "a Welcome", joined)
	}
	stop()
	if err := wait(t, "the end", ended); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type closing struct {
	io.ReadCloser
	cancel func()
}

func (c *closing) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}

// Run goes on when the server is away, and ends when its token does.
func TestRunEndsWithItsToken(t *testing.T) {
	s := serve(t)
	p, bob := s.phone(t), s.adder(t)
	token, err := s.service().CreateToken(t.Context(), phone, client.NewToken{})
	must(t, err)
	p.Client.OnBehalfOf, p.Client.Token = "", client.StaticToken(token.Token)
	var asked atomic.Int64
	p.Client.HTTP = through(func(r *http.Request) (*http.Response, error) {
		if asked.Add(1) < 7 {
			return nil, errors.New("the server is away")
		}
		return http.DefaultTransport.RoundTrip(r)
	})
	p.Client.Pausing(func(time.Duration) {})
	filled := make(chan string, 1000)
	p.store.at = func(point string) { filled <- point }
	joined, ended := p.running(t.Context())
	for wait(t, "KeyPackages", filled) != "make: saved" {
	}
	for len(bob.posted) == 0 {
		bob.add("join") // once they are published
	}
	wait(t, "a Welcome", joined)
	must(t, s.service().RevokeToken(t.Context(), phone, token.ID))
	same(t, "code", client.CodeOf(wait(t, "the end", ended)), client.CodeInvalidToken)
}

// A claim that waits is repeated by Run itself, which waits as the server asks.
func TestRunWaitsAsTheServerAsks(t *testing.T) {
	s := serve(t)
	p := s.phone(t)
	p.visit()
	pauses := make(chan time.Duration, 100)
	p.Client.Pausing(func(d time.Duration) { pauses <- d })
	busy := &script{answers: []string{"503 shutting_down 7", "401 unauthenticated"}}
	p.Client.HTTP = through(withoutEvents(func(r *http.Request) (*http.Response, error) {
		if r.URL.Query().Has("wait") || len(busy.requests) > 0 {
			return busy.RoundTrip(r)
		}
		return http.DefaultTransport.RoundTrip(r)
	}))
	_, ended := p.running(t.Context())
	same(t, "the end", client.CodeOf(wait(t, "the end", ended)), client.CodeUnauthenticated)
	if d := wait(t, "a pause", pauses); d < 7*time.Second || d > 11*time.Second {
		t.Errorf("paused %s", d)
	}
}

func TestADeviceThatIsNotWhole(t *testing.T) {
	if err := new(client.Device).Run(t.Context()); err == nil {
		t.Error("no error")
	}
}

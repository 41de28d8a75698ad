package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
)

// rested returns a party that may fetch keys again.
func rested(t testing.TB, i *issuer) *party {
	t.Helper()
	p := meet(t, i, nil)
	p.clock.advance(remote.most)
	return p
}

func (p *party) expect(t testing.TB, sentence string, key testKey, want error) {
	t.Helper()
	if err := p.try(key); !errors.Is(err, want) || want == nil && err != nil {
		t.Errorf("%s: %v, want %v", sentence, err, want)
	}
}

func TestANewKeyIsFetchedForTheFirstTokenThatNamesIt(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	p.publish(rsaKey(), es256Key())
	p.expect(t, "the new key", es256Key(), nil)
	p.expect(t, "the new key again", es256Key(), nil)
	p.expect(t, "the old key", rsaKey(), nil)
	if n := p.fetches(); n != 2 {
		t.Errorf("%d fetches, want one at the start and one for the new key", n)
	}
}

func TestAWithdrawnKeyStopsWorkingWithTheNextRefresh(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey(), es256Key()), nil)
	remembered := p.draft(rsaKey()).token()
	p.expect(t, "before", rsaKey(), nil)
	if _, err := p.Authenticate(context.Background(), remembered); err != nil {
		t.Fatal(err)
	}
	p.publish(es256Key())
	p.expect(t, "withdrawn, which nobody knows yet", rsaKey(), nil)
	p.regularly()
	p.expect(t, "a new token of the withdrawn key", rsaKey(), ErrInvalid)
	if _, err := p.Authenticate(context.Background(), remembered); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token that was valid before: %v", err)
	}
	p.expect(t, "the key that stayed", es256Key(), nil)
	p.publish()
	p.regularly()
	p.expect(t, "all keys were withdrawn", es256Key(), ErrInvalid)
}

func TestTokensAreRememberedWhileTheKeysStayTheSame(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey()), nil)
	before := p.oidc.keys.current.Load()
	p.regularly()
	if p.fetches() != 2 || p.oidc.keys.current.Load() != before {
		t.Errorf("%d fetches, and the same keys count as new", p.fetches())
	}
}

func TestARememberedTokenExpires(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey()), nil)
	d := p.draft(rsaKey())
	d.claims["nbf"] = d.at(0)
	token := d.token()
	for _, row := range []struct {
		sentence string
		at       int64
		want     string
	}{
		{"as long as it is valid", 0, ""},
		{"to the end of the leeway", 330, ""},
		{"a second later", 331, "it expired"},
		{"on a clock that was set back", -31, "not valid yet"},
	} {
		p.clock.set(d.at(row.at))
		i, err := p.Authenticate(context.Background(), token)
		checkRefusal(t, row.sentence, i, err, row.want)
	}
}

func TestRememberedTokensAreBounded(t *testing.T) {
	v := newVerifiedTokens()
	keys := &keySet{}
	hash := func(n int) (h tokenHash) {
		copy(h[:], fmt.Sprint(n))
		return h
	}
	for n := range 3 * maxVerified {
		v.add(hash(n), verifiedToken{keys: keys})
		if _, ok := v.get(hash(0), keys); !ok {
			t.Fatalf("the token that is used all the time is forgotten after %d others", n)
		}
		if v.byHash.Len() > maxVerified {
			t.Fatalf("%d are remembered", v.byHash.Len())
		}
	}
	if _, ok := v.get(hash(1), keys); ok {
		t.Error("a token that is not used is remembered for ever")
	}
	if _, ok := v.get(hash(0), &keySet{}); ok {
		t.Error("a token is believed although the keys changed")
	}
}

func TestAFloodOfUnknownKeysIsNotPassedOnToTheIssuer(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	flood := func() {
		var strangers sync.WaitGroup
		for stranger := range 20 {
			strangers.Go(func() {
				for n := range 100 {
					p.expect(t, "junk", edKey().named(fmt.Sprint(stranger, "/", n)), ErrInvalid)
				}
			})
		}
		p.expect(t, "the known key meanwhile", rsaKey(), nil)
		strangers.Wait()
	}
	for n := range 3 {
		flood()
		if got := p.fetches(); got != 2+n {
			t.Errorf("%d fetches after flood %d, want one for each", got, n+1)
		}
		p.clock.advance(remote.most)
	}
	p.publish(rsaKey(), es256Key())
	p.expect(t, "a new key after the floods", es256Key(), nil)
}

func TestTokensThatNoKeyWouldMakeValidCostNoFetch(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	for _, change := range []func(*draft){
		func(d *draft) { d.claims["iss"] = "https://evil.example" },
		func(d *draft) { d.claims["aud"] = "other" },
		func(d *draft) { d.claims["exp"] = d.at(-31) },
		func(d *draft) { d.header["alg"] = "HS256" },
	} {
		d := p.draft(rsaKey().named("unknown"))
		change(d)
		if _, err := p.Authenticate(context.Background(), d.token()); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	if n := p.fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestASlowIssuerHoldsUpOnlyTokensWithNewKeys(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	p.publish(rsaKey(), es256Key())
	release := make(chan struct{})
	p.set(func() { p.held = release })
	answers := make(chan error, 2)
	for range 2 {
		go func() { answers <- p.try(es256Key()) }()
	}
	<-p.arrived
	p.expect(t, "the known key", rsaKey(), nil)
	select {
	case err := <-answers:
		t.Fatalf("answered without the key: %v", err)
	default:
	}
	close(release)
	for range 2 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := p.fetches(); n != 2 {
		t.Errorf("%d fetches, want one for both who waited", n)
	}
}

func TestWhoWaitsForASlowIssuerIsToldInTheEnd(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	release := make(chan struct{})
	p.set(func() { p.held = release })
	answer := make(chan error, 1)
	go func() { answer <- p.try(es256Key()) }()
	<-p.arrived
	p.clock.wait(patience)
	p.clock.advance(patience)
	if err := <-answer; !errors.Is(err, ErrUnavailable) {
		t.Errorf("after %s: %v", patience, err)
	}
	running := p.oidc.keys.refresh()
	p.clock.advance(fetchTime - patience)
	<-running.done
	p.expect(t, "the issuer did not answer", es256Key(), ErrUnavailable)
	p.expect(t, "the known key", rsaKey(), nil)
	p.set(func() { p.held = nil })
	p.publish(es256Key())
	p.clock.advance(remote.most)
	p.expect(t, "the issuer answers again", es256Key(), nil)
}

func TestARequestThatIsGoneWaitsNoLonger(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	p.set(func() { p.held = make(chan struct{}) })
	ctx, cancel := context.WithCancel(context.Background())
	answer := make(chan error, 1)
	token := p.draft(es256Key()).token()
	go func() {
		_, err := p.Authenticate(ctx, token)
		answer <- err
	}()
	<-p.arrived
	cancel()
	if err := <-answer; !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

func TestOnlySoManyRequestsWait(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	p.set(func() { p.held = make(chan struct{}) })
	for range maxPatient {
		p.oidc.keys.patient <- struct{}{}
	}
	p.expect(t, "one more", es256Key(), ErrUnavailable)
	p.expect(t, "the known key", rsaKey(), nil)
}

func TestAnIssuerThatIsDownStopsOnlyNewKeys(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey()))
	p.set(func() { p.status = http.StatusBadGateway })
	p.publish(rsaKey(), es256Key())
	for range 10 {
		p.expect(t, "a new key", es256Key(), ErrUnavailable)
	}
	p.expect(t, "the known key", rsaKey(), nil)
	asked := p.asked()
	if asked > 3 { // two at the start
		t.Errorf("the issuer was asked %d times", asked)
	}
	p.clock.advance(remote.most)
	p.expect(t, "still down", es256Key(), ErrUnavailable)
	if n := p.log.count("cannot be fetched; the known keys still work"); n != 1 {
		t.Errorf("the log says %d times that it is down", n)
	}
	p.set(func() { p.status = http.StatusOK })
	p.clock.advance(remote.most)
	p.expect(t, "up again", es256Key(), nil)
	if n := p.log.count("can be fetched again"); n != 1 {
		t.Errorf("the log says %d times that it is up again", n)
	}
}

func TestAServerThatStartsBeforeItsIssuer(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	issuer.set(func() { issuer.status = http.StatusServiceUnavailable })
	p := meet(t, issuer, nil)
	p.expect(t, "no keys yet", rsaKey(), ErrUnavailable)
	if n := p.log.count("GET " + p.URL + "/.well-known/openid-configuration: the answer is 503"); n != 1 {
		t.Errorf("the log says %d times why there are none", n)
	}
	p.set(func() { p.status = http.StatusOK })
	p.regularly()
	p.expect(t, "the issuer is there", rsaKey(), nil)
	if n := p.fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

func TestNobodyListensAtTheIssuer(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	issuer.Close()
	p := meet(t, issuer, nil)
	p.expect(t, "no keys", rsaKey(), ErrUnavailable)
	if n := p.log.count("connection refused"); n != 1 {
		t.Errorf("the log says %d times why", n)
	}
}

func TestAnIssuerWithACertificateOfItsOwnMakingIsNotBelieved(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	secure := httptest.NewUnstartedServer(issuer)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	p := meet(t, issuer, func(o *OIDCOptions) { o.JWKS = secure.URL + "/keys" })
	p.expect(t, "a key from nobody knows whom", rsaKey(), ErrUnavailable)
	if n := p.log.count("failed to verify certificate"); n != 1 || p.fetches() != 0 {
		t.Errorf("the log says %d times why, and there were %d fetches", n, p.fetches())
	}
}

func TestASecretInTheAddressOfTheKeysIsNotLogged(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	issuer.set(func() { issuer.status = http.StatusForbidden })
	p := meet(t, issuer, func(o *OIDCOptions) { o.JWKS = issuer.URL + "/keys?code=s3cret" })
	issuer.set(func() { issuer.status, issuer.text = http.StatusOK, "no keys" })
	p.regularly()
	issuer.CloseClientConnections()
	issuer.Close()
	p.regularly()
	if p.log.count("/keys") < 3 || p.log.count("s3cret") > 0 {
		t.Errorf("the log:\n%s", p.log.text.String())
	}
}

func TestWhatAnIssuerMustNotSay(t *testing.T) {
	for _, row := range []struct {
		sentence string
		change   func(*issuer)
		want     string
	}{
		{"that it is another", func(i *issuer) { i.name = "https://id.example.com" },
			`says that it is "https://id.example.com": both have to be the same`},
		{"that its name has a slash more", func(i *issuer) { i.name = i.URL + "/" }, "both have to be the same"},
		{"that its keys come unprotected", func(i *issuer) { i.jwks = "http://id.example.com/keys" }, "from where they are not believed"},
		{"that its keys are in a file", func(i *issuer) { i.jwks = "file:///etc/passwd" }, "from where they are not believed"},
	} {
		issuer := newIssuer(t, rsaKey())
		issuer.set(func() { row.change(issuer) })
		if _, err := tryToMeet(t, issuer, nil); err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s, at the start: %v", row.sentence, err)
		}

		issuer = newIssuer(t, rsaKey())
		p := rested(t, issuer)
		issuer.set(func() { row.change(issuer) })
		p.expect(t, row.sentence+", later: a new key", es256Key(), ErrUnavailable)
		p.expect(t, row.sentence+", later: a known key", rsaKey(), nil)
	}
}

func TestAnswersThatAreNoKeysLeaveThoseThatAreKnown(t *testing.T) {
	for sentence, text := range map[string]string{
		"a page":               "<html>Sign in</html>",
		"null":                 "null",
		"an object":            "{}",
		"keys that are null":   `{"keys":null}`,
		"keys twice":           `{"keys":[],"keys":[]}`,
		"keys that are none":   `{"keys":"none"}`,
		"half of it":           `{"keys":[{"kty":"RSA"`,
		"brackets":             strings.Repeat("[", maxDocument),
		"more than is read":    `{"keys":[]}` + strings.Repeat(" ", maxDocument),
		"something after keys": `{"keys":[]}{"keys":[]}`,
	} {
		p := rested(t, newIssuer(t, rsaKey()))
		p.set(func() { p.text = text })
		p.expect(t, sentence+": a new key", es256Key(), ErrUnavailable)
		p.expect(t, sentence+": a known key", rsaKey(), nil)
	}
}

func TestKeysAtAURLNeedNoDiscovery(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey()), func(o *OIDCOptions) { o.JWKS = o.Issuer + "/keys" })
	p.expect(t, "a published key", rsaKey(), nil)
	if p.asked() != 1 {
		t.Errorf("the issuer was asked %d times", p.asked())
	}
}

func TestAnIssuerThatOnlyHasAName(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	p := meet(t, issuer, func(o *OIDCOptions) { o.Issuer, o.JWKS = "our accounts", issuer.URL+"/keys" })
	d := p.draft(rsaKey())
	d.claims["iss"] = "our accounts"
	if _, err := p.Authenticate(context.Background(), d.token()); err != nil {
		t.Error(err)
	}
}

func TestRedirects(t *testing.T) {
	for _, row := range []struct {
		from, to string
		allowed  bool
	}{
		{"https://id.example.com/a", "https://login.example.com/b", true},
		{"https://id.example.com/a", "http://id.example.com/a", false},
		{"https://id.example.com/a", "http://127.0.0.1:9421/", false},
		{"https://id.example.com/a", "file:///etc/passwd", false},
		{"http://127.0.0.1:1/a", "http://[::1]:2/b", true},
		{"http://127.0.0.1:1/a", "http://id.example.com/b", false},
	} {
		from, to := httptest.NewRequest("GET", row.from, nil), httptest.NewRequest("GET", "/", nil)
		to.URL = must(to.URL.Parse(row.to))
		if err := checkRedirect(to, []*http.Request{from}); (err == nil) != row.allowed {
			t.Errorf("%s to %s: %v", row.from, row.to, err)
		}
	}
	there := newIssuer(t, rsaKey())
	loop := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }))
	defer loop.Close()
	away := httptest.NewServer(http.RedirectHandler("http://id.example.invalid/keys", http.StatusFound))
	defer away.Close()
	moved := httptest.NewServer(http.RedirectHandler(there.URL+"/keys", http.StatusFound))
	defer moved.Close()
	for address, want := range map[string]string{
		moved.URL: "", away.URL: "redirects to where it is not believed", loop.URL: "redirects too often",
	} {
		p := meet(t, there, func(o *OIDCOptions) { o.JWKS = address })
		if want == "" {
			p.expect(t, "moved", rsaKey(), nil)
		} else if p.log.count(want) != 1 {
			t.Errorf("the log does not say that %s", want)
		}
	}
}

func TestAFileOfKeysIsReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(jwks(rsaKey()))
	p := meet(t, newIssuer(t), func(o *OIDCOptions) { o.JWKS = file })
	p.expect(t, "the key in the file", rsaKey(), nil)
	write(jwks(es256Key()))
	p.regularly()
	p.expect(t, "the key that was in it", rsaKey(), ErrInvalid)
	p.expect(t, "the key that is in it now", es256Key(), nil)

	write(jwks(es256Key())[:50])
	p.regularly()
	p.regularly()
	p.expect(t, "the key that was in it before it broke", es256Key(), nil)
	if n := p.log.count("not a JWK Set"); n != 1 {
		t.Errorf("the log says %d times that the file is broken", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p.regularly()
	p.expect(t, "the key that was in it before it was gone", es256Key(), nil)
	p.expect(t, "a key that may be in it again", edKey(), ErrUnavailable)
	write(jwks(edKey()))
	p.regularly()
	p.expect(t, "the file is there again", edKey(), nil)
	if p.log.count("can be fetched again") != 1 || p.asked() != 0 {
		t.Errorf("the issuer was asked %d times:\n%s", p.asked(), p.log.text.String())
	}
}

func TestAFileThatCannotBeMeantIsRefusedAtTheStart(t *testing.T) {
	for text, want := range map[string]string{
		"":            "not a JWK Set",
		`{"keys":[]}`: "none can check a token",
		`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`: "number 1: not a public key",
	} {
		file := filepath.Join(t.TempDir(), "keys.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := tryToMeet(t, newIssuer(t), func(o *OIDCOptions) { o.JWKS = file })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestKeysThatCannotBeUsedAreLeftOut(t *testing.T) {
	private := rsaKey().named("private").jwk()
	encoded := string(must(jose.JSONWebKey{Key: edKey().private, KeyID: "private"}.MarshalJSON()))
	encryption := otherRSAKey().named("encryption").jwk()
	encryption["use"] = "enc"
	private["n"] = "AQAB"
	set := must(parseKeys([]byte(fmt.Sprintf(`{"keys":[%s,%s,%s,%s,%s,%s,%s,"x",7,%s]}`,
		text(encryption), text(private), text(newRSA("short", 1024).jwk()), encoded,
		`{"kty":"oct","k":"c2VjcmV0"}`, `{"kty":"OKP","crv":"X25519","x":"AAAA"}`, `{"kty":"new"}`, text(rsaKey().jwk())))))
	if len(set.keys) != 1 || set.keys[0].KeyID != "rsa" {
		t.Errorf("%d keys are used", len(set.keys))
	}
	if len(set.skipped) != 8 { // the one for encryption is in its place
		t.Errorf("skipped:\n%s", strings.Join(set.skipped, "\n"))
	}
}

func TestTokensWithoutAKid(t *testing.T) {
	p := rested(t, newIssuer(t, rsaKey().named("")))
	p.expect(t, "the only key", rsaKey().named(""), nil)
	p.expect(t, "a kid although the key has none", rsaKey(), ErrInvalid)
	p.publish(otherRSAKey().named(""))
	p.clock.advance(remote.most)
	p.expect(t, "the key that took its place", otherRSAKey().named(""), nil)
	p.expect(t, "the key that was there", rsaKey().named(""), ErrInvalid)
	p.publish(rsaKey(), otherRSAKey())
	p.regularly()
	checkRefusal(t, "one of two", Identity{}, p.try(rsaKey().named("")), "names no key")
}

func TestTwoKeysWithOneKid(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey().named("k"), es256Key().named("k"), otherRSAKey().named("k")), nil)
	for _, key := range []testKey{rsaKey(), es256Key(), otherRSAKey()} {
		p.expect(t, key.kid, key.named("k"), nil)
	}
	p.expect(t, "a key that is neither", edKey().named("k"), ErrInvalid)
}

func TestNothingIsFetchedAfterTheEnd(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	ctx, cancel := context.WithCancel(context.Background())
	clock := newSteppedClock()
	o := must(newOIDC(ctx, optionsFor(issuer), clock.clock()))
	clock.wait(remote.regular)
	cancel()
	clock.advance(remote.regular)
	<-o.keys.refresh().done
	if n := issuer.fetches(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

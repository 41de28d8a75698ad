package auth

import (
	"context"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"welcomed/delivery"
)

// drafts are told apart by the words of the refusal, because all refusals are
// ErrInvalid or ErrBadSubject, and a token that is refused for something else proves
// nothing.
var drafts = []struct {
	sentence string
	change   func(*draft)
	want     string // words of the refusal; empty: alice
}{
	{"a plain token is alice's", func(d *draft) {}, ""},
	{"the audience may be a list", func(d *draft) { d.claims["aud"] = []string{"other", "welcomed"} }, ""},
	{"any of the audiences is enough", func(d *draft) { d.claims["aud"] = "elsewhere" }, ""},
	{"another issuer's token", func(d *draft) { d.claims["iss"] = "https://evil.example" }, "another issuer"},
	{"the issuer with a slash more", func(d *draft) { d.claims["iss"] = d.claims["iss"].(string) + "/" }, "another issuer"},
	{"the issuer in capitals", func(d *draft) { d.claims["iss"] = strings.ToUpper(d.claims["iss"].(string)) }, "another issuer"},
	{"no issuer", func(d *draft) { delete(d.claims, "iss") }, "another issuer"},
	{"two issuers", func(d *draft) { d.claims["iss"] = []any{d.claims["iss"]} }, "wrong type"},
	{"another audience", func(d *draft) { d.claims["aud"] = "other" }, "another audience"},
	{"a list of other audiences", func(d *draft) { d.claims["aud"] = []string{"welcomed2", "Welcomed"} }, "another audience"},
	{"an empty list of audiences", func(d *draft) { d.claims["aud"] = []string{} }, "another audience"},
	{"no audience", func(d *draft) { delete(d.claims, "aud") }, "another audience"},
	{"an audience that is null", func(d *draft) { d.claims["aud"] = nil }, "wrong type"},
	{"an audience that is an object", func(d *draft) { d.claims["aud"] = map[string]any{"welcomed": true} }, "wrong type"},

	{"expired long ago", func(d *draft) { d.claims["exp"] = d.at(-3600) }, "it expired at 2026-12-31T23:00:00Z"},
	{"expired thirty seconds ago, which the leeway allows", func(d *draft) { d.claims["exp"] = d.at(-30) }, ""},
	{"expired a second before that", func(d *draft) { d.claims["exp"] = d.at(-31) }, "it expired"},
	{"valid for ever", func(d *draft) { delete(d.claims, "exp") }, "no exp"},
	{"exp null", func(d *draft) { d.claims["exp"] = nil }, "no exp"},
	{"exp in words", func(d *draft) { d.claims["exp"] = "tomorrow" }, "wrong type"},
	{"exp a number in a string", func(d *draft) { d.claims["exp"] = "1900000000" }, "wrong type"},
	{"exp a boolean", func(d *draft) { d.claims["exp"] = true }, "wrong type"},
	{"exp beyond what 64 bits hold", func(d *draft) { d.claims["exp"] = 1e30 }, "wrong type"},
	{"exp beyond the year 9999", func(d *draft) { d.claims["exp"] = int64(lastTime) + 1 }, "not a time"},
	{"exp before 1970", func(d *draft) { d.claims["exp"] = -1 }, "not a time"},
	{"exp with a fraction", func(d *draft) { d.claims["exp"] = float64(d.at(100)) + 0.5 }, ""},
	{"valid from now", func(d *draft) { d.claims["nbf"] = d.at(0) }, ""},
	{"valid in thirty seconds, which the leeway allows", func(d *draft) { d.claims["nbf"] = d.at(30) }, ""},
	{"valid a second after that", func(d *draft) { d.claims["nbf"] = d.at(31) }, "not valid yet"},
	{"nbf in words", func(d *draft) { d.claims["nbf"] = "now" }, "wrong type"},
	{"issued thirty seconds ahead, which the leeway allows", func(d *draft) { d.claims["iat"] = d.at(30) }, ""},
	{"issued a second after that", func(d *draft) { d.claims["iat"] = d.at(31) }, "not valid yet"},
	{"issued at no time", func(d *draft) { d.claims["iat"] = []int{1} }, "wrong type"},

	{"the type of an access token", func(d *draft) { d.header["typ"] = "at+jwt" }, ""},
	{"the type of an access token, in full", func(d *draft) { d.header["typ"] = "application/AT+JWT" }, ""},
	{"no type", func(d *draft) { delete(d.header, "typ") }, ""},
	{"a logout token by its type", func(d *draft) { d.header["typ"] = "logout+jwt" }, "neither JWT nor at+jwt"},
	{"a DPoP proof", func(d *draft) { d.header["typ"] = "dpop+jwt" }, "neither JWT nor at+jwt"},
	{"a type that is no string", func(d *draft) { d.header["typ"] = 7 }, "neither JWT nor at+jwt"},
	{"a logout token by its events", func(d *draft) { d.claims["events"] = map[string]any{} }, "tells of an event"},

	{"a key that nobody published", func(d *draft) { d.header["kid"] = "nobody" }, "does not publish"},
	{"another's signature under a published kid", func(d *draft) { d.key = otherRSAKey().named("rsa") }, "signature is wrong"},
	{"an ES256 signature under an RSA key's kid", func(d *draft) { d.key, d.header["alg"] = es256Key(), "ES256" }, "signature is wrong"},
	{"an RSA signature under an EC key's kid", func(d *draft) { d.header["kid"] = "p256" }, "signature is wrong"},
	{"PS256 by an RSA key is allowed too", func(d *draft) { d.key.alg, d.header["alg"] = "PS256", "PS256" }, ""},
	{"RS512 by an RSA key is allowed too", func(d *draft) { d.key.alg, d.header["alg"] = "RS512", "RS512" }, ""},
	{"RS256 that says it is PS256", func(d *draft) { d.header["alg"] = "PS256" }, "signature is wrong"},
	{"EdDSA that says it is RS256", func(d *draft) { d.key = edKey() }, "signature is wrong"},
	{"a kid that is no string", func(d *draft) { d.header["kid"] = []string{"rsa"} }, "not a signed JWT"},
	{"no kid where there are several keys, one of each kind", func(d *draft) { delete(d.header, "kid") }, ""},
	{"an algorithm in small letters", func(d *draft) { d.header["alg"] = "rs256" }, "not allowed"},
	{"no algorithm", func(d *draft) { delete(d.header, "alg") }, "not allowed"},
	{"a key of its own is not looked at", func(d *draft) { d.header["jwk"] = otherRSAKey().jwk() }, ""},
	{"a token signed with the key in its header", func(d *draft) {
		d.key = otherRSAKey()
		d.header["jwk"], d.header["kid"] = d.key.jwk(), "own"
	}, "does not publish"},
	{"a token whose header has a private key", func(d *draft) {
		jwk := otherRSAKey().jwk()
		jwk["d"] = "AQAB"
		d.header["jwk"] = jwk
	}, "not a signed JWT"},
	{"addresses of keys are not looked at", func(d *draft) {
		d.header["jku"], d.header["x5u"] = "http://127.0.0.1:1/keys", "http://127.0.0.1:1/chain"
	}, ""},
	{"a critical extension", func(d *draft) { d.header["crit"], d.header["exp"] = []string{"exp"}, 1 }, "needs an extension"},
	{"a critical extension that the library knows", func(d *draft) { d.header["crit"], d.header["b64"] = []string{"b64"}, true }, "needs an extension"},
	{"an empty list of critical extensions", func(d *draft) { d.header["crit"] = []string{} }, "needs an extension"},
	{"a payload that is not encoded", func(d *draft) { d.header["b64"] = false }, "not a signed JWT"},

	{"no user", func(d *draft) { delete(d.claims, "sub") }, "bad subject: it has no claim sub"},
	{"a user that is a number", func(d *draft) { d.claims["sub"] = 7 }, "wrong type"},
	{"a user that is empty", func(d *draft) { d.claims["sub"] = "" }, "bad subject: its claim sub does not name anybody here"},
	{"a user with a slash", func(d *draft) { d.claims["sub"] = "alice/phone" }, "bad subject: its claim sub does not name anybody here: bad identifier"},
	{"a user that leads upwards", func(d *draft) { d.claims["sub"] = ".." }, "bad subject: its claim sub does not name anybody here"},
	{"a user with a zero byte", func(d *draft) { d.claims["sub"] = "alice\x00" }, "bad subject: its claim sub does not name anybody here"},
	{"a user of 256 bytes", func(d *draft) { d.claims["sub"] = strings.Repeat("a", 256) }, "bad subject: its claim sub does not name anybody here"},
	{"a scope means nothing where none is configured", func(d *draft) { d.claims["scope"] = 7 }, ""},
}

// at returns the time that is so many seconds after the token was drafted.
func (d *draft) at(seconds int64) int64 { return d.claims["iat"].(int64) + 60 + seconds }

func TestJWTs(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey(), es256Key(), edKey()), nil)
	for _, row := range drafts {
		d := p.draft(rsaKey())
		row.change(d)
		i, err := p.Authenticate(context.Background(), d.token())
		checkRefusal(t, row.sentence, i, err, row.want)
		if row.want == "" && i.User != "alice" {
			t.Errorf("%s: %+v", row.sentence, i)
		}
	}
}

func checkRefusal(t *testing.T, sentence string, i Identity, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", sentence, err)
		}
		return
	}
	kind := ErrInvalid
	if strings.HasPrefix(want, ErrBadSubject.Error()) {
		kind = ErrBadSubject
	}
	if !errors.Is(err, kind) || errors.Is(err, delivery.ErrBadIdentifier) || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v; want %v: %s", sentence, err, kind, want)
	}
	if i != (Identity{}) {
		t.Errorf("%s: refused, and yet %+v", sentence, i)
	}
}

func TestEveryAlgorithmIsVerified(t *testing.T) {
	keys := []testKey{rsaKey(), es256Key(), edKey(),
		newEC("p384", "ES384", elliptic.P384()), newEC("p521", "ES512", elliptic.P521())}
	p := meet(t, newIssuer(t, keys...), nil)
	tried := map[string]bool{}
	for _, key := range keys {
		algorithms := []string{key.alg}
		if key.kid == "rsa" {
			algorithms = algorithmsOf(key.private.Public())
		}
		for _, alg := range algorithms {
			key.alg = alg
			tried[alg] = true
			if err := p.try(key); err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			text := p.draft(key).token()
			broken := text[:len(text)-10] + flip(text[len(text)-10:])
			i, err := p.Authenticate(context.Background(), broken)
			checkRefusal(t, alg+" with a wrong byte in the signature", i, err, "signature is wrong")
		}
	}
	for _, alg := range asymmetric() {
		if !tried[alg] {
			t.Errorf("%s was not tried", alg)
		}
	}
}

// flip changes the first letter.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

func TestOnlyTheAlgorithmsThatAreNamedAreAllowed(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey(), es256Key()), func(o *OIDCOptions) { o.Algorithms = []string{"ES256"} })
	if err := p.try(es256Key()); err != nil {
		t.Error(err)
	}
	checkRefusal(t, "RS256 by a published key", Identity{}, p.try(rsaKey()), "not allowed")
}

func TestAKeyOfOneAlgorithmSignsNoOther(t *testing.T) {
	issuer := newIssuer(t, rsaKey())
	issuer.set(func() { issuer.keys[0]["alg"] = "PS256" })
	checkRefusal(t, "RS256 by a key for PS256", Identity{}, meet(t, issuer, nil).try(rsaKey()), "signature is wrong")
}

// Nobody signed these, but whoever made them knew what is public.
func TestForgedTokens(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey()), nil)
	public := rsaKey().private.Public()
	der := must(x509.MarshalPKIXPublicKey(public))
	secrets := map[string][]byte{
		"the key's DER":  der,
		"the key's PEM":  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"the key's JWK":  must(json.Marshal(rsaKey().jwk())),
		"nothing at all": nil,
	}
	for sentence, secret := range secrets {
		d := p.draft(rsaKey())
		d.header["alg"] = "HS256"
		input := d.token()
		input = input[:strings.LastIndex(input, ".")]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		i, err := p.Authenticate(context.Background(), input+"."+base64url(mac.Sum(nil)))
		checkRefusal(t, "HS256 with "+sentence, i, err, "not allowed")
	}
	for _, none := range []string{"none", "None", "NONE", ""} {
		d := p.draft(rsaKey())
		d.header["alg"] = none
		text := d.token()
		for _, forged := range []string{text, text[:strings.LastIndex(text, ".")+1]} {
			i, err := p.Authenticate(context.Background(), forged)
			checkRefusal(t, "alg "+none, i, err, "not allowed")
		}
	}
}

func TestATokenThatIsTooLongIsNotLookedAt(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), nil)
	d := p.draft(edKey())
	d.claims["groups"] = strings.Repeat("a", maxToken*3/4-400)
	token := d.token()
	if _, err := p.Authenticate(context.Background(), token); err != nil || len(token) < maxToken-400 {
		t.Errorf("%d bytes: %v", len(token), err)
	}
	d.claims["groups"] = strings.Repeat("a", maxToken)
	i, err := p.Authenticate(context.Background(), d.token())
	checkRefusal(t, "signed, but too long", i, err, "longer than 16384 bytes")
}

func TestWhatIsNotAToken(t *testing.T) {
	p := meet(t, newIssuer(t, rsaKey()), nil)
	text := p.draft(rsaKey()).token()
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	twice := base64url([]byte(`{"alg":"RS256","kid":"rsa","kid":"other"}`))
	admin := base64url([]byte(`{"iss":"` + p.URL + `","aud":"welcomed","sub":"alice","sub":"admin","exp":1900000000}`))
	for sentence, token := range map[string]string{
		"nothing":                      "",
		"a dot":                        ".",
		"two dots":                     "..",
		"a word":                       "letmein",
		"bytes that are no text":       "\xff\x00\xfe",
		"a header alone":               header,
		"no signature":                 header + "." + payload,
		"an empty signature":           header + "." + payload + ".",
		"a signature that is cut":      text[:len(text)-1],
		"a signature with more":        text + "A",
		"four parts":                   text + "." + signature,
		"five parts, as if encrypted":  text + "." + signature + "." + signature,
		"the JSON form":                `{"protected":"` + header + `","payload":"` + payload + `","signature":"` + signature + `"}`,
		"padding":                      text + "=",
		"standard base64":              strings.NewReplacer("-", "+", "_", "/").Replace(text) + "+",
		"a space before":               " " + text,
		"a header that is no JSON":     base64url([]byte("alg: none")) + "." + payload + "." + signature,
		"a header that is a list":      base64url([]byte("[]")) + "." + payload + "." + signature,
		"a header that is null":        base64url([]byte("null")) + "." + payload + "." + signature,
		"a header with a member twice": twice + "." + payload + "." + signature,
		"claims with a member twice":   header + "." + admin + "." + signature,
		"claims that are a list":       header + "." + base64url([]byte(`["alice"]`)) + "." + signature,
		"claims that are null":         header + "." + base64url([]byte(`null`)) + "." + signature,
		"claims that are empty":        header + ".." + signature,
		"claims of somebody else":      header + "." + base64url([]byte(`{"iss":"`+p.URL+`","aud":"welcomed","sub":"bob","exp":1900000000}`)) + "." + signature,
		"deep nesting":                 header + "." + base64url([]byte(strings.Repeat("[", 11000))) + "." + signature,
	} {
		i, err := p.Authenticate(context.Background(), token)
		checkRefusal(t, sentence, i, err, "invalid token: ")
	}
	if n := p.fetches(); n != 1 {
		t.Errorf("the keys were fetched %d times, once at the start would do", n)
	}
}

func TestWhomATokenStandsFor(t *testing.T) {
	nobody := Identity{}
	for _, row := range []struct {
		sentence string
		options  func(*OIDCOptions)
		claims   map[string]any
		identity Identity
		want     string
	}{
		{"a user", nil, nil, Identity{User: "alice"}, ""},
		{"a user of another claim", func(o *OIDCOptions) { o.UserClaim = "email" },
			map[string]any{"email": "alice@example.com"}, Identity{User: "alice@example.com"}, ""},
		{"a user of a claim that is an URL", func(o *OIDCOptions) { o.UserClaim = "https://example.com/user.name" },
			map[string]any{"https://example.com/user.name": "al"}, Identity{User: "al"}, ""},
		{"a user in an object", func(o *OIDCOptions) { o.UserClaim = "ext.chat.user" },
			map[string]any{"ext": map[string]any{"chat": map[string]any{"user": "al"}}}, Identity{User: "al"}, ""},
		{"a path that leads nowhere", func(o *OIDCOptions) { o.UserClaim = "ext.chat.user" },
			map[string]any{"ext": "chat"}, nobody, "bad subject: it has no claim ext.chat.user"},
		{"a claim that is a number", func(o *OIDCOptions) { o.UserClaim = "uid" },
			map[string]any{"uid": 1000}, nobody, "bad subject: its claim uid is not a string"},
		{"a claim that is a list", func(o *OIDCOptions) { o.UserClaim = "uid" },
			map[string]any{"uid": []string{"alice"}}, nobody, "bad subject: its claim uid is not a string"},
		{"a user whose id an identity provider chose", nil, map[string]any{"sub": "auth0|5f7c"}, Identity{User: "auth0|5f7c"}, ""},
		{"a user whose address has an apostrophe", nil, map[string]any{"sub": "o'brien@example.org"}, Identity{User: "o'brien@example.org"}, ""},
		{"an encoded user", withEncoding, map[string]any{"sub": "a/b+c=="}, Identity{User: "YS9iK2M9PQ"}, ""},
		{"an encoded user who needs no encoding", withEncoding, map[string]any{"sub": "YS9iK2M9PQ"}, Identity{User: "WVM5aUsyTTlQUQ"}, ""},
		{"an encoded user whose name is the shortest bad one", withEncoding, map[string]any{"sub": "."}, Identity{User: "Lg"}, ""},
		{"the longest user that can be encoded", withEncoding, map[string]any{"sub": strings.Repeat("a", 191)}, Identity{User: delivery.UserID(strings.Repeat("YWFh", 63) + "YWE")}, ""},
		{"a user that is too long encoded", withEncoding, map[string]any{"sub": strings.Repeat("a", 192)}, nobody, "bad subject: its claim sub has no encoding"},
		{"an empty user, encoded", withEncoding, map[string]any{"sub": ""}, nobody, "bad subject: its claim sub has no encoding"},
		{"a device is not encoded", func(o *OIDCOptions) { withEncoding(o); withDevice(o) }, map[string]any{"device": "phone"}, Identity{User: "YWxpY2U", Device: "phone"}, ""},
		{"a service named by its subject is encoded", func(o *OIDCOptions) { withEncoding(o); withScope(o) }, map[string]any{"scope": "mls", "sub": "a/b"}, Identity{Service: "YS9i"}, ""},
		{"a device", withDevice, map[string]any{"device": "phone"}, Identity{User: "alice", Device: "phone"}, ""},
		{"no device where there has to be one", withDevice, nil, nobody, "bad subject: it has no claim device"},
		{"a device that is null", withDevice, map[string]any{"device": nil}, nobody, "bad subject: it has no claim device"},
		{"a device that is empty", withDevice, map[string]any{"device": ""}, nobody, "bad subject: its claim device does not name"},
		{"a device with a slash", withDevice, map[string]any{"device": "a/b"}, nobody, "bad subject: its claim device does not name"},
		{"a device that is a number", withDevice, map[string]any{"device": 3}, nobody, "bad subject: its claim device is not a string"},
		{"a device where none is configured", nil, map[string]any{"device": "phone"}, Identity{User: "alice"}, ""},
		{"a service by scope", withScope, map[string]any{"scope": "openid mls"}, Identity{Service: "alice"}, ""},
		{"a service by scp", withScope, map[string]any{"scp": []string{"openid", "mls"}}, Identity{Service: "alice"}, ""},
		{"a service by scp as text", withScope, map[string]any{"scp": "mls"}, Identity{Service: "alice"}, ""},
		{"a service by its client_id", withScope, map[string]any{"scope": "mls", "client_id": "app", "azp": "no"}, Identity{Service: "app"}, ""},
		{"a service by its azp", withScope, map[string]any{"scope": "mls", "azp": "app"}, Identity{Service: "app"}, ""},
		{"a service needs no device", func(o *OIDCOptions) { withScope(o); withDevice(o) }, map[string]any{"scope": "mls"}, Identity{Service: "alice"}, ""},
		{"a service whose name is none", withScope, map[string]any{"scope": "mls", "client_id": "a b"}, nobody, "bad subject: its claim client_id does not name"},
		{"a service whose name is a number", withScope, map[string]any{"scope": "mls", "azp": 5}, nobody, "bad subject: its claim azp is not a string"},
		{"another scope", withScope, map[string]any{"scope": "mls2 xmls mls:read MLS"}, Identity{User: "alice"}, ""},
		{"a list with another scope", withScope, map[string]any{"scp": []string{"openid mls"}}, Identity{User: "alice"}, ""},
		{"no scope", withScope, nil, Identity{User: "alice"}, ""},
		{"a scope that is a number", withScope, map[string]any{"scope": 1}, nobody, "claim scope is neither"},
		{"a scope that is an object", withScope, map[string]any{"scp": map[string]any{"mls": true}}, nobody, "claim scp is neither"},
		{"scopes that are numbers", withScope, map[string]any{"scp": []any{"openid", 1}}, nobody, "claim scp is neither"},
		{"the scope where none is configured", nil, map[string]any{"scope": "mls"}, Identity{User: "alice"}, ""},
	} {
		p := meet(t, newIssuer(t, edKey()), row.options)
		d := p.draft(edKey())
		for name, v := range row.claims {
			d.claims[name] = v
		}
		for range 2 { // the second one is remembered, if the first was accepted
			i, err := p.Authenticate(context.Background(), d.token())
			checkRefusal(t, row.sentence, i, err, row.want)
			want := row.identity
			if row.want == "" {
				want.IssuedAt, want.Expires = time.Unix(d.at(-60-30), 0), time.Unix(d.at(330), 0) // the leeway is 30 s
			}
			if i != want {
				t.Errorf("%s: %+v, want %+v", row.sentence, i, want)
			}
		}
	}
}

func withDevice(o *OIDCOptions)   { o.DeviceClaim = "device" }
func withEncoding(o *OIDCOptions) { o.UserEncoding = Base64URL }
func withScope(o *OIDCOptions)    { o.ServiceScope = "mls" }

// An issuer that names all users otherwise does not fill the log.
func TestASubjectThatIsNobodyIsLoggedOnceAMinute(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), nil)
	d := p.draft(edKey())
	d.claims["sub"] = "alice/phone"
	try := func(lines int) {
		t.Helper()
		for range 3 {
			if _, err := p.Authenticate(context.Background(), d.token()); !errors.Is(err, ErrBadSubject) {
				t.Fatal(err)
			}
		}
		if n := p.log.count("stands for nobody here"); n != lines {
			t.Errorf("%d lines, want %d", n, lines)
		}
	}
	try(1)
	p.clock.advance(badSubjectEvery - time.Second)
	try(1)
	p.clock.advance(time.Second)
	try(2)
}

// The issuer's clock may be ahead by the leeway: a token that it issued just before a
// device was removed must not count as issued since.
func TestATokenIsNotOfLaterThanItsIssuersClockMayBeAhead(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), withDevice)
	d := p.draft(edKey())
	d.claims["device"] = "phone"
	want := time.Unix(d.at(-5), 0)
	d.claims["iat"] = d.at(25)
	i, err := p.Authenticate(context.Background(), d.token())
	if err != nil || !i.IssuedAt.Equal(want) {
		t.Errorf("%+v, %v", i, err)
	}
}

// While the clock is not trusted, a token that has expired only by it, or that only
// by it is not valid yet, is neither refused nor let in.
func TestAClockThatIsNotTrustedEndsNoToken(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), nil)
	d := p.draft(edKey()) // valid for 300 s
	token, now := d.token(), time.Unix(d.at(0), 0)
	for _, row := range []struct {
		sentence  string
		sure, now time.Duration
		sweep     bool
		clock     bool // not trusted
		want      string
	}{
		{"valid by both times", 0, 0, true, false, ""},
		{"expired only in a future that is not trusted", 0, 1000 * 24 * time.Hour, false, true, ""},
		{"to the end of the leeway", 330 * time.Second, 1000 * 24 * time.Hour, false, true, ""},
		{"expired for certain", 331 * time.Second, 1000 * 24 * time.Hour, false, false, "it expired"},
		{"expired by a clock that is trusted", 331 * time.Second, 331 * time.Second, true, false, "it expired"},
		{"issued in the future of a clock that is behind", -2 * time.Hour, -2 * time.Hour, false, true, ""},
		{"issued in the future of a clock that is trusted", -2 * time.Hour, -2 * time.Hour, true, false, "not valid yet"},
	} {
		p.oidc.opts.Time = func() delivery.ClockReading {
			return delivery.ClockReading{Wall: now.Add(row.now), Now: now.Add(row.now), Sure: now.Add(row.sure), Sweep: row.sweep}
		}
		for range 2 { // the second one may be remembered
			i, err := p.Authenticate(context.Background(), token)
			if row.clock {
				if !errors.Is(err, delivery.ErrClock) || errors.Is(err, ErrInvalid) || i != (Identity{}) {
					t.Errorf("%s: %+v, %v", row.sentence, i, err)
				}
				continue
			}
			checkRefusal(t, row.sentence, i, err, row.want)
		}
	}
}

func TestATokenThatDoesNotSayWhenItWasIssued(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), nil)
	d := p.draft(edKey())
	delete(d.claims, "iat")
	i, err := p.Authenticate(context.Background(), d.token())
	if err != nil || !i.IssuedAt.IsZero() || i.Expires.IsZero() {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestOptionsThatCannotBeMeant(t *testing.T) {
	for _, row := range []struct {
		sentence string
		change   func(*OIDCOptions)
		want     string
	}{
		{"no issuer", func(o *OIDCOptions) { o.Issuer = "" }, "no issuer of tokens is named"},
		{"no audience", func(o *OIDCOptions) { o.Audience = nil }, "no audience is named"},
		{"an empty audience", func(o *OIDCOptions) { o.Audience = []string{"a", ""} }, "an audience is empty"},
		{"no user claim", func(o *OIDCOptions) { o.UserClaim = "" }, "no claim is named"},
		{"an encoding that nobody knows", func(o *OIDCOptions) { o.UserEncoding = "hex" }, "hex is not a known encoding"},
		{"no algorithm", func(o *OIDCOptions) { o.Algorithms = nil }, "no algorithm is allowed"},
		{"none", func(o *OIDCOptions) { o.Algorithms = []string{"RS256", "none"} }, "algorithm none would let everybody make tokens"},
		{"a symmetric one", func(o *OIDCOptions) { o.Algorithms = []string{"HS256"} }, "algorithm HS256 would let whoever can check tokens make them"},
		{"one that is none", func(o *OIDCOptions) { o.Algorithms = []string{"rs256"} }, "algorithm rs256 is not known"},
		{"a leeway that undoes expiry", func(o *OIDCOptions) { o.Leeway = time.Hour }, "a leeway of 1h0m0s is not between"},
		{"a leeway below nothing", func(o *OIDCOptions) { o.Leeway = -1 }, "is not between"},
		{"an issuer that others can speak for", func(o *OIDCOptions) { o.Issuer = "http://id.example.com" }, "not https"},
		{"an issuer that only looks like loopback", func(o *OIDCOptions) { o.Issuer = "http://127.0.0.1.example.com" }, "not https"},
		{"an issuer that is no URL", func(o *OIDCOptions) { o.Issuer = "id.example.com" }, "not a URL"},
		{"an issuer with a query", func(o *OIDCOptions) { o.Issuer = "https://id.example.com/?realm=a" }, "neither ? nor #"},
		{"an issuer with a password", func(o *OIDCOptions) { o.Issuer = "https://a:b@id.example.com" }, "a user in it"},
		{"keys that others can make", func(o *OIDCOptions) { o.JWKS = "http://id.example.com/keys" }, "not https"},
		{"keys by another protocol", func(o *OIDCOptions) { o.JWKS = "ftp://id.example.com/keys" }, "not https"},
		{"keys in a file that is not there", func(o *OIDCOptions) { o.JWKS = "no-such-file" }, "the keys in no-such-file: no such file"},
		{"keys in a directory", func(o *OIDCOptions) { o.JWKS = t.TempDir() }, "not a file"},
	} {
		opts := DefaultOIDCOptions()
		opts.Issuer, opts.Audience = "https://id.example.com", []string{"welcomed"}
		row.change(&opts)
		a, err := OIDC(context.Background(), opts)
		if err == nil || a != nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v; want one sentence: %s", row.sentence, err, row.want)
		}
	}
}

func TestTheDefaultsNeedOnlyAnIssuerAndAnAudience(t *testing.T) {
	opts := DefaultOIDCOptions()
	opts.Issuer, opts.Audience = "https://id.example.com", []string{"welcomed"}
	if err := opts.check(); err != nil {
		t.Error(err)
	}
	if !reflect.DeepEqual(opts.Algorithms, asymmetric()) || opts.Leeway != 30*time.Second || opts.UserClaim != "sub" {
		t.Errorf("%+v", opts)
	}
}

func TestAMemberTwiceIsRefusedAlthoughItIsSigned(t *testing.T) {
	p := meet(t, newIssuer(t, edKey()), nil)
	header, rest := `{"alg":"EdDSA","kid":"ed"}`, `{"iss":"`+p.URL+`","aud":"welcomed","exp":1900000000,"sub":"alice"`
	for _, row := range []struct{ sentence, header, claims, want string }{
		{"each once", header, rest + "}", ""},
		{"a user twice", header, rest + `,"sub":"admin"}`, "JSON object"},
		{"exp twice", header, rest + `,"exp":1}`, "JSON object"},
		{"a claim of no interest twice, deep inside", header, rest + `,"a":{"b":[{"c":1,"c":2}]}}`, "JSON object"},
		{"kid twice", `{"alg":"EdDSA","kid":"other","kid":"ed"}`, rest + "}", "not a signed JWT"},
		{"a user in capitals is another claim", header, rest + `,"SUB":"admin"}`, ""},
		{"something after the claims", header, rest + `}{}`, "JSON object"},
	} {
		input := base64url([]byte(row.header)) + "." + base64url([]byte(row.claims))
		i, err := p.Authenticate(context.Background(), input+"."+base64url(edKey().sign("EdDSA", input)))
		checkRefusal(t, row.sentence, i, err, row.want)
		if row.want == "" && i.User != "alice" {
			t.Errorf("%s: %+v", row.sentence, i)
		}
	}
}

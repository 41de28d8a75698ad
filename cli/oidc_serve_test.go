package cli

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"welcomed/mls/mlstest"
)

// An issuer has the keys in a file.
type issuer struct {
	t    *testing.T
	file string
	keys map[string]ed25519.PrivateKey
}

const ourIssuer = "https://id.example.com"

// publish writes the file with the keys of these names, which it makes.
func (i *issuer) publish(names ...string) {
	i.t.Helper()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, name := range names {
		if i.keys[name] == nil {
			_, i.keys[name], _ = ed25519.GenerateKey(rand.Reader)
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: i.keys[name].Public(), KeyID: name, Algorithm: "EdDSA", Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err == nil {
		err = os.WriteFile(i.file+".new", b, 0o600)
	}
	if err == nil {
		err = os.Rename(i.file+".new", i.file)
	}
	if err != nil {
		i.t.Fatal(err)
	}
}

// sign returns a token that a key has signed, with claims besides those that make
// it one for this server.
func (i *issuer) sign(key string, claims map[string]any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: i.keys[key]},
		(&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", key))
	if err != nil {
		i.t.Fatal(err)
	}
	standard := jwt.Claims{Issuer: ourIssuer, Audience: jwt.Audience{"welcomed"}, Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour))}
	token, err := jwt.Signed(signer).Claims(standard).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return token
}

// A guarded is a server with --auth oidc.
type guarded struct {
	t   *testing.T
	api string
}

func serveWithIssuer(t *testing.T) (*issuer, *guarded) {
	t.Helper()
	return serveFrom(t, t.TempDir())
}

func serveFrom(t *testing.T, dir string, more ...string) (*issuer, *guarded) {
	t.Helper()
	i := &issuer{t: t, file: filepath.Join(dir, "keys.json"), keys: map[string]ed25519.PrivateKey{}}
	i.publish("first")
	s, line, err := startServed(dir, os.Environ(), append([]string{"--auth", "oidc", "--oidc-issuer", ourIssuer, "--oidc-audience", "welcomed",
		"--oidc-jwks", i.file, "--oidc-device-claim", "device", "--oidc-service-scope", "mls"}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.signal(t)
		if err := <-s.done; err != nil {
			t.Errorf("%v\n%s", err, s.log)
		}
	})
	return i, &guarded{t: t, api: "http://" + line.Listen}
}

// ask returns the status, the code of a refusal, and what to authenticate with.
func (g *guarded) ask(token, behalf, method, path string, body []byte) (status int, code, challenge string) {
	g.t.Helper()
	req, err := http.NewRequest(method, g.api+path, bytes.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if behalf != "" {
		req.Header.Set("On-Behalf-Of", behalf)
	}
	if body != nil {
		req.Header.Set("Content-Type", "message/mls")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	var problem struct{ Code string }
	if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, problem.Code, resp.Header.Get("WWW-Authenticate")
}

const (
	alicesShelf = "/v1/users/alice/devices/phone/key-packages"
	bobsShelf   = "/v1/users/bob/devices/phone/key-packages"
	invalid     = `Bearer error="invalid_token"`
)

func TestServeWithTheTokensOfAnIssuer(t *testing.T) {
	i, g := serveWithIssuer(t)
	i.keys["other"] = i.keys["first"] // a kid that the issuer does not publish
	_, forged, _ := ed25519.GenerateKey(rand.Reader)
	alice := map[string]any{"sub": "alice", "device": "phone"}
	with := func(name string, value any) map[string]any {
		return map[string]any{"sub": "alice", "device": "phone", name: value}
	}
	token, service := i.sign("first", alice), i.sign("first", map[string]any{"scope": "openid mls", "client_id": "backend"})
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	for _, row := range []struct {
		what, token, behalf, method, path string
		body                              []byte
		status                            int
		code, challenge                   string
	}{
		{"publishes on its own path", token, "", "POST", alicesShelf, kp, 201, "", ""},
		{"reads its own path", token, "", "GET", alicesShelf, nil, 200, "", ""},
		{"another's path", token, "", "GET", bobsShelf, nil, 403, "forbidden", ""},
		{"another device's path", token, "", "GET", "/v1/users/alice/devices/tablet/key-packages", nil, 403, "forbidden", ""},
		{"acts for nobody else", token, "bob/phone", "GET", bobsShelf, nil, 403, "not_a_service", ""},
		{"is for another audience", i.sign("first", with("aud", "other")), "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"is of another issuer", i.sign("first", with("iss", "https://id.example.net")), "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"has expired", i.sign("first", with("exp", time.Now().Add(-time.Hour).Unix())), "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"names no device", i.sign("first", map[string]any{"sub": "alice"}), "", "GET", alicesShelf, nil, 403, "bad_subject", ""},
		{"names a user with a slash", i.sign("first", with("sub", "alice/phone")), "", "GET", alicesShelf, nil, 403, "bad_subject", ""},
		{"names a user as an identity provider does", i.sign("first", with("sub", "auth0|5f7c")), "", "GET", "/v1/users/auth0%7C5f7c/devices/phone/key-packages", nil, 200, "", ""},
		{"names a key that is not published", i.sign("other", alice), "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"is signed with another key", (&issuer{t: t, keys: map[string]ed25519.PrivateKey{"first": forged}}).sign("first", alice), "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"is none", "", "", "GET", alicesShelf, nil, 401, "invalid_token", invalid},
		{"a service acts for a user", service, "bob/phone", "GET", bobsShelf, nil, 200, "", ""},
		{"a service acts for a user, and only for that one", service, "alice/phone", "GET", bobsShelf, nil, 403, "forbidden", ""},
		{"a service acts for nobody", service, "", "GET", alicesShelf, nil, 200, "", ""},
	} {
		status, code, challenge := g.ask(row.token, row.behalf, row.method, row.path, row.body)
		if status != row.status || code != row.code || challenge != row.challenge {
			t.Errorf("a token that %s: %d %s, %q; want %d %s, %q", row.what, status, code, challenge, row.status, row.code, row.challenge)
		}
	}
}

// A subject with a slash is a user under its encoding, and a server that is started
// again with another encoding on this database does not start.
func TestServeWithEncodedSubjects(t *testing.T) {
	dir := t.TempDir()
	t.Run("encoded", func(t *testing.T) { requireEncodedSubjects(t, dir) })
	s, _, err := startServed(dir, os.Environ(), "--auth", "oidc", "--oidc-issuer", ourIssuer, "--oidc-audience", "welcomed", "--oidc-jwks", "keys.json")
	if err == nil || !strings.Contains(s.log.String(), "--oidc-user-encoding: database ./welcomed.db has users") {
		t.Errorf("it is %v\n%s", err, s.log)
	}
	for encoding, sound := range map[string]bool{"base64url": true, "none": false} {
		check := exec.Command("welcomed", "serve", "--check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0",
			"--auth", "oidc", "--oidc-issuer", ourIssuer, "--oidc-audience", "welcomed", "--oidc-jwks", "keys.json", "--oidc-user-encoding", encoding)
		check.Dir = dir
		said, err := check.CombinedOutput()
		if (err == nil) != sound || strings.Contains(string(said), "--oidc-user-encoding: database ./welcomed.db has users") == sound {
			t.Errorf("--check with %s: %v\n%s", encoding, err, said)
		}
	}
}

func requireEncodedSubjects(t *testing.T, dir string) {
	i, g := serveFrom(t, dir, "--oidc-user-encoding", "base64url")
	token := i.sign("first", map[string]any{"sub": "a/b", "device": "phone"})
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	if status, code, _ := g.ask(token, "", "POST", "/v1/users/YS9i/devices/phone/key-packages", kp); status != 201 {
		t.Errorf("%d %s", status, code)
	}
	if status, code, _ := g.ask(i.sign("first", map[string]any{"sub": "YS9i", "device": "phone"}), "", "GET", "/v1/users/YS9i/devices/phone/key-packages", nil); status != 403 || code != "forbidden" {
		t.Errorf("another subject that is this one's encoding: %d %s", status, code)
	}
}

// TestAKeyThatIsTakenAwayTakesItsTokensAlong: the file is read again at once for
// a key that is not known, and then the others are what the file says, too.
func TestAKeyThatIsTakenAwayTakesItsTokensAlong(t *testing.T) {
	i, g := serveWithIssuer(t)
	alice := map[string]any{"sub": "alice", "device": "phone"}
	old := i.sign("first", alice)
	if status, code, _ := g.ask(old, "", "GET", alicesShelf, nil); status != 200 {
		t.Fatalf("%d %s", status, code)
	}
	i.publish("second")
	fresh := i.sign("second", alice)
	g.await(fresh, 200, "")
	if status, code, challenge := g.ask(old, "", "GET", alicesShelf, nil); status != 401 || code != "invalid_token" || challenge != invalid {
		t.Errorf("a token of the key that was taken away: %d %s, %q", status, code, challenge)
	}
	i.publish()
	g.await(fresh, 401, "invalid_token", old)
}

// await asks until the answer is as it should be. Meanwhile others ask, too: with
// a key that is not known they have the file read.
func (g *guarded) await(token string, status int, code string, others ...string) {
	g.t.Helper()
	var got int
	var why string
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(20 * time.Millisecond) {
		for _, other := range others {
			g.ask(other, "", "GET", alicesShelf, nil)
		}
		if got, why, _ = g.ask(token, "", "GET", alicesShelf, nil); got == status && why == code {
			return
		}
	}
	g.t.Fatalf("%d %s for ever, want %d %s", got, why, status, code)
}

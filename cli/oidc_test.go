package cli

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/auth"
)

// oidcConfig returns what the flags say, or the error that serve would end
// with before it opens anything.
func oidcConfig(kind string, args ...string) (*config, error) {
	c := defaultConfig(environment{lookup: func(string) (string, bool) { return "", false }})
	c.auth = kind
	command := &cli.Command{Name: "serve", Flags: c.oidcFlags(), Action: func(context.Context, *cli.Command) error { return c.check() }}
	command.Writer, command.ErrWriter = &strings.Builder{}, &strings.Builder{}
	return c, command.Run(context.Background(), append([]string{"serve"}, args...))
}

func TestOIDCFlags(t *testing.T) {
	c, err := oidcConfig(authOIDC, "--oidc-issuer", "https://id.example.com/", "--oidc-audience", "welcomed, other",
		"--oidc-jwks", "keys.json", "--oidc-user-claim", "email",
		"--oidc-device-claim", "ext.device", "--oidc-service-scope", "mls")
	want := auth.DefaultOIDCOptions()
	want.Issuer, want.Audience, want.JWKS = "https://id.example.com/", []string{"welcomed", "other"}, "keys.json"
	want.UserClaim, want.DeviceClaim, want.ServiceScope = "email", "ext.device", "mls"
	if err != nil || fmt.Sprintf("%+v", c.oidc) != fmt.Sprintf("%+v", want) {
		t.Errorf("%+v, %v; want %+v", c.oidc, err, want)
	}
	c, err = oidcConfig(authOIDC, "--oidc-issuer", "https://id.example.com", "--oidc-audience", "welcomed")
	if err != nil || c.oidc.Leeway != 30*time.Second || c.oidc.UserClaim != "sub" || !slices.Contains(c.oidc.Algorithms, "RS256") {
		t.Errorf("%+v, %v", c.oidc, err)
	}
}

func TestOIDCFlagsThatCannotBeMeant(t *testing.T) {
	const issuer, audience = "--oidc-issuer=https://id.example.com", "--oidc-audience=welcomed"
	for _, row := range []struct {
		kind, args, want string
	}{
		{"oidc", audience, "--auth oidc needs --oidc-issuer, whose tokens are believed"},
		{"oidc", issuer, "--auth oidc needs --oidc-audience, without which tokens for other servers would be valid here"},
		{"oidc", issuer + " --oidc-audience=", "--auth oidc needs --oidc-audience, without"},
		{"oidc", issuer + " --oidc-audience=a,,b", "not a list of different words"},
		{"oidc", issuer + " --oidc-audience=a,a", "not a list of different words"},
		{"oidc", issuer + " " + audience + " --oidc-user-claim=", "--oidc-user-claim is empty"},
		{"oidc", "--oidc-issuer=http://id.example.com " + audience, "--oidc-issuer http://id.example.com: not https"},
		{"oidc", issuer + " " + audience + " --oidc-jwks=http://id.example.com/k", "--oidc-jwks http://id.example.com/k: not https"},
		{"oidc", issuer + " " + audience + " --oidc-jwks=no-such-file", "--auth oidc: the keys in no-such-file: no such file"},
		{"none", issuer, "--oidc-issuer has no effect with --auth none: is --auth oidc meant?"},
		{"none", audience, "--oidc-audience has no effect"},
		{"none", "--oidc-jwks=keys.json", "--oidc-jwks has no effect"},
		{"none", "--oidc-user-claim=email", "--oidc-user-claim has no effect"},
		{"none", "--oidc-device-claim=device", "--oidc-device-claim has no effect"},
		{"none", "--oidc-service-scope=mls", "--oidc-service-scope has no effect"},
		{"token", "--oidc-service-scope=mls", "--oidc-service-scope has no effect with --auth token"},
	} {
		c, err := oidcConfig(row.kind, strings.Fields(row.args)...)
		if err == nil {
			_, err = c.oidcAuthenticator(context.Background(), nil, slog.New(slog.DiscardHandler))
		}
		if err == nil || !strings.Contains(err.Error(), row.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("--auth %s %s: %v; want one sentence: %s", row.kind, row.args, err, row.want)
		}
	}
	if _, err := oidcConfig("none"); err != nil {
		t.Error(err)
	}
}

func TestEveryOIDCFlagIsPointedOutWithoutAuthOIDC(t *testing.T) {
	c, _ := oidcConfig("none")
	for _, flag := range c.oidcFlags() {
		value := "1s"
		switch flag.Names()[0] {
		case "oidc-algorithms":
			value = "ES256"
		case "oidc-user-encoding":
			value = "base64url"
		}
		name := "--" + flag.Names()[0]
		if _, err := oidcConfig("none", name, value); err == nil || !strings.HasPrefix(err.Error(), name+" has no effect") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheAuthenticatorIsMadeOfTheFlags(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	file := filepath.Join(t.TempDir(), "keys.json")
	keys := fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":%q}]}`, encode(public))
	if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := oidcConfig(authOIDC, "--oidc-issuer", "our accounts", "--oidc-audience", "welcomed", "--oidc-jwks", file,
		"--oidc-user-claim", "uid", "--oidc-device-claim", "dev")
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.oidcAuthenticator(t.Context(), nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	claims := fmt.Sprintf(`{"iss":"our accounts","aud":"welcomed","uid":"alice","dev":"phone","exp":%d}`, time.Now().Add(time.Minute).Unix())
	input := encode([]byte(`{"alg":"EdDSA","kid":"1"}`)) + "." + encode([]byte(claims))
	i, err := a.Authenticate(t.Context(), input+"."+encode(ed25519.Sign(private, []byte(input))))
	if err != nil || i.User != "alice" || i.Device != "phone" {
		t.Errorf("%+v, %v", i, err)
	}
}

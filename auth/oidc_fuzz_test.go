package auth

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// FuzzAuthenticate never signs: whatever is accepted was in a seed. Each input
// is tried as it is, and as the header and the claims of a token with a
// signature of something else, so that what is behind the encoding is reached.
func FuzzAuthenticate(f *testing.F) {
	p := meet(f, newIssuer(f, rsaKey(), es256Key(), edKey()), withServicesAndDevices)
	valid := p.draft(rsaKey()).token()
	signature := valid[strings.LastIndex(valid, "."):]
	f.Add("", "")
	f.Add("..", "{}")
	f.Add(`{"alg":"none"}`, `{"sub":"admin"}`)
	f.Add(`{"alg":"RS256","kid":"rsa"}`, `{"iss":"`+p.URL+`","aud":"welcomed","sub":"bob","exp":1900000000}`)
	f.Add(`{"alg":"EdDSA","kid":"ed","crit":["b64"],"b64":false}`, `{"exp":1e400,"aud":[1],"scope":{}}`)
	f.Add(`{"alg":"ES256","kid":"p256","jwk":{"kty":"EC"},"x5c":["AA=="]}`, `{"aud":["welcomed"],"events":null}`)
	f.Add(valid[:len(valid)-1], text(p.draft(edKey()).claims))
	f.Add(`{"keys":[]}`, strings.Repeat("[", 100))
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, token := range []string{a, b, a + "." + b, base64url([]byte(a)) + "." + base64url([]byte(b)) + signature} {
			i, err := p.Authenticate(context.Background(), token)
			if token == valid {
				continue
			}
			if i != (Identity{}) || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnavailable) {
				t.Errorf("%q: %+v, %v", token, i, err)
			}
		}
	})
}

func withServicesAndDevices(o *OIDCOptions) { o.ServiceScope, o.DeviceClaim = "mls", "device" }

// FuzzClaims tries claims that were signed: an issuer may be careless, and
// still nobody without a name gets in.
func FuzzClaims(f *testing.F) {
	p := meet(f, newIssuer(f, edKey()), withServicesAndDevices)
	start := `{"iss":"` + p.URL + `","aud":"welcomed","exp":1900000000,`
	for _, rest := range []string{
		`"sub":"alice","device":"phone"}`, `"sub":"alice","scope":"mls"}`, `"scp":["mls"],"client_id":"app"}`,
		`"sub":"alice","sub":"admin","device":"x"}`, `"sub":7}`, `"sub":"a/b","device":"."}`, `"nbf":-1,"iat":1e300}`, `}`,
	} {
		f.Add(start + rest)
	}
	header := base64url([]byte(`{"alg":"EdDSA","kid":"ed"}`))
	f.Fuzz(func(t *testing.T, claims string) {
		input := header + "." + base64url([]byte(claims))
		i, err := p.Authenticate(context.Background(), input+"."+base64url(edKey().sign("EdDSA", input)))
		switch {
		case err != nil && (i != (Identity{}) || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrBadSubject)):
			t.Errorf("%q: %+v, %v", claims, i, err)
		case err == nil && ((i.User == "") == (i.Service == "") || i.User != "" && i.Device == "" || i.Expires.IsZero()):
			t.Errorf("%q: %+v", claims, i)
		}
	})
}

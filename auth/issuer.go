package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json"
)

// maxDocument is far more than issuers publish.
const maxDocument = 1 << 20

// ValidIssuer returns the reason unless the discovery document of an issuer that
// is called s can be asked for.
func ValidIssuer(s string) error {
	if strings.ContainsAny(s, "?#") { // OpenID Connect Discovery, section 3
		return errors.New("an issuer has neither ? nor # in it")
	}
	return validURL(s)
}

// ValidJWKS returns the reason unless s may be where keys are: a file, or a URL
// that nobody in between can answer for.
func ValidJWKS(s string) error {
	if !isURL(s) {
		return nil
	}
	return validURL(s)
}

// withoutQuery is for the log: a query may be a secret.
func withoutQuery(address string) string {
	if before, _, found := strings.Cut(address, "?"); found && isURL(address) {
		return before
	}
	return address
}

func isURL(s string) bool { return strings.Contains(s, "://") }

func validURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "":
		return errors.New("not a URL like https://id.example.com")
	case u.User != nil:
		return errors.New("a URL with a user in it")
	case !safe(u):
		return errors.New("not https, without which keys are believed only from this machine")
	}
	return nil
}

// safe reports whether nobody can be between this machine and u, or change what
// passes.
func safe(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || ip != nil && ip.IsLoopback())
}

// A mistake is an error that only somebody who changes the configuration can
// mend.
type mistake struct{ error }

func isMistake(err error) bool {
	_, ok := errors.AsType[mistake](err)
	return ok
}

// source returns how the keys are fetched, and how often.
func source(opts OIDCOptions) (func(context.Context) ([]byte, error), rhythm) {
	client := newClient()
	switch {
	case opts.JWKS == "":
		return func(ctx context.Context) ([]byte, error) { return discover(ctx, client, opts.Issuer) }, remote
	case isURL(opts.JWKS):
		return func(ctx context.Context) ([]byte, error) { return get(ctx, client, opts.JWKS) }, remote
	}
	return func(context.Context) ([]byte, error) { return readKeys(opts.JWKS) }, local
}

// discover asks the issuer where its keys are, each time, because they move.
func discover(ctx context.Context, client *http.Client, issuer string) ([]byte, error) {
	text, err := get(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, err
	}
	var document struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if json.Unmarshal(text, &document) != nil || document.Issuer == "" {
		return nil, fmt.Errorf("the answer of the issuer %s is not a discovery document", issuer)
	}
	if document.Issuer != issuer {
		return nil, mistake{fmt.Errorf("the issuer %s says that it is %q: both have to be the same, to the letter", issuer, document.Issuer)}
	}
	if err := validURL(document.JWKS); err != nil || secure(issuer) && !secure(document.JWKS) {
		return nil, mistake{fmt.Errorf("the issuer %s says that its keys are at %q, from where they are not believed", issuer, document.JWKS)}
	}
	return get(ctx, client, document.JWKS)
}

func secure(s string) bool { return strings.HasPrefix(strings.ToLower(s), "https://") }

// newClient returns a client that is content with little, and not led astray. A
// connection is not kept for the next time, which is minutes away.
func newClient() *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.TLSHandshakeTimeout = 5 * time.Second
	return &http.Client{Transport: transport, CheckRedirect: checkRedirect}
}

// maxRedirects are more than an issuer that moved needs.
const maxRedirects = 3

func checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return errors.New("it redirects too often")
	case !safe(to.URL) || via[0].URL.Scheme != to.URL.Scheme:
		return errors.New("it redirects to where it is not believed")
	}
	return nil
}

func get(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the issuer: %w", err)
	}
	request.Header.Set("Accept", "application/json")
	where := withoutQuery(address)
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", where, reason(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: the answer is %d", where, response.StatusCode)
	}
	text, err := readDocument(response.Body)
	if err != nil {
		return nil, fmt.Errorf("GET %s: %w", where, err)
	}
	return text, nil
}

// reason leaves out of an error what the words around it say.
func reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the port, which is another each time
	}
	return err
}

func readDocument(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err == nil && len(text) > maxDocument {
		err = fmt.Errorf("longer than %d bytes", maxDocument)
	}
	return text, err
}

// readKeys reads the whole file each time: its times say too little about
// whether it changed.
func readKeys(name string) ([]byte, error) {
	text, err := readFile(name)
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		err = p.Err // without the name
	}
	if err != nil {
		return nil, fmt.Errorf("the keys in %s: %w", name, err)
	}
	return text, nil
}

func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file") // a pipe would be waited for
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readDocument(f)
}

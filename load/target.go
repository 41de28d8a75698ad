package load

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"welcomed/mls"
)

// A Target is a server that answers.
type Target struct {
	About About

	url    *url.URL
	prefix string // what every header ends with
	epoch  string // of the last restore, read before any KeyPackage is made; empty: none is told
}

// About is what a server says of itself.
type About struct {
	Version      string            `json:"version"`
	CipherSuites []mls.CipherSuite `json:"cipher_suites"`
	Ready        bool              `json:"ready"`
	Limits       Limits            `json:"limits"`
}

// Limits are those of a server that a load can run into.
type Limits struct {
	KeyPackagesPerPublish int `json:"key_packages_per_publish"`
	KeyPackagesPerDevice  int `json:"key_packages_per_device"`
	DevicesPerReserve     int `json:"devices_per_reserve"`
	WelcomeBytes          int `json:"welcome_bytes"`
	RecipientsPerWelcome  int `json:"recipients_per_welcome"`
	PendingPerDevice      int `json:"pending_per_device"`
	Wait                  int `json:"wait_seconds"`
}

// ParseURL reads the URL of a server, whose path, if any, stands before the API's.
func ParseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("not a URL like http://127.0.0.1:9420")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return u, nil
}

// ErrToken is that a token cannot stand in a header.
var ErrToken = errors.New("a token has only printable characters and no spaces")

// Find asks the server at u who it is. With a token, every request shows it.
func Find(ctx context.Context, u *url.URL, token string) (*Target, error) {
	t := &Target{url: u, prefix: "Host: " + u.Host + "\r\nUser-Agent: welcomed-bench\r\n"}
	if strings.ContainsFunc(token, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, ErrToken
	}
	if token != "" {
		t.prefix += "Authorization: Bearer " + token + "\r\n"
	}
	c, err := t.dial(ctx, graceTime)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := t.ask(ctx, c); err != nil {
		return t, err
	}
	return t, t.readEpoch(ctx, c)
}

// readEpoch reads the restore epoch in the inventory of a device that does not exist.
// Without it, a server that was restored would hand out nothing of what is published.
func (t *Target) readEpoch(ctx context.Context, c *conn) error {
	a, err := c.exchange(ctx, t.request("GET", (&device{user: "bench." + rand.Text()}).path()+"/key-packages", "", nil))
	if err != nil {
		return fmt.Errorf("ask %s for its restore epoch: %w", t.url, err)
	}
	var inventory struct {
		Epoch string `json:"restore_epoch"`
	}
	if a.status == http.StatusOK && json.Unmarshal(a.body, &inventory) == nil {
		t.epoch = inventory.Epoch
	}
	return nil // whoever may not read this is told when something is published
}

// shelf is where a device publishes KeyPackages that were made since.
func (t *Target) shelf(d *device) string {
	path := d.path() + "/key-packages"
	if t.epoch != "" {
		path += "?restore_epoch=" + url.QueryEscape(t.epoch)
	}
	return path
}

// ask fills in About.
func (t *Target) ask(ctx context.Context, c *conn) error {
	a, err := c.exchange(ctx, t.request("GET", "/v1", "", nil))
	if err != nil {
		return fmt.Errorf("ask %s who it is: %w", t.url, err)
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &t.About) != nil || t.About.Version == "" {
		return fmt.Errorf("what answers at %s is not welcomed: GET /v1 is %d", t.url, a.status)
	}
	if !t.About.Ready {
		return fmt.Errorf("the server at %s says that it is not ready", t.url)
	}
	return nil
}

// request returns a request as it goes over the wire. A header is a whole line
// without its end.
func (t *Target) request(method, path, mediaType string, body []byte, headers ...string) []byte {
	b := make([]byte, 0, len(method)+len(path)+len(t.prefix)+len(body)+128)
	b = append(b, method+" "+t.url.EscapedPath()+path+" HTTP/1.1\r\n"+t.prefix...)
	if mediaType != "" {
		b = append(b, "Content-Type: "+mediaType+"\r\n"...)
	}
	for _, h := range headers {
		b = append(b, h+"\r\n"...)
	}
	if method != http.MethodGet {
		b = append(b, "Content-Length: "+strconv.Itoa(len(body))+"\r\n"...)
	}
	return append(append(b, "\r\n"...), body...)
}

// address returns what to dial.
func (t *Target) address() string {
	port := t.url.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[t.url.Scheme]
	}
	return net.JoinHostPort(t.url.Hostname(), port)
}

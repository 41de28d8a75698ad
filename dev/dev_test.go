package dev_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"welcomed/client"
	"welcomed/dev"
	"welcomed/mls/mlstest"
)

var phone = client.DeviceID{User: "alice", Name: "phone"}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// A shown is what a server shows.
type shown struct {
	mu   sync.Mutex
	text strings.Builder
}

func (s *shown) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *shown) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// A running is a server that a test speaks to.
type running struct {
	t     *testing.T
	s     *dev.Server
	url   string
	shown *shown
}

func start(t *testing.T) *running {
	t.Helper()
	r := &running{t: t, shown: new(shown)}
	var err error
	r.s, err = dev.New(dev.Options{Version: "test", Out: r.shown})
	must(t, err)
	listening := httptest.NewServer(r.s)
	t.Cleanup(listening.Close)
	r.url = listening.URL
	return r
}

// client returns one without a token, for everybody.
func (r *running) client() *client.Client { return &client.Client{URL: r.url} }

// control has the server do something.
func (r *running) control(path string, form ...string) (status dev.Status) {
	r.t.Helper()
	code, text := r.ask(path, form...)
	same(r.t, path, code, 200)
	must(r.t, json.Unmarshal([]byte(text), &status))
	return status
}

// ask returns what a control answers.
func (r *running) ask(path string, form ...string) (code int, text string) {
	r.t.Helper()
	values := url.Values{}
	for i := 0; i < len(form); i += 2 {
		values.Set(form[i], form[i+1])
	}
	resp, err := http.PostForm(r.url+dev.Control+path, values)
	must(r.t, err)
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	must(r.t, err)
	return resp.StatusCode, string(all)
}

func TestWhoseKeyPackagesAreExhaustedHasOnlyALastResort(t *testing.T) {
	r := start(t)
	signer := mlstest.NewSigner(1, "alice")
	_, err := r.client().Publish(t.Context(), phone, "", signer.KeyPackage(), signer.KeyPackage(), signer.KeyPackage(mlstest.LastResort()))
	must(t, err)
	same(t, "exhausted", *r.control("/exhaust", "user", "alice").Exhausted, dev.Exhausted{User: "alice", Reserved: 2})
	i, err := r.client().Inventory(t.Context(), phone)
	must(t, err)
	same(t, "it was handed to nobody", len(i.LastResort) == 1 && i.LastResort[0].HandedOutAt.IsZero(), true)
	got, err := r.client().Reserve(t.Context(), client.Reserving{Users: []string{"alice"}})
	must(t, err)
	same(t, "status", got.Users[0].Devices[0].Status, "last_resort")
	same(t, "again", r.control("/exhaust", "user", "alice").Exhausted.Reserved, 0)
	code, text := r.ask("/exhaust", "user", "nobody")
	same(t, "of nobody", code, 400)
	same(t, "of nobody", text, "bad request: user=nobody has no device here\n")
}

func TestTheClockGoesForAll(t *testing.T) {
	r := start(t)
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	published, err := r.client().Publish(t.Context(), phone, "", kp)
	must(t, err)
	token := &client.Client{URL: r.url, Token: client.StaticToken(r.s.Token())}
	before, err := token.About(t.Context())
	must(t, err)
	posted, err := r.client().Post(t.Context(), client.Posting{Welcome: mlstest.WelcomeFor(kp)})
	must(t, err)
	status := r.control("/clock", "seconds", "3456000") // 40 days, and an unclaimed Welcome is kept 30
	after, err := token.About(t.Context())
	must(t, err)
	same(t, "days for who has a token", int(after.Time.Sub(before.Time).Hours()/24), 40)
	same(t, "days as it says", int(status.Time.Sub(before.Time).Hours()/24), 40)
	outcome, err := r.client().Outcome(t.Context(), posted.ID)
	must(t, err)
	same(t, "the Welcome", outcome.Recipients[0].Status, "expired")
	same(t, "published", len(published.KeyPackages), 1)
}

// The clock does not go so far that it goes round.
func TestTheClockHasAnEnd(t *testing.T) {
	r := start(t)
	for range 9 {
		r.control("/clock", "seconds", "315360000") // ten years
	}
	before := r.control("/clock", "seconds", "315359999").Time
	code, text := r.ask("/clock", "seconds", "2")
	same(t, "further", code, 400)
	same(t, "further, it says", strings.HasPrefix(text, "bad request: the clock would be more than 100 years ahead; it is at "), true)
	same(t, "the last second", int(r.control("/clock", "seconds", "1").Time.Sub(before).Minutes()), 0)
	_, err := r.client().Publish(t.Context(), phone, "", mlstest.NewSigner(1, "alice").KeyPackage(mlstest.WithLifetime(uint64(before.Unix()), uint64(before.AddDate(0, 1, 0).Unix()))))
	must(t, err)
	_, err = r.client().Reserve(t.Context(), client.Reserving{Users: []string{"alice"}})
	must(t, err)
}

// The client repeats a request whose answer was lost, and nothing happens twice.
func TestALostAnswerIsAskedForAgain(t *testing.T) {
	r := start(t)
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	r.control("/lose-next-reply", "path", "key-packages")
	_, err := r.client().About(t.Context()) // another path
	must(t, err)
	preflight, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, r.url+"/v1/users/alice/devices/phone/key-packages", nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(preflight) // a browser's, which is no request of the page
	must(t, err)
	resp.Body.Close()
	published, err := r.client().Publish(t.Context(), phone, "", kp)
	must(t, err)
	same(t, "the answer to the repeat", published.KeyPackages[0].Status, "already_stored")
	same(t, "shown", strings.Count(r.shown.String(), "→ 201, and this reply was lost ("), 1)
	same(t, "lost once", r.control("/full-disk", "is", "off").Losing == nil, true)
	_, text := r.ask("/lose-next-reply")
	same(t, "of any path", strings.Contains(text, `"lose_next_reply":{"path":""}`), true)
}

func TestAFullDiskLetsDevicesJoin(t *testing.T) {
	r := start(t)
	kp := mlstest.NewSigner(1, "alice").KeyPackage()
	_, err := r.client().Publish(t.Context(), phone, "", kp)
	must(t, err)
	_, err = r.client().Post(t.Context(), client.Posting{Welcome: mlstest.WelcomeFor(kp)})
	must(t, err)
	same(t, "full", r.control("/full-disk", "is", "on").FullDisk, true)
	impatient := r.client()
	impatient.Attempts = 1
	_, err = impatient.Publish(t.Context(), phone, "", mlstest.NewSigner(1, "alice").KeyPackage())
	same(t, "a publication", client.CodeOf(err), "store_full")
	claimed, err := r.client().Claim(t.Context(), phone, client.Claiming{})
	must(t, err)
	same(t, "Welcomes", len(claimed.Welcomes), 1)
	same(t, "full", r.control("/full-disk", "is", "off").FullDisk, false)
}

// Only this machine is served, also what needs no token: a page of another site that this
// browser shows, or one whose name resolves to this machine, is not.
func TestOnlyThisMachineIsServed(t *testing.T) {
	r := start(t)
	for _, path := range []string{"/v1", dev.Control, dev.Control + "/clock?seconds=1"} {
		for _, row := range []struct {
			name, value string
			served      bool
		}{
			{"Host", "rebound.example", false},
			{"Origin", "https://app.example.org", false},
			{"X-Forwarded-For", "192.0.2.1", false},
			{"Origin", "http://localhost:5173", true},
			{"Origin", "http://127.0.0.1:8080", true},
		} {
			method := http.MethodGet
			if strings.Contains(path, "?") {
				method = http.MethodPost
			}
			req, err := http.NewRequestWithContext(context.Background(), method, r.url+path, nil)
			must(t, err)
			req.Header.Set(row.name, row.value)
			if row.name == "Host" {
				req.Host = row.value
			}
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			same(t, path+" with "+row.name+": "+row.value, resp.StatusCode, map[bool]int{true: 200, false: 403}[row.served])
			if row.served {
				same(t, "a page may read it", resp.Header.Get("Access-Control-Allow-Origin"), row.value)
			}
		}
	}
}

// What has the service token is kept nowhere, and is no answer to a page of another origin.
func TestAnswersOfControlsAreNotKept(t *testing.T) {
	r := start(t)
	for _, path := range []string{"", "/clock", "/nothing"} {
		resp, err := http.Get(r.url + dev.Control + path)
		must(t, err)
		resp.Body.Close()
		for name, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Origin"} {
			same(t, path+": "+name, resp.Header.Get(name), want)
		}
	}
}

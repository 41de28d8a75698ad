package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/operator/codes"
	"welcomed/operator/explain"
	"welcomed/server"
)

// asked makes a request of the admin listener.
func (s *service) asked(method, path string, body []byte, headers ...string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.admin+path, bytes.NewReader(body))
	must(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	must(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(s.t, err)
	return resp, string(b)
}

// explained asks for an explanation, which is one of something known.
func (s *service) explained(query string) (e explain.Explanation) {
	s.t.Helper()
	resp, body := s.asked("GET", "/explain?"+query, nil, "Accept", "application/json")
	if resp.StatusCode != 200 && resp.StatusCode != 404 {
		s.t.Fatalf("%s: %s %s", query, resp.Status, body)
	}
	must(s.t, json.Unmarshal([]byte(body), &e))
	same(s.t, "known", e.Known, resp.StatusCode == 200)
	return e
}

// because expects a cause.
func (s *service) because(query string, want explain.Cause) explain.Explanation {
	s.t.Helper()
	e := s.explained(query)
	if e.Cause != want {
		s.t.Fatalf("%s: the cause is %s, want %s: %s", query, e.Cause, want, e.Text())
	}
	return e
}

func TestTheAdminListenerExplains(t *testing.T) {
	s := start(t, nil)
	s.because("user=alice", explain.NeverPublished)
	kps := s.stock(11)
	ref := refOf(kps[0])
	s.because("user=alice", explain.NothingWrong)
	s.because("ref="+ref, explain.OnShelf)
	s.because("ref="+strings.ToUpper(ref), explain.OnShelf)
	id, welcome := s.post("?hold=1", kps[0])
	s.because("user=alice", explain.Held)
	s.because("q=alice/phone", explain.Held)
	s.because("q=alice+phone", explain.Held)
	s.because("user=alice&device=phone", explain.Held)
	s.because("ref="+ref, explain.Held)
	s.because("ref="+id, explain.Held) // the Welcome
	s.because("user=alice&device=tablet", explain.NeverPublished)
	s.call("POST", "/v1/welcomes/"+id+"/release", nil).want(200)
	s.because("user=alice", explain.NotFetched)
	s.call("POST", phone+"/claim", object{"refs": []string{refOf(kps[1])}}).want(200)
	s.because("user=alice", explain.NoKey)
	s.call("POST", phone+"/claim", nil).want(200)
	s.because("user=alice", explain.NotSettled)
	s.call("POST", phone+"/welcomes/"+id+"/reject", object{"reason": "undecryptable", "detail": "<b>bad</b> \"tag\""}).want(204)
	e := s.because("user=alice", explain.Rejected)
	if !strings.Contains(e.Headline, `<b>bad</b>`) {
		t.Errorf("the device's words are missing: %s", e.Headline)
	}
	_, page := s.asked("GET", "/explain?user=alice", nil, "Accept", "text/html,*/*;q=0.8")
	if strings.Contains(page, "<b>bad") || !strings.Contains(page, "&lt;b&gt;bad&lt;/b&gt;") {
		t.Errorf("a stranger's text is not escaped: %s", page)
	}

	resp, body := s.asked("POST", "/explain", welcome, "Content-Type", "message/mls")
	if resp.StatusCode != 200 || !strings.HasPrefix(body, "alice/phone rejected Welcome") {
		t.Errorf("the Welcome itself: %s %s", resp.Status, body)
	}
	resp, body = s.asked("POST", "/explain", kps[1], "Content-Type", "message/mls")
	if resp.StatusCode != 200 || !strings.Contains(body, "lies on the shelf of alice/phone") {
		t.Errorf("a KeyPackage: %s %s", resp.Status, body)
	}
	other := mlstest.WelcomeFor(mlstest.NewSigner(2, "x").KeyPackage())
	resp, body = s.asked("POST", "/explain", other, "Content-Type", "message/mls")
	if resp.StatusCode != 404 || !strings.HasPrefix(body, "this Welcome was not posted here") {
		t.Errorf("a Welcome of elsewhere: %s %s", resp.Status, body)
	}
	s.call("DELETE", phone, nil).want(204)
	s.because("user=alice", explain.Removed)
}

func TestAnExplanationComesAsItIsAskedFor(t *testing.T) {
	s := start(t, nil)
	s.stock(1)
	for accept, want := range map[string]string{
		"":                               "text/plain; charset=utf-8",
		"*/*":                            "text/plain; charset=utf-8",
		"application/json":               "application/json",
		"text/html,application/xml;q=.9": "text/html; charset=utf-8",
		"text/plain":                     "text/plain; charset=utf-8",
		"application/json;q=0.5, text/html;q=0.6": "text/html; charset=utf-8",
	} {
		for _, path := range []string{"/explain?user=alice", "/explain?user=bob"} {
			resp, body := s.asked("GET", path, nil, "Accept", accept)
			same(t, accept, resp.Header.Get("Content-Type"), want)
			same(t, "Cache-Control", resp.Header.Get("Cache-Control"), "no-store")
			if want == "text/html; charset=utf-8" {
				checkPage(t, resp, body)
			}
		}
		resp, body := s.asked("GET", "/explain?who=alice", nil, "Accept", accept)
		same(t, "status", resp.StatusCode, 400)
		if !strings.Contains(body, "unknown query parameter") {
			t.Errorf("%s: %s", accept, body)
		}
	}
}

// checkPage holds for every page: it loads a style sheet and nothing else.
func checkPage(t *testing.T, resp *http.Response, body string) {
	t.Helper()
	policy := resp.Header.Get("Content-Security-Policy")
	for _, says := range []string{"default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, says) {
			t.Errorf("the policy does not say %q: %s", says, policy)
		}
	}
	for _, not := range []string{"<script", "<style", "style=", "onclick", "javascript:", "http://", "https://"} {
		if strings.Contains(body, not) {
			t.Errorf("there is %q in the page: %s", not, body)
		}
	}
	for _, has := range []string{`href="/style.css"`, "<main>", `name="q"`, `name="welcome"`, `lang="en"`, "</html>"} {
		if !strings.Contains(body, has) {
			t.Errorf("there is no %s in the page: %s", has, body)
		}
	}
}

func multipartForm(t *testing.T, fields map[string][]byte) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for name, content := range fields {
		part, err := w.CreateFormFile(name, name)
		must(t, err)
		_, err = part.Write(content)
		must(t, err)
	}
	must(t, w.Close())
	return w.FormDataContentType(), b.Bytes()
}

func TestAFormExplainsAFile(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(1)
	_, welcome := s.post("", kps[0])
	for what, row := range map[string]struct {
		fields map[string][]byte
		status int
		says   string
	}{
		"a Welcome":              {map[string][]byte{"welcome": welcome}, 200, "alice/phone has not asked for its Welcomes"},
		"a question":             {map[string][]byte{"q": []byte("alice"), "welcome": nil}, 200, "Nobody can add alice/phone"},
		"a file that is nothing": {map[string][]byte{"welcome": []byte("junk")}, 400, "neither a Welcome nor a KeyPackage"},
		"nothing":                {map[string][]byte{"welcome": nil}, 400, "want USER"},
		"no fields":              {nil, 400, ""},
	} {
		is, body := multipartForm(t, row.fields)
		resp, page := s.asked("POST", "/explain", body, "Content-Type", is, "Accept", "text/html")
		if resp.StatusCode != row.status || !strings.Contains(page, row.says) {
			t.Errorf("%s: %s %s", what, resp.Status, page)
		}
		checkPage(t, resp, page)
	}
	is, body := multipartForm(t, map[string][]byte{"welcome": make([]byte, delivery.DefaultLimits().WelcomeBytes+1<<20)})
	resp, page := s.asked("POST", "/explain", body, "Content-Type", is)
	same(t, "a large file", words(resp.StatusCode, strings.Contains(page, "too large")), "413 true")
}

func TestWhatIsNoQuestionIsRefused(t *testing.T) {
	s := start(t, nil)
	for _, row := range []struct {
		method, path string
		body         string
		headers      []string
		status       int
	}{
		{"GET", "/explain", "", nil, 400},
		{"GET", "/explain?user=", "", nil, 400},
		{"GET", "/explain?device=phone", "", nil, 400},
		{"GET", "/explain?user=a&ref=" + strings.Repeat("ab", 32), "", nil, 400},
		{"GET", "/explain?user=a&user=b", "", nil, 400},
		{"GET", "/explain?user=a%1bb", "", nil, 400},
		{"GET", "/explain?ref=xyz", "", nil, 400},
		{"GET", "/explain?q=a+b+c", "", nil, 400},
		{"GET", "/explain?a;b", "", nil, 400},
		{"PUT", "/explain", "", nil, 405},
		{"POST", "/explain", "junk", []string{"Content-Type", "message/mls"}, 400},
		{"POST", "/explain", "", []string{"Content-Type", "message/mls"}, 400},
		{"POST", "/explain", "q=alice", []string{"Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"POST", "/explain", "junk", nil, 415},
		{"POST", "/explain", "junk", []string{"Content-Type", "multipart/form-data"}, 400},
		{"POST", "/explain", "junk", []string{"Content-Type", "multipart/form-data; boundary=x"}, 400},
		// Another site has a browser ask.
		{"POST", "/explain", "junk", []string{"Content-Type", "message/mls", "Sec-Fetch-Site", "cross-site"}, 403},
		{"POST", "/explain", "junk", []string{"Content-Type", "message/mls", "Origin", "http://elsewhere.example"}, 403},
	} {
		resp, body := s.asked(row.method, row.path, []byte(row.body), row.headers...)
		if resp.StatusCode != row.status || strings.ContainsAny(strings.TrimSuffix(body, "\n"), "\x1b\n") {
			t.Errorf("%s %s: %s %q, want %d", row.method, row.path, resp.Status, body, row.status)
		}
	}
	if log := s.log.String(); log != "" {
		t.Errorf("that was logged: %s", log)
	}
}

func TestTheSocketExplains(t *testing.T) {
	s := startSocket(t, fileOf(t, ""))
	s.stock(1)
	status, body := s.ask("GET", "/explain?user=alice&device=phone")
	if status != 200 || !strings.Contains(body, "nobody has posted a Welcome for alice/phone") {
		t.Errorf("got %d %s", status, body)
	}
	status, body = s.ask("GET", "/explain?user=bob")
	if status != 404 || !strings.Contains(body, "What to do") {
		t.Errorf("got %d %s", status, body)
	}
	status, body = s.ask("GET", "/explain?user=%1b")
	if status != 400 || !strings.Contains(body, `"bad_identifier"`) {
		t.Errorf("got %d %s", status, body)
	}
}

// The API tells nobody.
func TestTheAPIDoesNotExplain(t *testing.T) {
	s := start(t, nil)
	s.call("GET", "/explain?user=alice", nil).want(404)
	s.call("POST", "/explain", []byte("x")).want(404)
}

func TestAnExplanationWantsTheAdminToken(t *testing.T) {
	s := start(t, func(o *server.Options) { o.AdminToken = "a-token-of-the-operator" })
	resp, body := s.asked("GET", "/explain?user=alice", nil)
	same(t, "status", resp.StatusCode, 401)
	if strings.Contains(body, "alice") {
		t.Errorf("it says %s", body)
	}
}

// A server that is not ready says so first.
func TestAServerInTroubleExplainsThat(t *testing.T) {
	s := start(t, nil)
	s.stock(1)
	s.store.ready = func() error { return fmt.Errorf("%w: it says 1970", delivery.ErrClock) }
	e := s.because("user=alice", explain.NotReady)
	if !strings.Contains(e.Headline, "it says 1970") {
		t.Errorf("it says %s", e.Headline)
	}
}

// Two installations under one id: each withdraws what the other has published.
func TestTwoInstallationsUnderOneIDAreNamed(t *testing.T) {
	s := start(t, nil)
	for range 3 {
		if e := s.explained("user=alice"); e.Cause == explain.SharedDevice {
			t.Errorf("it is suspected too early: %s", e.Headline)
		}
		s.stock(2)
		digest := s.call("GET", shelf, nil).want(200).text("digest")
		synced := s.call("POST", shelf+"/sync?all=1", object{"refs": []string{}}, "If-Match", digest).want(200)
		same(t, "fresh", words(synced.at("withdrawn_fresh")), "2")
	}
	e := s.because("user=alice", explain.SharedDevice)
	if !strings.Contains(e.Headline, "3 times") {
		t.Errorf("it says %s", e.Headline)
	}
}

func TestRefusalsAreRememberedForWhomTheyConcern(t *testing.T) {
	s := startWithTokens(t, func(o *server.Options) { o.BudgetClock = stillClock{}.Now })
	alice, bob, carol := s.token(ofUser("alice")), s.token(ofUser("bob")), s.token(ofUser("carol"))
	s.call("POST", shelf, []byte("\x00\x01\x00\x01junk"), alice...).want(422)
	s.call("POST", shelf, []byte("\x00\x01\x00\x01junk"), alice...).want(422)
	e := s.because("user=alice", explain.Refused)
	if !strings.Contains(e.Headline, "422 invalid_key_package 2 times") {
		t.Errorf("it says %s", e.Headline)
	}
	kps := newKeyPackages(2)
	s.call("POST", shelf, publication{kps}, alice...).want(201)

	// The verdicts of a post, with who posted.
	welcome := mlstest.WelcomeFor(kps[0])
	s.call("POST", "/v1/welcomes", welcome, bob...).want(201)
	s.call("POST", "/v1/welcomes?dry_run=1", mlstest.WelcomeFor(kps[0]), carol...).want(409)
	if text := s.explained("user=alice").Text(); strings.Contains(text, "carol") {
		t.Errorf("what was only tried is told: %s", text)
	}
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0]), carol...).want(409)
	e = s.because("user=alice", explain.Mismatch)
	if !strings.Contains(e.Headline, `a Welcome of "carol" for alice/phone was refused`) || !strings.Contains(e.Headline, `"bob" posted a Welcome for it`) {
		t.Errorf("it says %s", e.Headline)
	}
	s.because("ref="+refOf(kps[0]), explain.Mismatch)

	// Of a Welcome that was taken, for those who do not get it.
	unknown := newKeyPackages(1)[0]
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[1], unknown), carol...).want(201)
	e = s.because("ref="+refOf(unknown), explain.UnknownRef)
	if !strings.Contains(e.Text(), `a Welcome of "carol" for KeyPackage`) {
		t.Errorf("it says %s", e.Text())
	}

	// Reservations that got nothing.
	s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, bob...).want(200)
	if text := s.explained("user=alice").Text(); !strings.Contains(text, `"bob" asked for a KeyPackage and got none (exhausted)`) {
		t.Errorf("it says %s", text)
	}
	s.call("POST", shelf, publication{newKeyPackages(1)}, alice...).want(201)
	s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}, "cipher_suites": []int{2, 5}}, bob...).want(200)
	if text := s.explained("user=alice").Text(); !strings.Contains(text, `(incompatible): "cipher`) {
		t.Errorf("it says %s", text)
	}

	// Those who are not Alice.
	s.call("POST", phone+"/claim", nil).want(401)
	s.call("POST", phone+"/claim", nil, bob...).want(403)
	text := s.explained("user=alice").Text()
	if !strings.Contains(text, `POST …/claim of "127.0.0.1" was answered 401 unauthenticated`) || !strings.Contains(text, `POST …/claim of "bob" was answered 403 forbidden`) {
		t.Errorf("it says %s", text)
	}
}

// Tokens are in no explanation.
func TestNoSecretIsRemembered(t *testing.T) {
	s := startWithTokens(t)
	token, text := auth.NewToken(ofUser("alice"))
	_ = token // never kept
	s.call("POST", phone+"/claim", nil, "Authorization", "Bearer "+text).want(401)
	s.call("POST", phone+"/claim", nil, "Authorization", "Bearer x.y.z-"+text).want(401)
	_, body := s.asked("GET", "/explain?user=alice", nil, "Accept", "application/json")
	if strings.Contains(body, text[len(text)-20:]) || !strings.Contains(body, "invalid_token") {
		t.Errorf("it says %s", body)
	}
}

// Nobody can have what was refused to others forgotten.
func TestAFloodOfRefusalsForgetsNobodyElses(t *testing.T) {
	s := startWithTokens(t)
	alice, mallory := s.token(ofUser("alice")), s.token(ofUser("mallory"))
	s.call("POST", phone+"/claim", `{"max":0}`, alice...).want(400)
	kps := newKeyPackages(1)
	s.call("POST", shelf, publication{kps}, alice...).want(201)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0]), alice...).want(201)
	s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps[0]), s.token(ofUser("bob"))...).want(409)
	s.call("POST", phone+"/claim", nil, "Authorization", "Bearer of.carol").want(401)
	for i := range 600 {
		path := fmt.Sprintf("/v1/users/mallory/devices/d%d/claim", i)
		s.call("POST", path, `{"max":0}`, mallory...).want(400)
		s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(newKeyPackages(1)[0], kps[0]), mallory...).want(409)
		s.call("POST", fmt.Sprintf("/v1/users/u%d/devices/d/claim", i), nil, mallory...).want(403)
	}
	text := s.explained("user=alice").Text()
	for _, says := range []string{`POST …/claim of "alice" was answered 400`, `a Welcome of "bob"`, `was answered 401 invalid_token`} {
		if !strings.Contains(text, says) {
			t.Errorf("%s is forgotten: %s", says, text)
		}
	}
	if n := server.Notes(s.server); n > 60 {
		t.Errorf("%d notes are kept", n)
	}
}

// Requests that are served leave nothing, and refusals no more than fits.
func TestTheMemoryOfRefusalsIsBounded(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(3)
	s.post("", kps[0])
	s.call("POST", phone+"/claim", nil).want(200)
	same(t, "notes", server.Notes(s.server), 0)
	for i := range 1000 {
		s.call("POST", fmt.Sprintf("/v1/users/user%d/devices/%s/claim", i, strings.Repeat("d", 255)), `{"max":0}`).want(400)
	}
	same(t, "notes", server.Notes(s.server), 256)
}

// A copy that was restored explains why its shelves are empty.
func TestARestoredServerExplainsItsEmptyShelves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	open := func() *bolt.Store {
		store, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits(), Clock: stillClock{}})
		must(t, err)
		t.Cleanup(func() { store.Close() })
		return store
	}
	store := open()
	s := start(t, func(o *server.Options) { o.Store = store })
	s.stock(3)
	s.stop()
	wait(t, "the server", s.ended)
	must(t, store.Close())
	must(t, bolt.MarkRestored(context.Background(), path))
	again := open()
	s = start(t, func(o *server.Options) { o.Store = again })
	s.because("user=alice", explain.Restored)
}

// TestTheAdderIsToldWhatWasRefused: who only adds others has never published, and
// that is not why they cannot.
func TestTheAdderIsToldWhatWasRefused(t *testing.T) {
	s := startWithTokens(t, func(o *server.Options) {
		o.Budgets.Pair, o.BudgetClock = server.Budget{Burst: 1, PerHour: 1}, stillClock{}.Now
	})
	s.call("POST", shelf, publication{newKeyPackages(3)}, s.token(ofUser("alice"))...).want(201)
	bob := s.token(ofUser("bob"))
	reserve := func() reply {
		return s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"alice"}}, bob...)
	}
	reserve().want(200)
	for range 3 {
		detail := reserve().refused(429, "pair_budget").text("detail")
		if !strings.Contains(detail, "reserve again without") {
			t.Errorf("it does not say what to do: %s", detail)
		}
	}
	e := s.because("user=bob", explain.AdderRefused)
	text := strings.Join(strings.Fields(e.Text()), " ")
	if !strings.Contains(text, "POST /v1/key-packages/reserve") || !strings.Contains(text, "429 pair_budget") || !strings.Contains(text, "3 times") ||
		!strings.Contains(text, codes.Refusals["pair_budget"].Do) {
		t.Errorf("it says %s", e.Text())
	}
	if text := s.explained("user=alice").Text(); strings.Contains(text, "pair_budget") {
		t.Errorf("the other is told: %s", text)
	}
}

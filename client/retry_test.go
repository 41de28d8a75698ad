package client_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"welcomed/client"
	"welcomed/delivery"
	"welcomed/mls/mlstest"
	"welcomed/operator/codes"
	"welcomed/server"
)

// A script answers one request after the other, the last answer again and again. An answer
// is a status and a code, and a Retry-After if there is a third word; or an error.
type script struct {
	answers  []string
	requests []*http.Request
	bodies   []string
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	next := s.answers[min(len(s.requests), len(s.answers)-1)]
	s.requests, s.bodies = append(s.requests, r), append(s.bodies, string(body))
	words := strings.Fields(next)
	status, err := strconv.Atoi(words[0])
	if err != nil {
		return nil, errors.New(next)
	}
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}
	if status >= 300 && len(words) > 1 {
		resp.Header.Set("Content-Type", "application/problem+json")
		resp.Body = io.NopCloser(strings.NewReader(fmt.Sprintf(`{"code":%q,"detail":"why"}`, words[1])))
	}
	if len(words) > 2 {
		resp.Header.Set("Retry-After", words[2])
	}
	return resp, nil
}

// TestWhatIsRepeated: what a request is answered, and how often it is sent.
func TestWhatIsRepeated(t *testing.T) {
	acknowledge := func(c *client.Client) error { return c.Acknowledge(context.Background(), phone, "id", "") }
	create := func(c *client.Client) error {
		_, err := c.CreateToken(context.Background(), phone, client.NewToken{})
		return err
	}
	for _, row := range []struct {
		what    string
		ask     func(*client.Client) error
		answers []string
		sent    int
		ok      bool
	}{
		{"the connection is lost once", acknowledge, []string{"reset", "204"}, 2, true},
		{"the server is never there", acknowledge, []string{"refused"}, 5, false},
		{"the server stops and starts", acknowledge, []string{"503 shutting_down 1", "refused", "503 store_unavailable 1", "204"}, 4, true},
		{"nobody knows what has happened", acknowledge, []string{"503 outcome_unknown 1", "204"}, 2, true},
		{"the server has a fault", acknowledge, []string{"500 internal", "204"}, 2, true},
		{"a proxy cannot reach the server", acknowledge, []string{"502", "504", "204"}, 3, true},
		{"too much at a time", acknowledge, []string{"429 too_many_requests 1", "204"}, 2, true},
		{"the body came too slowly", acknowledge, []string{"408 request_timeout", "204"}, 2, true},
		{"a decision", acknowledge, []string{"409 not_delivered", "204"}, 1, false},
		{"a decision although there is a Retry-After", acknowledge, []string{"409 not_delivered 1", "204"}, 1, false},
		{"a user whom one leaves out", acknowledge, []string{"429 pair_budget 1", "204"}, 1, false},
		{"a budget that refills in an hour", acknowledge, []string{"429 caller_budget 3600", "204"}, 1, false},
		{"there is no room on the disk", acknowledge, []string{"507 store_full", "204"}, 1, false},
		{"another server answers", func(c *client.Client) error { _, err := c.Outcome(context.Background(), "id"); return err },
			[]string{"200 {}"}, 1, true},

		{"a token that may have been made", create, []string{"reset", "200"}, 1, false},
		{"a token of which nobody knows", create, []string{"503 outcome_unknown 1", "200"}, 1, false},
		{"a token behind a proxy", create, []string{"504", "200"}, 1, false},
		{"a token that was not made", create, []string{"503 overloaded 1", "200"}, 2, true},
	} {
		s := &script{answers: row.answers}
		c := (&client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}}).Pausing(func(time.Duration) {})
		if err := row.ask(c); (err == nil) != row.ok || len(s.requests) != row.sent {
			t.Errorf("%s: sent %d times, want %d: %v", row.what, len(s.requests), row.sent, err)
		}
	}
}

// TestTheServerSaysWhen: a Retry-After is obeyed and never undercut, and clients that were
// answered together do not come back together.
func TestTheServerSaysWhen(t *testing.T) {
	var pauses []time.Duration
	for range 100 {
		s := &script{answers: []string{"503 overloaded 4", "204"}}
		c := &client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}}
		must(t, c.Pausing(func(d time.Duration) { pauses = append(pauses, d) }).Withdraw(t.Context(), phone, "ref"))
	}
	if slices.Min(pauses) < 4*time.Second || slices.Max(pauses) > 6*time.Second || slices.Min(pauses) == slices.Max(pauses) {
		t.Errorf("paused from %s to %s", slices.Min(pauses), slices.Max(pauses))
	}
	pauses = nil
	s := &script{answers: []string{"refused"}}
	c := &client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}, Attempts: 9}
	_ = c.Pausing(func(d time.Duration) { pauses = append(pauses, d) }).Withdraw(t.Context(), phone, "ref")
	if len(pauses) != 8 || slices.Max(pauses) > 30*time.Second || pauses[0] > 250*time.Millisecond {
		t.Errorf("paused %v", pauses)
	}
}

func TestWhoGivesUpIsTold(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &script{answers: []string{"503 overloaded 1"}}
	c := &client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}}
	_, err := c.Pausing(func(time.Duration) { cancel() }).About(ctx)
	if !errors.Is(err, context.Canceled) || client.CodeOf(err) != client.CodeOverloaded || len(s.requests) != 1 {
		t.Errorf("sent %d times: %v", len(s.requests), err)
	}
	if _, err := (&client.Client{URL: "mls.example.org"}).About(t.Context()); err == nil || !strings.Contains(err.Error(), "want one like https://") {
		t.Errorf("%v", err)
	}
}

// A reservation that is repeated has one key, and another reservation has another.
func TestAReservationIsRepeatedUnderOneKey(t *testing.T) {
	s := &script{answers: []string{"reset", "503 overloaded 1", "200"}}
	c := (&client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}}).Pausing(func(time.Duration) {})
	for range 2 {
		_, err := c.Reserve(t.Context(), client.Reserving{Users: []string{"alice"}})
		must(t, err)
	}
	key := func(i int) string { return s.requests[i].Header.Get("Idempotency-Key") }
	if len(s.requests) != 4 || key(0) == "" || key(0) != key(1) || key(0) != key(2) || key(0) == key(3) || s.bodies[0] != s.bodies[2] {
		t.Errorf("%d requests with %s %s %s %s", len(s.requests), key(0), key(1), key(2), key(3))
	}
}

func TestATokenIsAskedForAnew(t *testing.T) {
	s := &script{answers: []string{"401 invalid_token", "204"}}
	tokens := []string{"old", "new", "new"}
	c := &client.Client{URL: "http://server", HTTP: &http.Client{Transport: s}, OnBehalfOf: "alice/phone"}
	c.Token = func(context.Context) (string, error) {
		next := tokens[0]
		tokens = tokens[1:]
		return next, nil
	}
	must(t, c.Withdraw(t.Context(), phone, "ref"))
	same(t, "token", s.requests[1].Header.Get("Authorization"), "Bearer new")
	same(t, "behalf", s.requests[1].Header.Get("On-Behalf-Of"), "alice/phone")

	c.Token = client.StaticToken("revoked")
	s = &script{answers: []string{"401 invalid_token"}}
	c.HTTP = &http.Client{Transport: s}
	e := refusal(t, c.Withdraw(t.Context(), phone, "ref"), client.CodeInvalidToken)
	same(t, "attempts", e.Attempts, 1)
}

// Whoever repeats a revocation whose answer was lost finds nothing, and has succeeded.
func TestARevocationIsRepeated(t *testing.T) {
	c := (&client.Client{URL: "http://server"}).Pausing(func(time.Duration) {})
	c.HTTP = &http.Client{Transport: &script{answers: []string{"reset", "404 not_found"}}}
	must(t, c.RevokeToken(t.Context(), phone, "id"))
	c.HTTP = &http.Client{Transport: &script{answers: []string{"404 not_found"}}}
	refusal(t, c.RevokeToken(t.Context(), phone, "id"), client.CodeNotFound)
}

// TestTheCodesAreThoseOfTheServer, and what the client repeats is what the server's words
// say is of use.
func TestTheCodesAreThoseOfTheServer(t *testing.T) {
	want := []string{
		string(delivery.ItemExpired), string(delivery.ItemNotYetValid), string(delivery.ItemLifetimeTooLong), string(delivery.ItemSpent),
	}
	for _, kind := range server.ProblemKinds() {
		if !slices.Contains(want, kind.Code) {
			want = append(want, kind.Code)
		}
		e := &client.Error{Status: kind.Status, Code: client.Code(kind.Code)}
		repeat := codes.Refusals[kind.Code].Repeat
		wait := repeat == codes.RepeatNow || repeat == codes.RepeatLater
		if e.Temporary() != (wait && kind.Status != 507) { // a full disk takes longer than a call should
			t.Errorf("%d %s: repeated: %v; the server says: %s", kind.Status, kind.Code, e.Temporary(), repeat)
		}
	}
	slices.Sort(want)
	if got := constants(t, "codes.go", "Code"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheStatusesAreThoseOfTheServer(t *testing.T) {
	for name, want := range map[string][]string{
		"Reason":         texts(delivery.Reasons),
		"DeviceStatus":   texts(delivery.DeviceReserveStatuses),
		"GiveBackReason": texts(delivery.GiveBackReasons),
	} {
		if got := append(constants(t, "welcomes.go", name), constants(t, "keypackages.go", name)...); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	statuses := constants(t, "welcomes.go", "RecipientStatus")
	for _, status := range texts(delivery.Mismatches) {
		if !slices.Contains(statuses, status) {
			t.Errorf("a recipient has no status %s", status)
		}
	}
}

func texts[T ~string](list []T) (texts []string) {
	for _, v := range list {
		texts = append(texts, string(v))
	}
	slices.Sort(texts)
	return texts
}

// constants are the values of all constants of a type in a file, sorted.
func constants(t *testing.T, file, of string) (values []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
	must(t, err)
	ast.Inspect(f, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			if name, ok := spec.Type.(*ast.Ident); ok && name.Name == of {
				value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				must(t, err)
				values = append(values, value)
			}
		}
		return true
	})
	slices.Sort(values)
	return values
}

// A newer server may say more.
func TestWhatIsNotKnownIsIgnored(t *testing.T) {
	defer client.Loosely()()
	answer := func(status int, media, body string) *client.Client {
		return &client.Client{URL: "http://server/under/a/path/", HTTP: through(func(r *http.Request) (*http.Response, error) {
			same(t, "path", r.URL.EscapedPath(), "/under/a/path/v1/users/a%7Cb/devices/it%27s/claim")
			return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {media}}, Body: io.NopCloser(strings.NewReader(body))}, nil
		})}
	}
	device := client.DeviceID{User: "a|b", Name: "it's"}
	claimed, err := answer(200, "application/json", `{"welcomes":[{"id":"x","mood":"good"}],"more":true,"weather":{}}`).Claim(t.Context(), device, client.Claiming{})
	must(t, err)
	same(t, "id", claimed.Welcomes[0].ID, "x")
	_, err = answer(418, "application/problem+json", `{"code":"is_a_teapot","detail":"short and stout","size":3}`).Claim(t.Context(), device, client.Claiming{})
	same(t, "unknown code", client.CodeOf(err), "is_a_teapot")
	_, err = answer(200, "text/html", `<html>Sign in to the hotel</html>`).Claim(t.Context(), device, client.Claiming{})
	if err == nil || !strings.Contains(err.Error(), "no answer of welcomed") {
		t.Errorf("%v", err)
	}
}

func TestDigestOfNothing(t *testing.T) {
	s, ctx := serve(t), t.Context()
	alice := s.service().For("alice")
	inventory, err := alice.Inventory(ctx, phone)
	must(t, err)
	same(t, "of nothing", inventory.Digest, client.Digest(nil))
	_, err = alice.Publish(ctx, phone, "", mlstest.NewSigner(1, "alice").KeyPackage(), mlstest.NewSigner(7, "alice").KeyPackage())
	must(t, err)
	inventory, err = alice.Inventory(ctx, phone)
	must(t, err)
	slices.Reverse(inventory.Refs)
	same(t, "of refs of two sizes", inventory.Digest, client.Digest(inventory.Refs))
	all, err := alice.Sync(ctx, phone, inventory.Digest, nil)
	must(t, err)
	same(t, "withdrawn", len(all.Withdrawn), 2)
	_, err = alice.Sync(ctx, phone, inventory.Digest, nil)
	refusal(t, err, client.CodeInventoryChanged)
}

package server_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/operator/codes"
	"welcomed/server"
)

// A refusingStore answers every inventory with its error, or panics.
type refusingStore struct {
	delivery.Store
	err   error
	panic any
}

func (s *refusingStore) Inventory(context.Context, delivery.Caller, delivery.DeviceID) (delivery.Inventory, error) {
	if s.panic != nil {
		panic(s.panic)
	}
	return delivery.Inventory{}, s.err
}

// TestWhatTheStoreRefusesHasAStatus: every error that package delivery declares
// has one. The words of a 5xx are not for clients.
func TestWhatTheStoreRefusesHasAStatus(t *testing.T) {
	store := &refusingStore{}
	s := start(t, func(o *server.Options) { o.Store = store })
	rows := []struct {
		err    error
		status int
		code   string
	}{
		{delivery.ErrBadIdentifier, 400, "bad_identifier"},
		{delivery.ErrBadCursor, 400, "bad_request"},
		{delivery.ErrNotFound, 404, "not_found"},
		{delivery.ErrInvalidKeyPackage, 422, "invalid_key_package"},
		{delivery.ErrKeyPackageSpent, 409, "key_package_spent"},
		{delivery.ErrInitKeyReused, 409, "init_key_reused"},
		{delivery.ErrNotYours, 409, "not_yours"},
		{delivery.ErrStockFull, 409, "stock_full"},
		{delivery.ErrDeviceLimit, 409, "device_limit"},
		{delivery.ErrDeviceRemoved, 403, "device_removed"},
		{delivery.ErrTooManyTokens, 409, "too_many_tokens"},
		{delivery.ErrWrongSuite, 422, "wrong_suite"},
		{delivery.ErrConsumed, 409, "consumed"},
		{delivery.ErrInventoryChanged, 412, "inventory_changed"},
		{delivery.ErrIdempotencyKeyReused, 422, "idempotency_key_reused"},
		{delivery.ErrTooMany, 422, "too_many"},
		{delivery.ErrNoMatchingKeyPackage, 409, "no_matching_key_package"},
		{delivery.ErrPostedDifferently, 409, "posted_differently"},
		{delivery.ErrCancelled, 409, "cancelled"},
		{delivery.ErrNotDelivered, 409, "not_delivered"},
		{delivery.ErrDamaged, 410, "damaged"},
		{delivery.ErrFull, 507, "store_full"},
		{delivery.ErrDiskFull, 507, "store_full"},
		{delivery.ErrSizeLimit, 507, "store_full"},
		{delivery.ErrOutcomeUnknown, 503, "outcome_unknown"},
		{delivery.ErrUnavailable, 503, "store_unavailable"},
		{delivery.ErrFileGone, 503, "store_unavailable"},
		{delivery.ErrClosed, 503, "shutting_down"},
		{delivery.ErrClock, 503, "clock_not_trusted"},
	}
	source, err := os.ReadFile("../delivery/errors.go")
	must(t, err)
	same(t, "errors declared", len(regexp.MustCompile(`(?m)^\tErr\w+ = (errors\.New|fmt\.Errorf)`).FindAll(source, -1))-1, len(rows)) // ErrNoCaller is the server's own fault: 500
	for _, row := range rows {
		store.err = fmt.Errorf("in /secret/path: %w", row.err)
		r := s.call("GET", shelf, nil)
		detail := r.refused(row.status, row.code).text("detail")
		same(t, row.code+" says where", strings.Contains(detail, "secret"), row.status < 500)
		same(t, row.code+" says when", r.header.Get("Retry-After") != "", row.status == 503)
	}
	same(t, "log", s.log.String(), "")
}

func TestA500IsLoggedOnceAndSaysNothing(t *testing.T) {
	store := &refusingStore{err: errors.New("row 7 is broken")}
	s := start(t, func(o *server.Options) { o.Store = store })
	r := s.call("GET", shelf, nil, "Request-Id", "id-7")
	r.refused(500, "internal")
	same(t, "body", strings.Contains(string(r.body), "row 7"), false)
	same(t, "lines", strings.Count(s.log.String(), "\n"), 1)
	for _, part := range []string{"row 7 is broken", "id-7", "/v1/users/:user/devices/:device/key-packages"} {
		same(t, part, strings.Contains(s.log.String(), part), true)
	}
	s.saw(observation{"/v1/users/:user/devices/:device/key-packages", "GET", 500})
}

func TestADetailIsNotAnEcho(t *testing.T) {
	s := start(t, nil)
	r := s.call("POST", phone+"/claim", object{"skip": []string{strings.Repeat("é", 100_000)}})
	r.refused(400, "bad_request")
	same(t, "short", len(r.body) < 1000, true)
}

func TestAPanicIsA500(t *testing.T) {
	store := &refusingStore{panic: "broken"}
	s := start(t, func(o *server.Options) { o.Store = store })
	s.call("GET", shelf, nil).refused(500, "internal")
	same(t, "log", strings.Contains(s.log.String(), "panic: broken"), true)
	s.call("GET", "/v1/users/alice/x", nil).refused(404, "not_found")
}

func TestLabelsComeFromNoRequest(t *testing.T) {
	s := start(t, nil)
	s.call("GET", "/v1/users/alice/nothing", nil).want(404)
	s.saw(observation{"none", "GET", 404})
	s.call("BREW", "/v1", nil).want(405)
	s.saw(observation{"none", "other", 405})
	s.call("GET", shelf, nil).want(200)
	s.saw(observation{"/v1/users/:user/devices/:device/key-packages", "GET", 200})
}

// TestEveryKindOfProblemIsKnownBeforeItHappens: a counter that begins with its
// first event never shows that one.
func TestEveryKindOfProblemIsKnownBeforeItHappens(t *testing.T) {
	kinds := server.ProblemKinds()
	for code, status := range server.Answers() {
		same(t, code, slices.Contains(kinds, server.ProblemKind{Status: status, Code: code}), true)
	}
	for _, kind := range []server.ProblemKind{{Status: 500, Code: "internal"}, {Status: 422, Code: "bad_signature"}, {Status: 400, Code: "wrong_message_type"}} {
		same(t, kind.Code, slices.Contains(kinds, kind), true)
	}
	slices.SortFunc(kinds, func(a, b server.ProblemKind) int { return strings.Compare(a.Code, b.Code) })
	same(t, "codes with two statuses", len(slices.CompactFunc(kinds, func(a, b server.ProblemKind) bool { return a.Code == b.Code })), len(server.ProblemKinds()))
}

// TestEachCodeIsExplained: each code that an answer or a KeyPackage of one may have, and no
// other, and docs/errors.md has what the server says of it.
func TestEachCodeIsExplained(t *testing.T) {
	known, document := make(map[string]int), new(strings.Builder)
	for code := range itemCodes {
		known[code] = 0
	}
	for _, k := range server.ProblemKinds() {
		known[k.Code] = k.Status
	}
	for code := range codes.Refusals {
		if _, ok := known[code]; !ok {
			t.Errorf("there is no code %s", code)
		}
	}
	document.WriteString(errorsHead)
	for _, code := range slices.SortedFunc(maps.Keys(known), func(a, b string) int {
		return cmp.Or(cmp.Compare(known[a], known[b]), cmp.Compare(a, b))
	}) {
		r := codes.Refusals[code]
		if r.Do == "" {
			t.Errorf("%d %s is not explained", known[code], code)
		}
		status := strings.TrimPrefix(fmt.Sprint(known[code]), "0")
		fmt.Fprintf(document, "| %s | `%s` | %s | %s | %s |\n", status, code, r.Means, r.Repeat, inTable.Replace(r.Do))
	}
	const name = "../docs/errors.md"
	if *update {
		must(t, os.WriteFile(name, []byte(document.String()), 0o644))
	}
	if is, err := os.ReadFile(name); err != nil || string(is) != document.String() {
		t.Errorf("docs/errors.md is not of these codes (%v): go test ./server -run EachCodeIsExplained -args -update", err)
	}
}

const errorsHead = `# Codes of refusals

Every refusal has a stable ` + "`code`" + `, and ` + "`GET /v1/errors/{code}`" + ` says the same as this table: as
JSON, or in a browser as a page. The ` + "`detail`" + ` of a refusal says what is wrong, and ends with what to
do. A code without a status is of a KeyPackage in ` + "`invalid`" + `. This file is made of operator/codes.

| repeat | can the very same request succeed when it is sent again? |
|---|---|
| no | it is refused again |
| now | yes, at once |
| later | yes, after as many seconds as ` + "`Retry-After`" + ` says; without it, in some minutes |
| less | as later; a request for less can succeed at once |

| status | code | what it means | repeat | what to do |
|---|---|---|---|---|
`

// inTable writes what Markdown would take for something else in a table.
var inTable = strings.NewReplacer("<", "&lt;", "`", "&#96;")

// TestARefusalSaysWhatToDo: it stands behind the words of the error.
func TestARefusalSaysWhatToDo(t *testing.T) {
	s := start(t, nil)
	for _, row := range []struct {
		method, path string
		body         any
		status       int
		code         string
	}{
		{"POST", shelf, []byte("junk"), 422, "invalid_key_package"},
		{"POST", "/v1/welcomes", []byte("junk"), 400, "malformed_message"},
		{"GET", "/v1/welcomes/" + strings.Repeat("ab", 32), nil, 404, "not_found"},
		{"POST", shelf + "/sync", object{"refs": []string{}}, 400, "empty_refs"},
		{"GET", "/v1/users/alice/key-packages?cipher_suite=99", nil, 422, "unsupported_cipher_suite"},
	} {
		detail := s.call(row.method, row.path, row.body).refused(row.status, row.code).text("detail")
		if do := codes.Refusals[row.code].Do; !strings.HasSuffix(detail, ": "+do) || strings.Count(detail, do) != 1 {
			t.Errorf("%s: %s", row.code, detail)
		}
	}
}

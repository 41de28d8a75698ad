package server_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
	"welcomed/server/openapi"
)

// TestEveryRouteDoesWhatItSays goes through all routes as clients do, and fails
// if one was left out.
func TestEveryRouteDoesWhatItSays(t *testing.T) {
	s := start(t, nil)
	about := s.call("GET", "/v1", nil).want(200)
	same(t, "version", about.text("version"), "v0-test")
	same(t, "ready", about.at("ready"), any(true))
	same(t, "limit", words(about.at("limits", "key_package_bytes"), about.at("limits", "welcome_kept_seconds")), "65536 2592000")

	same(t, "as JSON", bytes.Equal(s.call("GET", "/v1/openapi.json", nil).body, openapi.JSON()), true)
	same(t, "as YAML", bytes.Equal(s.call("GET", "/v1/openapi.yaml", nil).body, openapi.YAML()), true)

	front := s.call("GET", "/", nil).want(200)
	for _, document := range []string{"about", "docs", "openapi", "errors"} {
		s.call("GET", front.text(document), nil).want(200)
	}
	same(t, "links", strings.Contains(string(s.call("GET", "/", nil, "Accept", "text/html").body), `href="/v1/docs"`), true)
	page := s.call("GET", "/v1/docs", nil)
	page.want(200)
	same(t, "page", strings.Contains(string(page.body), "<section id=\"giveBack\">"), true)
	same(t, "codes", len(s.call("GET", "/v1/errors", nil).want(200).list("errors")) > 80, true)
	code := s.call("GET", "/v1/errors/pair_budget", nil).want(200)
	same(t, "code", words(code.at("code"), code.at("status"), code.at("repeat")), "pair_budget 429 less")

	kps := newKeyPackages(4)
	published := s.call("POST", shelf, publication{kps}).want(201)
	same(t, "ref", published.text("key_packages", 0, "ref"), refOf(kps[0]))
	same(t, "members", words(keys(published.at("key_packages", 0).(map[string]any))),
		"[cipher_suite last_resort not_after not_before off_shelf_by ref status]")
	same(t, "not_after", published.text("key_packages", 0, "not_after"), "18446744073709551615")
	same(t, "off_shelf_by", published.text("key_packages", 0, "off_shelf_by"), "2027-03-01T12:00:00Z")
	same(t, "stock", words(published.at("stock")), "map[available:4 low:true room:496]")
	epoch := published.text("restore_epoch")
	s.call("POST", tablet+"/key-packages?restore_epoch="+epoch, signer.KeyPackage()).want(201)

	devices := s.call("GET", "/v1/users/alice/devices", nil).want(200)
	same(t, "devices", devices.text("devices", 0, "device")+" "+devices.text("devices", 1, "device"), "phone tablet")

	inventory := s.call("GET", shelf, nil).want(200)
	same(t, "refs", len(inventory.list("refs")), 4)
	same(t, "restore_epoch", inventory.text("restore_epoch"), epoch)
	same(t, "counts", words(inventory.at("counts", 0)), "map[available:4 cipher_suite:1 delivered:0 matched:0 reserved:0 retired:0]")
	digest := inventory.text("digest")
	compared := s.call("POST", shelf+"/sync", object{"digest": digest}).want(200)
	same(t, "in_sync", compared.at("in_sync"), any(true))
	synced := s.call("POST", shelf+"/sync", object{"refs": []string{refOf(kps[0]), refOf(kps[1]), refOf(kps[2])}}, "If-Match", digest).want(200)
	same(t, "withdrawn", words(synced.at("withdrawn"), synced.at("withdrawn_fresh"), synced.at("unknown"), synced.at("spent")), "["+refOf(kps[3])+"] 1 [] []")
	s.call("DELETE", shelf+"/"+refOf(kps[2]), nil).want(204)
	s.call("DELETE", shelf+"/"+refOf(kps[2]), nil).want(204)

	listing := s.call("GET", "/v1/users/alice/key-packages?device=phone", nil).want(200)
	same(t, "user", listing.text("user"), "alice")
	same(t, "listed", len(listing.list("devices", 0, "key_packages")), 2)
	same(t, "bytes", bytes.Equal(listing.bytes("devices", 0, "key_packages", 0, "bytes"), kps[0]), true)

	reserved := s.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": "alice", "device": "phone"}}}).want(200)
	same(t, "reserved", reserved.text("users", 0, "devices", 0, "key_package", "ref"), refOf(kps[0]))
	same(t, "statuses", reserved.text("users", 0, "status")+" "+reserved.text("users", 0, "devices", 0, "status"), "success reserved")
	same(t, "suite", words(reserved.at("cipher_suite")), "1")
	same(t, "state", s.call("GET", "/v1/key-packages/"+refOf(kps[0]), nil).want(200).text("state"), "reserved")

	tree := bytes.Repeat([]byte("tree"), 20<<10)
	welcome := mlstest.WelcomeFor(kps[0])
	posting := object{"welcome": welcome, "ratchet_tree": tree, "context": []byte("hello")}
	posted := s.call("POST", "/v1/welcomes?hold=1&require=all", posting)
	id := posted.want(201).text("id")
	same(t, "id", id, delivery.IDOf(delivery.Unauthenticated(), welcome).String())
	same(t, "location", posted.header.Get("Location"), "/v1/welcomes/"+id)
	same(t, "recipient", words(posted.want(201).at("recipients", 0)), fmt.Sprintf("map[device:phone ref:%s status:held user:alice]", refOf(kps[0])))
	again := s.call("POST", "/v1/welcomes?hold=true&require=all", posting)
	same(t, "repeated", again.want(200).text("id"), id)
	same(t, "held", s.call("GET", "/v1/welcomes/"+id, nil).want(200).at("held"), any(true))
	same(t, "released", s.call("POST", "/v1/welcomes/"+id+"/release", nil).want(200).at("held"), any(false))

	claimed := s.call("POST", phone+"/claim", nil).want(200)
	same(t, "claimed", claimed.text("welcomes", 0, "id"), id)
	same(t, "welcome", bytes.Equal(claimed.bytes("welcomes", 0, "welcome"), mls.Wrap(mls.WireFormatWelcome, welcome)), true)
	same(t, "context", string(claimed.bytes("welcomes", 0, "context")), "hello")
	same(t, "tree", words(claimed.at("welcomes", 0, "ratchet_tree"), claimed.at("welcomes", 0, "ratchet_tree_size")), "<nil> 81920")
	same(t, "rest", words(claimed.at("more"), claimed.at("withheld"), claimed.at("stock")), "false 0 map[available:1 low:true]")
	fetched := s.call("GET", phone+"/welcomes/"+id+"/ratchet-tree", nil)
	fetched.want(200)
	same(t, "tree", bytes.Equal(fetched.body, tree), true)
	s.call("POST", phone+"/welcomes/"+id+"/reject", object{"reason": "undecryptable", "detail": "no luck — 运气"}).want(204)
	outcome := s.call("GET", "/v1/welcomes/"+id, nil).want(200)
	same(t, "outcome", words(outcome.at("recipients", 0, "status"), outcome.at("recipients", 0, "reason"), outcome.at("recipients", 0, "detail"),
		outcome.at("held"), outcome.at("require"), outcome.at("cancelled")), "rejected undecryptable no luck — 运气 false all false")
	same(t, "times", outcome.text("recipients", 0, "released_at")+outcome.text("recipients", 0, "delivered_at")+outcome.text("recipients", 0, "ended_at"),
		strings.Repeat("2026-12-01T12:00:00Z", 3))
	s.call("POST", phone+"/welcomes/"+id+"/ack", object{"ref": refOf(kps[0])}).want(204)
	s.call("POST", phone+"/welcomes/"+id+"/ack", `{}`).want(204)

	second := s.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": "alice", "device": "phone"}}}).want(200)
	same(t, "the second", second.text("users", 0, "devices", 0, "key_package", "ref"), refOf(kps[1]))
	back := s.call("POST", "/v1/key-packages/give-back", object{"reservation": second.text("reservation")}).want(200)
	same(t, "given back", words(back.at("key_packages", 0)), fmt.Sprintf("map[ref:%s status:given_back]", refOf(kps[1])))

	other, _ := s.post("?hold=1", kps[1])
	cancelled := s.call("DELETE", "/v1/welcomes/"+other, nil).want(200)
	same(t, "cancelled", cancelled.text("recipients", 0, "status"), "cancelled")
	s.call("POST", "/v1/welcomes/"+other+"/release", nil).refused(409, "cancelled")

	replaced := s.call("PUT", shelf+"?cipher_suite=1", publication{newKeyPackages(1)}).want(200)
	same(t, "replaced", replaced.text("key_packages", 0, "status"), "stored")
	s.call("PUT", shelf, publication{[][]byte{}}).want(200)
	s.call("DELETE", tablet, nil).want(204)
	s.call("DELETE", "/v1/users/alice", nil).want(204)
	same(t, "devices", len(s.call("GET", "/v1/users/alice/devices", nil).want(200).list("devices")), 0)

	for _, path := range []string{phoneEvents, aliceEvents} {
		same(t, "events", words(s.call("GET", path+"?poll=1", nil).want(200).at("events")), "[]")
	}

	for _, route := range server.Routes() {
		method, path, _ := strings.Cut(route, " ")
		if strings.Contains(path, "/tokens") || path == "/v1/events" || route == "PUT /v1/users/:user/devices/:device/key-packages/:ref" {
			continue // only where there is authentication
		}
		if !slices.ContainsFunc(s.observed, func(o observation) bool { return o.route == path && o.method == method && o.code < 300 }) {
			t.Errorf("%s was not served", route)
		}
	}
}

// TestRefusals: each line is one thing that a client does wrong.
func TestRefusals(t *testing.T) {
	s := start(t, func(o *server.Options) {
		o.Limits.UsersPerReserve, o.Limits.DevicesPerReserve = 2, 2
		o.Limits.RecipientsPerWelcome = 3
		o.Limits.WelcomeBytes = 10_000
		o.Limits.KeyPackagesPerPublish = 3
		o.Limits.KeyPackagesPerDevice = 3
		o.Limits.KeyPackageBytes = 1000
		o.Limits.DevicesPerUser = 2
		o.Limits.CipherSuites = []mls.CipherSuite{1, 2}
	})
	kps := s.stock(3)
	s.call("POST", tablet+"/key-packages", signer.KeyPackage()).want(201)
	id, welcome := s.post("", kps[0])
	other := mlstest.WelcomeFor(kps[0])
	gone, goneWelcome := s.post("", kps[1])
	s.call("DELETE", "/v1/welcomes/"+gone, nil).want(200)
	unknown := strings.Repeat("ab", 32)
	b64 := func(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
	digest := s.call("GET", shelf, nil).want(200).text("digest")
	reused := []string{"Idempotency-Key", "k1"}
	s.call("POST", "/v1/key-packages/reserve", object{"users": []string{"zoe"}}, reused...).want(200)
	const giveBack = "/v1/key-packages/give-back"
	held := s.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": "alice", "device": "tablet"}}}).want(200).text("reservation")
	large := slices.Concat(welcome[:2], bytes.Repeat([]byte{1}, 20_000))

	for _, row := range []struct {
		what, method, path string
		body               any
		headers            []string
		status             int
		code               string
	}{
		{"no such path", "GET", "/v2", nil, nil, 404, "not_found"},
		{"a slash too many", "GET", "/v1/", nil, nil, 404, "not_found"},
		{"a slash too many behind a leaf", "GET", shelf + "/", nil, nil, 404, "not_found"},
		{"capitals", "GET", "/V1", nil, nil, 404, "not_found"},
		{"an escaped slash is part of the id", "GET", "/v1/users/a%2Fb/devices", nil, nil, 400, "bad_identifier"},
		{"an id of dots", "GET", "/v1/users/%2E%2E/devices", nil, nil, 400, "bad_identifier"},
		{"a space in an id", "DELETE", "/v1/users/alice/devices/my%20phone", nil, nil, 400, "bad_identifier"},
		{"an empty id", "GET", "/v1/users//devices", nil, nil, 400, "bad_identifier"},
		{"an id that is too long", "GET", "/v1/users/" + strings.Repeat("x", 256) + "/devices", nil, nil, 400, "bad_identifier"},
		{"a method that is not there", "PATCH", shelf, nil, nil, 405, "method_not_allowed"},
		{"a method that nobody has", "BREW", "/v1", nil, nil, 405, "method_not_allowed"},
		{"an unknown query parameter", "POST", "/v1/welcomes?holds=1", welcome, nil, 400, "bad_request"},
		{"a query parameter twice", "POST", "/v1/welcomes?hold=0&hold=1", welcome, nil, 400, "bad_request"},
		{"a query that is none", "GET", "/v1/users/alice/key-packages?a;b", nil, nil, 400, "bad_request"},

		{"JSON with an unknown member", "POST", shelf, `{"keyPackages":[]}`, nil, 400, "bad_request"},
		{"JSON that ends early", "POST", shelf, `{"key_packages":[`, nil, 400, "bad_request"},
		{"JSON with something behind", "POST", shelf, `{} {}`, nil, 400, "bad_request"},
		{"JSON of another type", "POST", shelf, `{"key_packages":"x"}`, nil, 400, "bad_request"},
		{"base64 with a line break", "POST", shelf, `{"key_packages":["AAEA\nAQ=="]}`, nil, 400, "bad_request"},
		{"base64 of two alphabets", "POST", shelf, `{"key_packages":["-+=="]}`, nil, 400, "bad_request"},
		{"base64 with bits left over", "POST", shelf, `{"key_packages":["AB=="]}`, nil, 400, "bad_request"},
		{"not base64", "POST", shelf, `{"key_packages":["!!!!"]}`, nil, 400, "bad_request"},
		{"a form", "POST", shelf, `a=b`, []string{"Content-Type", "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"a body of no type", "POST", shelf, `{}`, []string{"Content-Type", ""}, 415, "unsupported_media_type"},
		{"raw where only JSON is read", "POST", phone + "/claim", []byte("x"), nil, 415, "unsupported_media_type"},
		{"a compressed body", "POST", shelf, `{}`, []string{"Content-Encoding", "gzip"}, 415, "unsupported_media_type"},
		{"a body that is too large", "POST", phone + "/claim", strings.Repeat(" ", 1<<20+1), nil, 413, "too_large"},

		{"no KeyPackages", "POST", shelf, nil, nil, 400, "no_key_packages"},
		{"an empty list of KeyPackages", "POST", shelf, `{"key_packages":[]}`, nil, 400, "no_key_packages"},
		{"a replacement without a list", "PUT", shelf, nil, nil, 400, "no_key_packages"},
		{"too many KeyPackages", "POST", shelf, publication{newKeyPackages(4)}, nil, 400, "too_many_key_packages"},
		{"a KeyPackage that is none", "POST", shelf, []byte("\x00\x01\x00\x01junk"), nil, 422, "invalid_key_package"},
		{"a KeyPackage that is too large", "POST", shelf, signer.KeyPackage(mlstest.WithPadding(1000)), nil, 422, "invalid_key_package"},
		{"a suite that is not accepted", "POST", shelf, mlstest.NewSigner(3, "a").KeyPackage(), nil, 422, "invalid_key_package"},
		{"a suite that is not replaced", "PUT", shelf + "?cipher_suite=2", kps[2], nil, 422, "wrong_suite"},
		{"a suite that is no number", "PUT", shelf + "?cipher_suite=0", kps[2], nil, 400, "bad_request"},
		{"the shelf is full", "POST", shelf, publication{newKeyPackages(3)}, nil, 409, "stock_full"},
		{"one device too many", "POST", "/v1/users/alice/devices/third/key-packages", signer.KeyPackage(), nil, 409, "device_limit"},
		{"the bytes of another device", "POST", tablet + "/key-packages", kps[2], nil, 409, "not_yours"},

		{"a digest and refs", "POST", shelf + "/sync", `{"digest":"","refs":[]}`, nil, 400, "bad_request"},
		{"neither digest nor refs", "POST", shelf + "/sync", nil, nil, 400, "bad_request"},
		{"a digest that is none", "POST", shelf + "/sync", `{"digest":"abc"}`, nil, 400, "bad_request"},
		{"a sync without a condition", "POST", shelf + "/sync", object{"refs": []string{unknown}}, nil, 428, "precondition_required"},
		{"a sync with an ETag for a digest", "POST", shelf + "/sync", object{"refs": []string{unknown}}, []string{"If-Match", `"abcd"`}, 400, "bad_request"},
		{"a sync with an old digest", "POST", shelf + "/sync", object{"refs": []string{unknown}}, []string{"If-Match", `"` + unknown + `"`}, 412, "inventory_changed"},
		{"a sync that would withdraw all", "POST", shelf + "/sync", `{"refs":[]}`, []string{"If-Match", digest}, 400, "empty_refs"},
		{"a sync with a ref that is none", "POST", shelf + "/sync", `{"refs":["xyz"]}`, []string{"If-Match", digest}, 400, "bad_request"},
		{"a flag that is none", "POST", shelf + "/sync?all=yes", `{"refs":[]}`, []string{"If-Match", digest}, 400, "bad_request"},
		{"withdraw what is not there", "DELETE", shelf + "/" + unknown, nil, nil, 404, "not_found"},
		{"withdraw what is no ref", "DELETE", shelf + "/xyz", nil, nil, 404, "not_found"},
		{"a KeyPackage that is not there", "GET", "/v1/key-packages/" + unknown, nil, nil, 404, "not_found"},

		{"a framing that is none", "GET", "/v1/users/alice/key-packages?framing=tls", nil, nil, 400, "bad_request"},
		{"a page without an item", "GET", "/v1/users/alice/key-packages?limit=0", nil, nil, 400, "bad_request"},
		{"a page that is too large", "GET", "/v1/users/alice/key-packages?limit=5001", nil, nil, 400, "bad_request"},
		{"a cursor that is none", "GET", "/v1/users/alice/key-packages?after=%21", nil, nil, 400, "bad_request"},
		{"a device that cannot be", "GET", "/v1/users/alice/key-packages?device=a%2Fb", nil, nil, 400, "bad_identifier"},
		{"a large suite", "GET", "/v1/users/alice/key-packages?cipher_suite=65536", nil, nil, 400, "bad_request"},

		{"a reservation of nobody", "POST", "/v1/key-packages/reserve", nil, nil, 400, "bad_request"},
		{"a reservation of too many users", "POST", "/v1/key-packages/reserve", `{"users":["a","b","c"]}`, nil, 422, "too_many"},
		{"a reservation of too many devices", "POST", "/v1/key-packages/reserve", object{"devices": make([]object, 3)}, nil, 422, "too_many"},
		{"a user twice", "POST", "/v1/key-packages/reserve", `{"users":["a","a"]}`, nil, 400, "bad_request"},
		{"a device twice", "POST", "/v1/key-packages/reserve", `{"devices":[{"user":"a","device":"b"},{"user":"a","device":"b"}]}`, nil, 400, "bad_request"},
		{"a user that cannot be", "POST", "/v1/key-packages/reserve", `{"users":["a/b"]}`, nil, 400, "bad_identifier"},
		{"a device without a name", "POST", "/v1/key-packages/reserve", `{"devices":[{"user":"a"}]}`, nil, 400, "bad_identifier"},
		{"suite 0", "POST", "/v1/key-packages/reserve", `{"users":["a"],"cipher_suites":[0]}`, nil, 400, "bad_request"},
		{"suite 65536", "POST", "/v1/key-packages/reserve", `{"users":["a"],"cipher_suites":[65536]}`, nil, 400, "bad_request"},
		{"a long idempotency key", "POST", "/v1/key-packages/reserve", `{"users":["a"]}`, []string{"Idempotency-Key", strings.Repeat("k", 256)}, 400, "bad_request"},
		{"an idempotency key that cannot be printed", "POST", "/v1/key-packages/reserve", `{"users":["a"]}`, []string{"Idempotency-Key", "é"}, 400, "bad_request"},
		{"an idempotency key of another request", "POST", "/v1/key-packages/reserve", `{"users":["bob"]}`, reused, 422, "idempotency_key_reused"},

		{"give nothing back", "POST", giveBack, nil, nil, 400, "bad_request"},
		{"give back of no reservation", "POST", giveBack, object{"refs": []string{unknown}}, nil, 400, "bad_request"},
		{"give back of reservation 0", "POST", giveBack, `{"reservation":"0000000000000000"}`, nil, 400, "bad_request"},
		{"give back of a short reservation", "POST", giveBack, `{"reservation":"1"}`, nil, 400, "bad_request"},
		{"give back of a long reservation", "POST", giveBack, object{"reservation": unknown}, nil, 400, "bad_request"},
		{"give back of what is not hexadecimal", "POST", giveBack, `{"reservation":"000000000000000g"}`, nil, 400, "bad_request"},
		{"give back of a signed reservation", "POST", giveBack, `{"reservation":"+000000000000001"}`, nil, 400, "bad_request"},
		{"give back of a number", "POST", giveBack, `{"reservation":1}`, nil, 400, "bad_request"},
		{"give back a ref that is none", "POST", giveBack, object{"reservation": held, "refs": []string{"xyz"}}, nil, 400, "bad_request"},
		{"give back one ref outside a list", "POST", giveBack, object{"reservation": held, "refs": unknown}, nil, 400, "bad_request"},
		{"give back null", "POST", giveBack, object{"reservation": held, "refs": []any{nil}}, nil, 400, "bad_request"},
		{"give back for an empty reason", "POST", giveBack, object{"reservation": held, "reason": ""}, nil, 400, "bad_request"},
		{"give back for a reason of one's own", "POST", giveBack, object{"reservation": held, "reason": "mood"}, nil, 400, "bad_request"},
		{"give back for a reason that is a number", "POST", giveBack, object{"reservation": held, "reason": 1}, nil, 400, "bad_request"},
		{"give back with a field that nobody knows", "POST", giveBack, object{"reservation": held, "ref": unknown}, nil, 400, "bad_request"},
		{"give back by a list", "POST", giveBack, `[]`, nil, 400, "bad_request"},
		{"give back twice in a body", "POST", giveBack, `{"reservation":"` + held + `"}{}`, nil, 400, "bad_request"},
		{"give back as bytes", "POST", giveBack, []byte("x"), nil, 415, "unsupported_media_type"},
		{"give back too many", "POST", giveBack, object{"reservation": held, "refs": []string{unknown, unknown, unknown}}, nil, 422, "too_many"},
		{"give back with a query", "POST", giveBack + "?reservation=" + held, object{"reservation": held}, nil, 400, "bad_request"},

		{"no Welcome", "POST", "/v1/welcomes", nil, nil, 400, "bad_request"},
		{"a Welcome that is none", "POST", "/v1/welcomes", []byte("\x00\x01junk"), nil, 400, "malformed_message"},
		{"a KeyPackage for a Welcome", "POST", "/v1/welcomes", kps[2], nil, 400, "wrong_message_type"},
		{"a Welcome for nobody", "POST", "/v1/welcomes", mlstest.Welcome(1), nil, 422, "no_recipients"},
		{"a Welcome twice for one", "POST", "/v1/welcomes", mlstest.WelcomeFor(kps[2], kps[2]), nil, 422, "duplicate_recipient"},
		{"a Welcome for too many", "POST", "/v1/welcomes", mlstest.WelcomeFor(newKeyPackages(4)...), nil, 422, "too_many_recipients"},
		{"a Welcome that is too large", "POST", "/v1/welcomes", mlstest.WelcomeSize(10_000, 1, mls.KeyPackageRef(large[:32])), nil, 413, "too_large"},
		{"a tree that is too large", "POST", "/v1/welcomes", object{"welcome": b64(welcome), "ratchet_tree": b64(large[:9_900])}, nil, 413, "too_large"},
		{"a context that is too large", "POST", "/v1/welcomes", object{"welcome": b64(welcome), "context": b64(large[:4097])}, nil, 413, "too_large"},
		{"a hold that is neither", "POST", "/v1/welcomes?hold=yes", welcome, nil, 400, "bad_request"},
		{"a hold without a value", "POST", "/v1/welcomes?hold", welcome, nil, 400, "bad_request"},
		{"a dry run that is neither", "POST", "/v1/welcomes?dry_run=2", welcome, nil, 400, "bad_request"},
		{"require some", "POST", "/v1/welcomes?require=some", welcome, nil, 400, "bad_request"},
		{"a Welcome that nobody can open", "POST", "/v1/welcomes", other, nil, 409, "no_matching_key_package"},
		{"a Welcome posted with a hold before", "POST", "/v1/welcomes?hold=1", welcome, nil, 409, "posted_differently"},
		{"a Welcome that was cancelled", "POST", "/v1/welcomes", goneWelcome, nil, 409, "cancelled"},
		{"the outcome of nothing", "GET", "/v1/welcomes/" + unknown, nil, nil, 404, "not_found"},
		{"the outcome of what is no id", "GET", "/v1/welcomes/xyz", nil, nil, 404, "not_found"},
		{"release nothing", "POST", "/v1/welcomes/" + unknown + "/release", nil, nil, 404, "not_found"},
		{"cancel nothing", "DELETE", "/v1/welcomes/" + unknown, nil, nil, 404, "not_found"},

		{"claim none", "POST", phone + "/claim", `{"max":0}`, nil, 400, "bad_request"},
		{"claim too many", "POST", phone + "/claim", `{"max":101}`, nil, 400, "bad_request"},
		{"claim with a ref that is none", "POST", phone + "/claim", `{"refs":["xyz"]}`, nil, 400, "bad_request"},
		{"claim and skip what is no id", "POST", phone + "/claim", `{"skip":["xyz"]}`, nil, 400, "bad_request"},
		{"wait for what is no time", "POST", phone + "/claim?wait=soon", nil, nil, 400, "bad_request"},
		{"wait for less than nothing", "POST", phone + "/claim?wait=-1s", nil, nil, 400, "bad_request"},
		{"acknowledge what was not delivered", "POST", phone + "/welcomes/" + id + "/ack", nil, nil, 409, "not_delivered"},
		{"acknowledge nothing", "POST", phone + "/welcomes/" + unknown + "/ack", nil, nil, 404, "not_found"},
		{"acknowledge the Welcome of another", "POST", tablet + "/welcomes/" + id + "/ack", nil, nil, 404, "not_found"},
		{"acknowledge an empty ref", "POST", phone + "/welcomes/" + id + "/ack", `{"ref":""}`, nil, 400, "bad_request"},
		{"reject what was not delivered", "POST", phone + "/welcomes/" + id + "/reject", `{"reason":"other"}`, nil, 409, "not_delivered"},
		{"reject without a reason", "POST", phone + "/welcomes/" + id + "/reject", nil, nil, 400, "bad_request"},
		{"reject for a reason of one's own", "POST", phone + "/welcomes/" + id + "/reject", `{"reason":"mood"}`, nil, 400, "bad_request"},
		{"reject at length", "POST", phone + "/welcomes/" + id + "/reject", object{"reason": "other", "detail": strings.Repeat("é", 257)}, nil, 400, "bad_request"},
		{"reject in control characters", "POST", phone + "/welcomes/" + id + "/reject", `{"reason":"other","detail":"a\u001bb"}`, nil, 400, "bad_request"},
		{"the tree before the Welcome", "GET", phone + "/welcomes/" + id + "/ratchet-tree", nil, nil, 409, "not_delivered"},
	} {
		t.Run(row.what, func(t *testing.T) {
			s.t = t
			s.call(row.method, row.path, row.body, row.headers...).refused(row.status, row.code)
		})
	}
	s.t = t
	if log := s.log.String(); log != "" {
		t.Errorf("refusals were logged: %s", log)
	}
}

func TestARefusalSaysWhatCanBeDone(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Limits.KeyPackagesPerDevice = 2 })
	s.call("POST", shelf, `{"keyPackages":[]}`).want(400)
	for what, want := range map[string]struct {
		body   string
		detail string
	}{
		"an unknown member":      {`{"keyPackages":[]}`, `unknown field "keyPackages"`},
		"a member in capitals":   {`{"KEY_PACKAGES":[]}`, `unknown field "KEY_PACKAGES"`},
		"a member that is twice": {`{"key_packages":["AA"],"key_packages":[]}`, `"key_packages" stands twice`},
		"another type":           {`{"key_packages":3}`, `"key_packages" cannot be a number`},
	} {
		if detail := s.call("POST", shelf, want.body).want(400).text("detail"); !strings.Contains(detail, want.detail) || strings.Contains(detail, "Go") {
			t.Errorf("%s: %s", what, detail)
		}
	}
	full := s.call("POST", shelf, publication{newKeyPackages(3)}).refused(409, "stock_full")
	same(t, "room", words(full.at("room")), "2")

	kps := s.stock(2)
	s.post("", kps[0])
	unmatched := s.call("POST", "/v1/welcomes?require=all", mlstest.WelcomeFor(kps...)).refused(409, "no_matching_key_package")
	same(t, "recipients", words(unmatched.at("recipients", 0, "status"), unmatched.at("recipients", 1, "status")), "taken pending")
	notAllowed := s.call("PATCH", shelf, nil)
	same(t, "Allow", notAllowed.header.Get("Allow"), "GET, HEAD, OPTIONS, POST, PUT")
}

func TestOptionsAndHead(t *testing.T) {
	s := start(t, nil)
	options := s.call("OPTIONS", shelf, nil)
	options.want(204)
	same(t, "Allow", options.header.Get("Allow"), "GET, HEAD, OPTIONS, POST, PUT")
	same(t, "CORS", options.header.Get("Access-Control-Allow-Origin"), "")
	head := s.call("HEAD", shelf, nil)
	head.want(200)
	same(t, "length", head.header.Get("Content-Length"), words(len(s.call("GET", shelf, nil).body)))
	s.call("HEAD", "/v1/welcomes/xyz", nil).want(404)
	same(t, "status", raw(t, s.api, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").StatusCode, 204)
	same(t, "status", raw(t, s.api, "CONNECT x:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").StatusCode, 405)
}

func TestRequestID(t *testing.T) {
	s := start(t, nil)
	for _, path := range []string{"/v1", "/none", "/v1/welcomes/xyz"} {
		same(t, path, s.call("GET", path, nil, "Request-Id", "my-id.7").header.Get("Request-Id"), "my-id.7")
		for _, bad := range []string{strings.Repeat("x", 65), "a b", "é"} {
			if got := s.call("GET", path, nil, "Request-Id", bad).header.Get("Request-Id"); got == bad || len(got) < 20 {
				t.Errorf("%s with %q: %q", path, bad, got)
			}
		}
	}
}

func TestEvery4xxOfPublishHasInvalid(t *testing.T) {
	s := start(t, nil)
	for what, r := range map[string]reply{
		"guard":      s.call("POST", shelf, nil, "Via", "x"),
		"identifier": s.call("POST", "/v1/users/a%20b/devices/c/key-packages", nil),
		"query":      s.call("PUT", shelf+"?x=1", nil),
		"body":       s.call("POST", shelf, `{`),
		"media type": s.call("PUT", shelf, `{}`, "Content-Type", "text/plain"),
		"none":       s.call("POST", shelf, nil),
	} {
		if invalid, ok := r.want(r.status).at("invalid").([]any); !ok || len(invalid) != 0 || r.status/100 != 4 {
			t.Errorf("%s: %s", what, r.body)
		}
	}
	if o := s.call("GET", shelf+"?x=1", nil).want(400); o.at("invalid") != nil {
		t.Errorf("not a publication: %v", o)
	}
}

func TestEveryInvalidItemIsNamed(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Limits.KeyPackageBytes = 2000 })
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	items := [][]byte{
		signer.KeyPackage(),
		[]byte("junk"),
		signer.KeyPackage(func(t *mlstest.Template) { t.ChangeSignature = flip }),
		signer.KeyPackage(mlstest.WithPadding(2000)),
		signer.KeyPackage(func(t *mlstest.Template) { t.ChangeLeafSignature = flip }),
	}
	refused := s.call("POST", shelf, publication{items}).refused(422, "invalid_key_package")
	var got []string
	for i := range refused.list("invalid") {
		ref := refused.text("invalid", i, "ref")
		got = append(got, words(refused.at("invalid", i, "index"), refused.at("invalid", i, "code"), ref != ""))
		if ref != "" && ref != refOf(items[i+1]) || refused.text("invalid", i, "detail") == "" {
			t.Errorf("item: %v", refused.at("invalid", i))
		}
	}
	same(t, "invalid", strings.Join(got, ", "), "1 malformed_message false, 2 bad_signature true, 3 too_large true, 4 bad_leaf_signature true")
	same(t, "stored", len(s.call("GET", shelf, nil).want(200).list("refs")), 0)
}

func TestPublishedBytesAreAnsweredWithTheirState(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(2)
	again := s.call("POST", shelf, publication{append(kps, signer.KeyPackage())}).want(201)
	same(t, "statuses", words(again.at("key_packages", 0, "status"), again.at("key_packages", 1, "status"), again.at("key_packages", 2, "status")),
		"already_stored already_stored stored")
	s.call("DELETE", shelf+"/"+refOf(kps[0]), nil).want(204)
	spent := s.call("POST", shelf, kps[0]).refused(409, "key_package_spent")
	same(t, "item", spent.text("invalid", 0, "ref")+" "+spent.text("invalid", 0, "code"), refOf(kps[0])+" spent")
	same(t, "partly spent", s.call("POST", shelf, publication{kps}).want(201).text("key_packages", 0, "status"), "spent")
	id, _ := s.post("", kps[1])
	s.call("POST", phone+"/claim", nil).want(200)
	s.call("DELETE", shelf+"/"+refOf(kps[1]), nil).refused(409, "consumed")
	same(t, "welcome", s.call("GET", "/v1/key-packages/"+refOf(kps[1]), nil).want(200).text("matched_by_welcome"), id)
}

// TestFraming: a bare KeyPackage of suite 5 begins like a wrapped one.
func TestFraming(t *testing.T) {
	s := start(t, nil)
	five := mlstest.NewSigner(5, "alice")
	kps := [][]byte{five.KeyPackage(), five.KeyPackage(), signer.KeyPackage(), signer.KeyPackage()}
	wrapped := func(b []byte) []byte { return mls.Wrap(mls.WireFormatKeyPackage, b) }
	same(t, "raw bare", s.call("POST", shelf, kps[0], "Content-Type", "message/mls; charset=x").want(201).text("key_packages", 0, "ref"), refOf(kps[0]))
	same(t, "raw wrapped", s.call("PUT", shelf+"?cipher_suite=1", wrapped(kps[2])).want(200).text("key_packages", 0, "ref"), refOf(kps[2]))
	both := s.call("POST", shelf, publication{[][]byte{wrapped(kps[1]), kps[3]}}).want(201)
	same(t, "JSON", both.text("key_packages", 0, "ref")+both.text("key_packages", 1, "ref"), refOf(kps[1])+refOf(kps[3]))

	bytesOf := func(path string) string {
		return hex.EncodeToString(s.call("GET", path, nil).want(200).bytes("devices", 0, "key_packages", 0, "bytes"))
	}
	list := "/v1/users/alice/key-packages?cipher_suite=5&limit=1"
	same(t, "list", bytesOf(list), hex.EncodeToString(kps[0]))
	same(t, "list bare", bytesOf(list+"&framing=bare"), hex.EncodeToString(kps[0]))
	same(t, "list wrapped", bytesOf(list+"&framing=mls_message"), hex.EncodeToString(wrapped(kps[0])))
	reserve := func(query string) []byte {
		return s.call("POST", "/v1/key-packages/reserve"+query, `{"users":["alice"],"cipher_suites":[5]}`).want(200).
			bytes("users", 0, "devices", 0, "key_package", "bytes")
	}
	same(t, "reserve wrapped", bytes.Equal(reserve("?framing=mls_message"), wrapped(kps[0])), true)
	same(t, "reserve", bytes.Equal(reserve(""), kps[1]), true)

	for i, frame := range []func([]byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { return mls.Wrap(mls.WireFormatWelcome, b) },
	} {
		welcome := mlstest.WelcomeFor(kps[i])
		posted := s.call("POST", "/v1/welcomes", frame(welcome)).want(201)
		same(t, "the id is that of the bare bytes", posted.text("id"), delivery.IDOf(delivery.Unauthenticated(), welcome).String())
		same(t, "either framing is the same Welcome", s.call("POST", "/v1/welcomes", object{"welcome": mls.Wrap(3, welcome)}).want(200).text("id"), posted.text("id"))
		claim := fmt.Sprintf(`{"refs":[%q]}`, refOf(kps[i]))
		same(t, "claim", bytes.Equal(s.call("POST", phone+"/claim", claim).want(200).bytes("welcomes", 0, "welcome"), mls.Wrap(3, welcome)), true)
		same(t, "claim bare", bytes.Equal(s.call("POST", phone+"/claim?framing=bare", claim).want(200).bytes("welcomes", 0, "welcome"), welcome), true)
	}
}

// TestOtherMessagesAreNamed: an MLS object that does not belong here is refused
// by its name.
func TestOtherMessagesAreNamed(t *testing.T) {
	s := start(t, nil)
	junk := mlstest.Random(300)
	framed := slices.Concat(mlstest.Vector(mlstest.Random(16)), make([]byte, 8), junk) // group_id, epoch
	info := slices.Concat([]byte{0, 1, 0, 1}, framed)                                  // version, suite
	for name, message := range map[string][]byte{
		"mls_public_message":  mls.Wrap(mls.WireFormatPublicMessage, framed),
		"mls_private_message": mls.Wrap(mls.WireFormatPrivateMessage, framed),
		"mls_group_info":      mls.Wrap(mls.WireFormatGroupInfo, info),
		"mls_welcome":         mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(signer.KeyPackage())),
		"a Welcome":           mlstest.WelcomeFor(signer.KeyPackage()),
	} {
		refused := s.call("POST", shelf, message).refused(422, "invalid_key_package")
		same(t, name, refused.text("invalid", 0, "code"), "wrong_message_type")
		if detail := refused.text("invalid", 0, "detail"); !strings.Contains(detail, name) && !strings.Contains(detail, "Welcome,") {
			t.Errorf("%s: %s", name, detail)
		}
	}
	for name, message := range map[string][]byte{
		"mls_public_message": mls.Wrap(mls.WireFormatPublicMessage, framed),
		"mls_group_info":     mls.Wrap(mls.WireFormatGroupInfo, info),
		"a KeyPackage":       signer.KeyPackage(),
		"KeyPackage":         mls.Wrap(mls.WireFormatKeyPackage, signer.KeyPackage()),
	} {
		refused := s.call("POST", "/v1/welcomes", message).refused(400, "wrong_message_type")
		if detail := refused.text("detail"); !strings.Contains(strings.ReplaceAll(detail, "mls_key_package", "KeyPackage"), name) {
			t.Errorf("%s: %s", name, detail)
		}
	}
}

func TestBase64InEveryDress(t *testing.T) {
	s := start(t, nil)
	for i, encoding := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		var kp []byte
		for kp = signer.KeyPackage(); !strings.ContainsAny(encoding.EncodeToString(kp), "+-") || len(kp)%3 == 0; {
			kp = signer.KeyPackage(mlstest.WithPadding(i + len(kp)%7))
		}
		published := s.call("POST", shelf, object{"key_packages": []string{encoding.EncodeToString(kp)}}).want(201)
		same(t, "ref", published.text("key_packages", 0, "ref"), refOf(kp))
	}
}

func TestInventoryHasAnETag(t *testing.T) {
	s := start(t, nil)
	s.stock(1)
	first := s.call("GET", shelf, nil)
	etag := first.header.Get("ETag")
	same(t, "type", first.header.Get("Content-Type"), "application/json")
	same(t, "body", len(s.call("GET", shelf, nil, "If-None-Match", etag).body), 0)
	same(t, "status", s.call("GET", shelf, nil, "If-None-Match", etag).status, http.StatusNotModified)
	same(t, "a part", s.call("GET", shelf, nil, "Range", "bytes=0-3").status, http.StatusOK)
	// A reservation changes the counts and neither refs nor digest.
	s.call("POST", "/v1/key-packages/reserve", `{"users":["alice"]}`).want(200)
	second := s.call("GET", shelf, nil, "If-None-Match", etag)
	same(t, "digest", second.want(200).text("digest"), first.want(200).text("digest"))
	s.call("GET", shelf, nil, "If-Match", etag).refused(412, "precondition_failed")
}

func TestSyncNeedsTheInventoryItWasMadeFor(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(2)
	digest := s.call("GET", shelf, nil).want(200).text("digest")
	refs := object{"refs": []string{refOf(kps[0]), strings.Repeat("ab", 32)}}
	more := s.stock(1)
	s.call("POST", shelf+"/sync", refs, "If-Match", digest).refused(412, "inventory_changed")
	digest = s.call("GET", shelf, nil).want(200).text("digest")
	synced := s.call("POST", shelf+"/sync", refs, "If-Match", `"`+digest+`"`).want(200)
	same(t, "unknown", words(synced.list("unknown")), "["+strings.Repeat("ab", 32)+"]")
	same(t, "withdrawn", len(synced.list("withdrawn")), 2)
	inventory := s.call("GET", shelf, nil).want(200)
	same(t, "digest", synced.text("digest"), inventory.text("digest"))
	same(t, "kept", inventory.text("refs", 0), refOf(kps[0]))
	spent := s.call("POST", shelf+"/sync", object{"refs": []string{refOf(kps[0]), refOf(more[0])}}, "If-Match", synced.text("digest")).want(200)
	same(t, "spent", spent.text("spent", 0), refOf(more[0]))
	all := s.call("POST", shelf+"/sync?all=1", `{"refs":[]}`, "If-Match", inventory.text("digest")).want(200)
	same(t, "withdrawn", all.text("withdrawn", 0), refOf(kps[0]))
}

func TestAReservationIsRepeatedByItsKey(t *testing.T) {
	s := start(t, nil)
	s.stock(3)
	reserve := func(key string) string {
		return s.call("POST", "/v1/key-packages/reserve", `{"users":["alice"]}`, "Idempotency-Key", key).want(200).
			text("users", 0, "devices", 0, "key_package", "ref")
	}
	first := reserve("a")
	same(t, "again", reserve("a"), first)
	same(t, "another", reserve("b") != first, true)
}

func TestListIsPaged(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(5)
	var refs []string
	path := "/v1/users/alice/key-packages?limit=2"
	for pages := 1; ; pages++ {
		page := s.call("GET", path, nil).want(200)
		for i := range page.list("devices", 0, "key_packages") {
			refs = append(refs, page.text("devices", 0, "key_packages", i, "ref"))
		}
		if page.text("next") == "" {
			same(t, "pages", pages, 3)
			break
		}
		path = "/v1/users/alice/key-packages?limit=2&after=" + page.text("next")
	}
	same(t, "refs", words(refs), words([]string{refOf(kps[0]), refOf(kps[1]), refOf(kps[2]), refOf(kps[3]), refOf(kps[4])}))
	same(t, "of nobody", len(s.call("GET", "/v1/users/nobody/key-packages", nil).want(200).list("devices")), 0)
	two := s.call("GET", "/v1/users/alice/key-packages?cipher_suite=2&cipher_suite=3&device=phone&device=x", nil).want(200)
	same(t, "of other suites", len(two.list("devices")), 0)
}

// TestAnAnswerIsAtMost8MiB holds where bytes are in base64.
func TestAnAnswerIsAtMost8MiB(t *testing.T) {
	s := start(t, nil)
	for range 4 {
		s.call("POST", shelf, publication{newKeyPackages(50, mlstest.WithPadding(60<<10))}).want(201)
	}
	page := s.call("GET", "/v1/users/alice/key-packages?framing=mls_message", nil)
	if next := page.want(200).text("next"); next == "" || len(page.body) > 8<<20 || len(page.body) < 7<<20 {
		t.Errorf("a page of %d bytes, next is %q", len(page.body), next)
	}
}

func TestDryRunKeepsNothing(t *testing.T) {
	s := start(t, nil)
	kp := s.stock(1)[0]
	welcome := mlstest.WelcomeFor(kp)
	dry := s.call("POST", "/v1/welcomes?dry_run=1", welcome)
	same(t, "status", dry.want(200).text("recipients", 0, "status"), "pending")
	same(t, "location", dry.header.Get("Location"), "")
	s.call("GET", "/v1/welcomes/"+dry.want(200).text("id"), nil).refused(404, "not_found")
	s.call("POST", "/v1/welcomes?dry_run=0", welcome).want(201)
	same(t, "again", s.call("POST", "/v1/welcomes?dry_run=true", welcome).want(200).text("id"), dry.want(200).text("id"))
}

func TestTakenSaysByWhich(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(2)
	id, _ := s.post("", kps[0])
	second := s.call("POST", "/v1/welcomes", mlstest.WelcomeFor(kps...)).want(201)
	same(t, "recipient", second.text("recipients", 0, "status")+" "+second.text("recipients", 0, "matched_by_welcome"), "taken "+id)
}

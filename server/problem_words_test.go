package server_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A refusal says where the mistake is and what to change.
func TestRefusalsSayWhatToChange(t *testing.T) {
	s := start(t, nil)
	good := s.stock(1)[0]
	text := base64.StdEncoding.EncodeToString(good)
	batch := func(second string) string { return fmt.Sprintf(`{"key_packages":[%q,%q]}`, text, second) }
	id, welcome := s.post("?hold=1", good)
	again := func(context string) object { return object{"welcome": welcome, "context": []byte(context)} }
	for _, row := range []struct {
		what, method, path string
		body               any
		status             int
		code, says         string
	}{
		{"an array where an object belongs", "POST", shelf, `[]`, 400, "bad_request", "JSON: the body cannot be an array"},
		{"an object in a list of texts", "POST", shelf + "/sync", `{"refs":[{}]}`, 400, "bad_request", "cannot be an object"},
		{"a number where a text belongs", "POST", shelf + "/sync", `{"digest":7}`, 400, "bad_request", `JSON: "digest" cannot be a number`},
		{"bad base64", "POST", shelf, batch("!" + text[1:]), 400, "bad_request", fmt.Sprintf(`JSON: "key_packages[1]" is no base64: byte 0 of %d cannot stand there`, len(text))},
		{"base64 with a line break", "POST", shelf, batch(text[:76] + "\n" + text[76:]), 400, "bad_request", `"key_packages[1]" is no base64: there is a line break in it`},
		{"hexadecimal that is no base64", "POST", shelf, batch(hex.EncodeToString(good)[:65]), 400, "bad_request", "looks like hexadecimal"},
		{"base64 as message/mls", "POST", "/v1/welcomes", []byte(base64.StdEncoding.EncodeToString(welcome)), 400, "malformed_message", "it looks like base64: as message/mls, the bytes themselves are sent"},
		{"base64 of base64", "POST", "/v1/welcomes", object{"welcome": []byte(base64.StdEncoding.EncodeToString(welcome))}, 400, "malformed_message", "encoded once"},
		{"a Welcome in hexadecimal", "POST", "/v1/welcomes", []byte(hex.EncodeToString(welcome)), 400, "malformed_message", "it looks like"},
		{"nothing to publish", "POST", shelf, `{}`, 400, "no_key_packages", `{"key_packages":["…"]}`},
		{"another context", "POST", "/v1/welcomes?hold=1", again("other"), 409, "posted_differently", "with another context"},
		{"another hold and context", "POST", "/v1/welcomes", again("other"), 409, "posted_differently", "with another hold and another context"},
		{"a suite that nobody has", "GET", "/v1/users/alice/key-packages?cipher_suite=99", nil, 422, "unsupported_cipher_suite", "accepted are 1, 2, 3, 4, 5, 6, 7"},
	} {
		problem := s.call(row.method, row.path, row.body).refused(row.status, row.code)
		if detail := problem.text("detail"); !strings.Contains(detail, row.says) {
			t.Errorf("%s: %s", row.what, detail)
		}
	}
	s.call("DELETE", "/v1/welcomes/"+id, nil).want(200)

	wrong := s.call("POST", shelf, batch(strings.Repeat("0", (4-len(good)*2%4)%4)+hex.EncodeToString(good))).refused(422, "invalid_key_package")
	if detail := wrong.text("invalid", 0, "detail"); !strings.Contains(detail, "looks like hexadecimal") {
		t.Errorf("a KeyPackage in hexadecimal: %s", detail)
	}
}

// A KeyPackage that was signed anew is told so, and not that it is spent, while the one
// before it is of use.
func TestAKeyPackageThatWasSignedAnew(t *testing.T) {
	s := start(t, nil)
	first, err := mls.ParseKeyPackage(s.stock(1)[0])
	must(t, err)
	anew := mlstest.NewSigner(1, "alice").KeyPackage(mlstest.WithInitKey(first.InitKey))
	problem := s.call("POST", shelf, anew).refused(409, "init_key_reused")
	same(t, "the item", problem.text("invalid", 0, "code"), "init_key_reused")
	s.call("DELETE", shelf+"/"+first.Ref().String(), nil).want(204)
	problem = s.call("POST", shelf, anew).refused(409, "key_package_spent")
	same(t, "the item", problem.text("invalid", 0, "code"), "init_key_reused")
}

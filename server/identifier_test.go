package server_test

import (
	"bytes"
	"net/url"
	"strings"
	"testing"

	"welcomed/mls/mlstest"
)

// What identity providers choose as ids goes through every place where a request has
// one, escaped in paths or not where a URL allows both.
func TestIdsThatIdentityProvidersChoose(t *testing.T) {
	s := start(t, nil)
	for _, user := range []string{"auth0|5f7c", "o'brien@example.org", "!$&'()*,;[]~", "did:key:z6Mk"} {
		device := user + ".phone"
		for _, path := range []string{
			"/v1/users/" + url.PathEscape(user) + "/devices/" + url.PathEscape(device) + "/key-packages",
			"/v1/users/" + everyByteEscaped(user) + "/devices/" + everyByteEscaped(device) + "/key-packages",
		} {
			s.call("POST", path, publication{newKeyPackages(1)}).want(201)
		}
		listed := s.call("GET", "/v1/users/"+url.PathEscape(user)+"/key-packages?device="+url.QueryEscape(device), nil).want(200)
		same(t, "listed", listed.text("devices", 0, "device"), device)
		same(t, "both paths are one device", len(listed.list("devices", 0, "key_packages")), 2)
		reserved := s.call("POST", "/v1/key-packages/reserve", object{"devices": []object{{"user": user, "device": device}}}).want(200)
		same(t, "reserved of", reserved.text("users", 0, "devices", 0, "device"), device)
		same(t, "reserved", reserved.text("users", 0, "devices", 0, "status"), "reserved")
	}
	s.requireLink("auth0|[5f7c]", "o'brien's")
	for _, user := range []string{"a%20b", "a%2Fb", "%2e%2E", "%7B", "%60", "%00", "%C3%A9"} {
		s.call("GET", "/v1/users/"+user+"/devices", nil).refused(400, "bad_identifier")
	}
	about := s.call("GET", "/v1", nil).want(200)
	same(t, "the rule", words(about.at("identifiers", "max_bytes")), "255")
}

// requireLink wants the link to a ratchet tree to be a URL that leads there.
func (s *service) requireLink(user, device string) {
	s.t.Helper()
	path, tree := "/v1/users/"+url.PathEscape(user)+"/devices/"+url.PathEscape(device), bytes.Repeat([]byte{7}, 70_000)
	list := newKeyPackages(1)
	s.call("POST", path+"/key-packages", publication{list}).want(201)
	s.call("POST", "/v1/welcomes", object{"welcome": mlstest.WelcomeFor(list...), "ratchet_tree": tree}).want(201)
	claimed := s.call("POST", path+"/claim", nil, "Accept", "message/mls")
	claimed.want(200)
	link, _, _ := strings.Cut(strings.TrimPrefix(claimed.header.Get("Link"), "<"), ">")
	same(s.t, "the link has no character that a URL may not have", strings.ContainsAny(link, "|[]"), false)
	same(s.t, "the tree", string(s.call("GET", link, nil).body), string(tree))
}

func everyByteEscaped(s string) (escaped string) {
	const hex = "0123456789ABCDEF"
	for _, b := range []byte(s) {
		escaped += "%" + string([]byte{hex[b>>4], hex[b&15]})
	}
	return escaped
}

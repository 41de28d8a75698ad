package server_test

import (
	"strings"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

func TestIdentityTemplates(t *testing.T) {
	for template, want := range map[server.IdentityTemplate]struct {
		refusal   string
		ambiguous bool
	}{
		"":                                     {"", false},
		"{user}":                               {"", false},
		"{user}@example.org":                   {"", false},
		"{user}/{device}":                      {"", false},
		"mimi://example.org/d/{user}/{device}": {"", false},
		"{user}{device}":                       {"", true},
		"{user}:{device}":                      {"", true},
		"{device}/{user}:{device}":             {"", true},
		"{device}":                             {"where the user is named", false},
		"alice":                                {"where the user is named", false},
		"{user}/{phone}":                       {"something else than {user} and {device}", false},
		"{user}/{device":                       {"something else than {user} and {device}", false},
		"{{user}}":                             {"something else than {user} and {device}", false},
	} {
		err := template.Check()
		if (err == nil) != (want.refusal == "") || err != nil && (!strings.Contains(err.Error(), want.refusal) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v", template, err)
		}
		if err == nil && template.Ambiguous() != want.ambiguous {
			t.Errorf("%s is ambiguous: %v", template, template.Ambiguous())
		}
	}
}

// TestACredentialNamesItsPublisher: each line is a KeyPackage for alice's phone.
func TestACredentialNamesItsPublisher(t *testing.T) {
	s := start(t, func(o *server.Options) { o.CredentialIdentity = "{user}/{device}" })
	named := func(identity string) []byte { return mlstest.NewSigner(1, identity).KeyPackage() }
	forged := named("alice/tablet")
	forged[len(forged)-1] ^= 1
	for what, kp := range map[string][]byte{
		"another user":             named("bob/phone"),
		"another device":           named("alice/tablet"),
		"only the user":            named("alice"),
		"nobody":                   named(""),
		"more behind it":           named("alice/phone2"),
		"more before it":           named("xalice/phone"),
		"a certificate":            mlstest.NewSigner(1, "alice/phone").KeyPackage(mlstest.WithCredential(mls.CredentialX509, mlstest.Vector(mlstest.Vector([]byte("der"))))),
		"a credential of tomorrow": mlstest.NewSigner(1, "alice/phone").KeyPackage(mlstest.WithCredential(0xff00, mlstest.Vector([]byte("alice/phone")))),
		"another device, and the signature is not checked": forged,
	} {
		refused := s.call("POST", shelf, publication{[][]byte{named("alice/phone"), kp}}).refused(422, "invalid_key_package")
		if len(refused.list("invalid")) != 1 || words(refused.at("invalid", 0, "index"), refused.at("invalid", 0, "code")) != "1 wrong_identity" {
			t.Errorf("%s: %v", what, refused["invalid"])
		}
		if typed, said := strings.HasPrefix(what, "a c"), strings.Contains(words(refused.at("invalid", 0, "detail")), "not a basic one"); typed != said {
			t.Errorf("%s: %v", what, refused["invalid"])
		}
		s.call("PUT", shelf, publication{[][]byte{kp}}).refused(422, "invalid_key_package")
	}
	s.call("POST", shelf, publication{[][]byte{named("alice/phone")}}).want(201)
	s.call("POST", tablet+"/key-packages", named("alice/tablet")).want(201)
	s.call("POST", tablet+"/key-packages", named("alice/phone")).refused(422, "invalid_key_package")
}

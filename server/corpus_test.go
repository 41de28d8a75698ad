package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest/corpus"
	"welcomed/server"
)

// TestTheCorpusOverHTTP: every KeyPackage and Welcome that a real client made
// goes all the way. Each KeyPackage has a device of its own.
func TestTheCorpusOverHTTP(t *testing.T) {
	mixed, err := corpus.Mixed()
	must(t, err)
	walkCorpus(t, mixed)
	if testing.Short() {
		return
	}
	thousand, err := corpus.Thousand()
	must(t, err)
	walkCorpus(t, thousand)
}

func walkCorpus(t *testing.T, c *corpus.Corpus) {
	s := start(t, func(o *server.Options) { o.Limits.DevicesPerUser = len(c.KeyPackages) })
	for i, kp := range c.KeyPackages {
		published := s.call("POST", corpusDevice(i)+"/key-packages", []byte(kp.Bytes))
		if !kp.CipherSuite.Known() {
			refused := published.refused(422, "invalid_key_package")
			same(t, "code", refused.text("invalid", 0, "code"), "unsupported_cipher_suite")
			continue
		}
		checkPublished(t, published.want(201), kp)
	}
	checkListing(t, s, c)
	for _, w := range c.Welcomes {
		if !w.CipherSuite.Known() {
			s.call("POST", "/v1/welcomes", []byte(w.Bytes)).refused(422, "unsupported_cipher_suite")
			continue
		}
		walkWelcome(t, s, w)
	}
}

func corpusDevice(i int) string { return fmt.Sprintf("/v1/users/corpus/devices/%04d", i) }

func checkPublished(t *testing.T, published object, kp corpus.KeyPackage) {
	t.Helper()
	got := words(published.at("key_packages", 0, "ref"), published.at("key_packages", 0, "cipher_suite"), published.at("key_packages", 0, "last_resort"),
		published.at("key_packages", 0, "not_before"), published.at("key_packages", 0, "not_after"), published.at("key_packages", 0, "status"))
	same(t, "published", got, words(kp.Ref.String(), uint16(kp.CipherSuite), kp.LastResort, words(kp.Lifetime.NotBefore), words(kp.Lifetime.NotAfter), "stored"))
}

// checkListing expects every KeyPackage, as it was sent, on the pages.
func checkListing(t *testing.T, s *service, c *corpus.Corpus) {
	t.Helper()
	listed := map[string][]byte{}
	for next := ""; ; {
		r := s.call("GET", "/v1/users/corpus/key-packages?framing=mls_message&limit=100&after="+next, nil)
		r.want(200)
		var page struct {
			Devices []struct {
				KeyPackages []struct {
					Ref   string
					Bytes []byte
				} `json:"key_packages"`
			}
			Next string
		}
		must(t, json.Unmarshal(r.body, &page))
		for _, d := range page.Devices {
			for _, k := range d.KeyPackages {
				listed[k.Ref] = k.Bytes
			}
		}
		if next = page.Next; next == "" {
			break
		}
	}
	for i, kp := range c.KeyPackages {
		want := []byte(kp.Bytes)
		if !kp.Wrapped {
			want = mls.Wrap(mls.WireFormatKeyPackage, want)
		}
		if kp.CipherSuite.Known() && !bytes.Equal(listed[kp.Ref.String()], want) {
			t.Fatalf("KeyPackage %d is not listed as it was sent", i)
		}
	}
}

// walkWelcome posts a Welcome and claims each recipient's slice of it.
func walkWelcome(t *testing.T, s *service, w corpus.Welcome) {
	t.Helper()
	body := object{"welcome": w.Bytes}
	if w.RatchetTree != nil {
		body["ratchet_tree"] = w.RatchetTree
	}
	posted := s.call("POST", "/v1/welcomes?require=all", body).want(201)
	whole, err := mls.ReadWelcome(w.Bytes)
	must(t, err)
	same(t, "id", posted.text("id"), delivery.IDOf(delivery.Unauthenticated(), whole.Bytes()).String())
	for i, recipient := range w.Recipients {
		ref := w.NewMembers[i].String()
		same(t, "recipient", posted.text("recipients", i, "ref")+posted.text("recipients", i, "status"), ref+"pending")
		claimed := s.call("POST", corpusDevice(recipient)+"/claim?framing=bare", nil).want(200)
		same(t, "claimed", claimed.text("welcomes", 0, "ref"), ref)
		same(t, "slice", bytes.Equal(claimed.bytes("welcomes", 0, "welcome"), whole.Slice(i)), true)
		if w.RatchetTree != nil {
			tree := s.call("GET", corpusDevice(recipient)+"/welcomes/"+posted.text("id")+"/ratchet-tree", nil)
			tree.want(200)
			same(t, "tree", bytes.Equal(tree.body, w.RatchetTree), true)
		}
		s.call("POST", corpusDevice(recipient)+"/welcomes/"+posted.text("id")+"/ack", nil).want(204)
	}
	outcome := s.call("GET", "/v1/welcomes/"+posted.text("id"), nil).want(200)
	for i := range w.Recipients {
		same(t, "outcome", outcome.text("recipients", i, "status"), "acknowledged")
	}
}

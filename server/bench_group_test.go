package server_test

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/mls/mlstest/corpus"
)

// BenchmarkGroupOfThousand reports what a joiner of a group of a thousand
// downloads and what the file grows by when the Welcome is posted, each beside
// what it would be if every recipient had the whole Welcome. The Welcome with
// the ratchet tree inside is of a real client; the others have the same
// recipients, and a tree of the same size beside the Welcome, or none: its joiners
// get it elsewhere.
func BenchmarkGroupOfThousand(b *testing.B) {
	thousand, err := corpus.Thousand()
	if err != nil {
		b.Fatal(err)
	}
	inside, err := mls.ReadWelcome(thousand.Welcomes[0].Bytes)
	if err != nil {
		b.Fatal(err)
	}
	refs := make([]mls.KeyPackageRef, len(inside.Secrets))
	for i, secret := range inside.Secrets {
		refs[i] = secret.NewMember
	}
	const groupInfo = 400 // without a tree
	apart := mlstest.WelcomeSize(groupInfo, inside.CipherSuite, refs...)
	tree := mlstest.Random(len(inside.EncryptedGroupInfo) - groupInfo)

	b.Run("tree-inside", func(b *testing.B) { measureSlicing(b, thousand, inside.Bytes(), nil) })
	b.Run("tree-apart", func(b *testing.B) { measureSlicing(b, thousand, apart, tree) })
	b.Run("tree-elsewhere", func(b *testing.B) { measureSlicing(b, thousand, apart, nil) })
}

func measureSlicing(b *testing.B, group *corpus.Corpus, welcome, tree []byte) {
	var downloaded, stored int64
	for b.Loop() {
		store := openFile(b)
		api := newMeasured(store).API()
		for i, kp := range group.KeyPackages {
			exchangeOnce(b, api, newExchange("", memberPath(i)+"/key-packages", kp.Bytes, 201))
		}
		before := usedBytes(b, store)
		body := object{"welcome": welcome}
		if tree != nil {
			body["ratchet_tree"] = tree
		}
		exchangeOnce(b, api, newExchange("", "/v1/welcomes?require=all", body, 201))
		stored = usedBytes(b, store) - before

		joiner := memberPath(len(group.KeyPackages) / 2)
		claimed := exchangeOnce(b, api, newExchange("", joiner+"/claim", nil, 200, "Accept", "message/mls"))
		downloaded = int64(claimed.body.Len())
		if id := claimed.header.Get("Welcome-Id"); tree != nil {
			downloaded += int64(fetchTree(b, api, joiner+"/welcomes/"+id+"/ratchet-tree"))
		}
	}
	whole := int64(len(mls.Wrap(mls.WireFormatWelcome, welcome)) + len(tree))
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(downloaded), "download-B")
	b.ReportMetric(float64(whole), "unsliced-download-B")
	b.ReportMetric(float64(stored), "stored-B")
	b.ReportMetric(float64(whole)*float64(len(group.KeyPackages)), "unsliced-stored-B")
}

func memberPath(i int) string { return fmt.Sprintf("/v1/users/user%d/devices/phone", i) }

func exchangeOnce(b *testing.B, api http.Handler, x exchange) *sink {
	b.Helper()
	w := &sink{header: http.Header{}}
	api.ServeHTTP(w, x.again(x.request()))
	if w.status != x.status {
		b.Errorf("%s: %d %s", x.path, w.status, w.body.Bytes())
	}
	return w
}

func fetchTree(b *testing.B, api http.Handler, path string) int {
	req, err := http.NewRequest("GET", "http://localhost"+path, bytes.NewReader(nil))
	if err != nil {
		b.Fatal(err)
	}
	w := &sink{header: http.Header{}}
	if api.ServeHTTP(w, req); w.status != 200 {
		b.Fatalf("%s: %d %s", path, w.status, w.body.Bytes())
	}
	return w.body.Len()
}

func usedBytes(b *testing.B, store delivery.Store) int64 {
	stats, err := store.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return stats.UsedBytes
}

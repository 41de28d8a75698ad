package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/server"
)

// Some encoders escape each slash of base64. A Welcome of the largest size
// still fits in a body then.
func TestTheLargestWelcomeFitsWithEscapedSlashes(t *testing.T) {
	s := start(t, nil)
	kps := s.stock(1)
	kp, err := mls.ParseKeyPackage(kps[0])
	must(t, err)
	most := delivery.DefaultLimits().WelcomeBytes
	welcome := mlstest.WelcomeSize(most-200, 1, kp.Ref())
	text := bytes.ReplaceAll([]byte(base64.StdEncoding.EncodeToString(welcome)), []byte("/"), []byte(`\/`))
	s.call("POST", "/v1/welcomes", `{"welcome":"`+string(text)+`"}`).want(201)
}

// TestAPublicationMayHaveAllBytesThatItMayHave: as many as GET /v1 says, with the JSON
// that is largest, and not many more.
func TestAPublicationMayHaveAllBytesThatItMayHave(t *testing.T) {
	s := start(t, nil)
	most, err := strconv.Atoi(words(s.call("GET", "/v1", nil).want(200).at("limits", "publication_bytes")))
	must(t, err)
	body := func(most int) string {
		var items []string
		signer := mlstest.NewSigner(1, "alice")
		for most > 2000 {
			kp := signer.KeyPackage(mlstest.WithPadding(min(60<<10, most-1000)))
			if len(kp) > most {
				break
			}
			most -= len(kp)
			items = append(items, strings.ReplaceAll(base64.StdEncoding.EncodeToString(kp), "/", `\/`))
		}
		return `{"key_packages":["` + strings.Join(items, `","`) + `"]}`
	}
	s.call("POST", shelf, body(most)).want(201)
	s.call("POST", shelf, body(most+most/10)).refused(413, "too_large")
}

// TestADeviceCanSyncAllThatItMayHave: the shelf and the last resorts, what it took
// off the shelf, as many that others have reserved, and Welcomes that are open.
func TestADeviceCanSyncAllThatItMayHave(t *testing.T) {
	s := start(t, nil)
	s.stock(1)
	inventory := s.call("GET", shelf, nil).want(200)
	refs := []string{inventory.text("refs", 0)}
	const most = 500 + 7 + 20_000 + 20_000 + 5_000
	for i := len(refs); i < most; i++ {
		refs = append(refs, fmt.Sprintf("%0128x", i)) // of suites 4 to 6
	}
	digest := inventory.text("digest")
	synced := s.call("POST", shelf+"/sync", object{"refs": refs}, "If-Match", digest).want(200)
	same(t, "unknown", len(synced.list("unknown")), most-1)
	same(t, "withdrawn", len(synced.list("withdrawn")), 0)
	for i := range 1000 {
		refs = append(refs, fmt.Sprintf("%0128x", most+i))
	}
	s.call("POST", shelf+"/sync", object{"refs": refs}, "If-Match", digest).refused(413, "too_large")
}

// A keepingStore keeps what it is given, without a copy.
type keepingStore struct {
	callerStore
	mu   sync.Mutex
	kept [][]byte
}

func (s *keepingStore) keep(b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, b)
}

func (*keepingStore) BeforePublish(context.Context, delivery.Caller, delivery.DeviceID, []mls.KeyPackageRef) (map[mls.KeyPackageRef]bool, error) {
	return nil, nil
}

func (s *keepingStore) Publish(_ context.Context, _ delivery.Caller, _ delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	for _, kp := range items {
		s.keep(kp.Bytes)
	}
	return delivery.Publications{}, nil
}

func (s *keepingStore) Post(_ context.Context, _ delivery.Caller, p delivery.Posting) (delivery.Outcome, error) {
	s.keep(p.Welcome.Bytes())
	s.keep(p.RatchetTree)
	return delivery.Outcome{}, nil
}

// TestWhatAStoreIsGivenStaysAsItIs: buffers are used again for other requests,
// and a store may still be writing when its caller has gone.
func TestWhatAStoreIsGivenStaysAsItIs(t *testing.T) {
	store := &keepingStore{}
	s := start(t, func(o *server.Options) { o.Store = store })
	var want [][]byte
	for range 20 {
		kps := newKeyPackages(3)
		welcome, tree := mlstest.WelcomeFor(kps...), mlstest.Random(500)
		s.call("POST", shelf, kps[0]).want(201)
		s.call("POST", shelf, publication{kps[1:]}).want(201)
		s.call("POST", "/v1/welcomes", welcome).want(201)
		s.call("POST", "/v1/welcomes", object{"welcome": welcome, "ratchet_tree": tree}).want(201)
		want = append(want, kps[0], kps[1], kps[2], welcome, nil, welcome, tree)
	}
	for i, b := range store.kept {
		if !bytes.Equal(b, want[i]) {
			t.Fatalf("object %d has changed since it was given to the store", i)
		}
	}
	same(t, "objects", len(store.kept), len(want))
}

// TestAnEmptyObjectIsNotAnAbsentOne: a body of no bytes that is said to be an
// MLS object is a malformed one.
func TestAnEmptyObjectIsNotAnAbsentOne(t *testing.T) {
	s := start(t, nil)
	s.call("POST", shelf, []byte{}).refused(422, "invalid_key_package")
	s.call("POST", shelf, nil).refused(400, "no_key_packages")
	s.call("POST", "/v1/welcomes", []byte{}).refused(400, "malformed_message")
	s.call("POST", "/v1/welcomes", nil).refused(400, "bad_request")
}

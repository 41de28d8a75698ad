package server_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
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

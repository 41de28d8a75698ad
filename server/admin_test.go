package server_test

import (
	"encoding/base64"
	"net/http"
	"testing"

	"welcomed/server"
)

func TestTheAdminListenerWantsItsToken(t *testing.T) {
	const token = "a-token-of-the-operator"
	s := start(t, func(o *server.Options) {
		o.AdminToken, o.Profiles = token, true
		o.Metrics = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	})
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, path := range []string{"/", "/metrics", "/debug/pprof/", "/livez", "/readyz", "/nothing"} {
		status := map[string]int{"/nothing": 404}[path]
		if status == 0 {
			status = 200
		}
		health := path == "/livez" || path == "/readyz"
		for authorization, ok := range map[string]bool{
			"Bearer " + token:            true,
			"bearer " + token:            true,
			basic("prometheus:" + token): true,
			basic(":" + token):           true,
			"":                           false,
			"Bearer":                     false,
			"Bearer " + token + "x":      false,
			"Bearer " + token[1:]:        false,
			token:                        false,
			"Token " + token:             false,
			basic(token + ":"):           false,
		} {
			req, err := http.NewRequest("GET", "http://"+s.admin+path, nil)
			must(t, err)
			if authorization != "" {
				req.Header.Set("Authorization", authorization)
			}
			resp, err := http.DefaultTransport.RoundTrip(req)
			must(t, err)
			resp.Body.Close()
			want := status
			if !ok && !health {
				want = 401
				same(t, "schemes", len(resp.Header.Values("WWW-Authenticate")), 2)
			}
			same(t, path+" with "+authorization, resp.StatusCode, want)
		}
	}
}

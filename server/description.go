package server

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"welcomed/operator/codes"
	"welcomed/server/openapi"
)

const (
	docsPath   = "/v1/docs"
	errorsPath = "/v1/errors"
)

// documents are routes for people and their tools. Clients have no methods for them.
var documents = []route{
	{"GET", "/", anyone, (*Server).front, nil, ""},
	{"GET", "/v1/openapi.json", anyone, (*Server).describedInJSON, nil, ""},
	{"GET", "/v1/openapi.yaml", anyone, (*Server).describedInYAML, nil, ""},
	{"GET", docsPath, anyone, (*Server).docs, nil, ""},
	{"GET", errorsPath, anyone, (*Server).allErrors, nil, ""},
	{"GET", errorsPath + "/:code", anyone, (*Server).oneError, nil, ""},
}

// frontJSON says where the documents are.
type frontJSON struct {
	About   string `json:"about"`
	Docs    string `json:"docs"`
	OpenAPI string `json:"openapi"`
	Errors  string `json:"errors"`
}

// front handles GET /, the first page that people open.
func (s *Server) front(w http.ResponseWriter, r *request) error {
	w.Header().Add("Vary", "Accept")
	if wantsPage(r) {
		page, err := openapi.FrontPage()
		return writeDocument(w, page, err)
	}
	return answer(w, http.StatusOK, frontJSON{"/v1", docsPath, "/v1/openapi.json", errorsPath})
}

// describedInJSON handles GET /v1/openapi.json.
func (s *Server) describedInJSON(w http.ResponseWriter, _ *request) error {
	writeBody(w, http.StatusOK, mediaJSON, openapi.JSON())
	return nil
}

// describedInYAML handles GET /v1/openapi.yaml.
func (s *Server) describedInYAML(w http.ResponseWriter, _ *request) error {
	writeBody(w, http.StatusOK, "application/yaml", openapi.YAML())
	return nil
}

// docs handles GET /v1/docs.
func (s *Server) docs(w http.ResponseWriter, _ *request) error {
	page, err := openapi.DocsPage()
	return writeDocument(w, page, err)
}

func writeDocument(w http.ResponseWriter, page []byte, err error) error {
	if err != nil {
		return fmt.Errorf("make a page: %w", err)
	}
	w.Header().Set("Content-Security-Policy", openapi.PagePolicy)
	writeBody(w, http.StatusOK, mediaHTML+"; charset=utf-8", page)
	return nil
}

type errorJSON struct {
	Code   string       `json:"code"`
	Status int          `json:"status,omitzero"`
	Means  string       `json:"means"`
	Repeat codes.Repeat `json:"repeat"`
	Do     string       `json:"do"`
}

func newError(e openapi.Error) errorJSON {
	return errorJSON{e.Code, e.Status, e.Means, e.Repeat, e.Do}
}

// knownErrors has all codes, by name.
var knownErrors = sync.OnceValue(func() (all []openapi.Error) {
	statuses := make(map[string]int)
	for _, k := range ProblemKinds() {
		statuses[k.Code] = k.Status
	}
	for code, refusal := range codes.Refusals {
		all = append(all, openapi.Error{Code: code, Status: statuses[code], Refusal: refusal})
	}
	slices.SortFunc(all, func(a, b openapi.Error) int { return cmp.Compare(a.Code, b.Code) })
	return all
})

// allErrors handles GET /v1/errors.
func (s *Server) allErrors(w http.ResponseWriter, r *request) error {
	w.Header().Add("Vary", "Accept")
	if wantsPage(r) {
		page, err := openapi.ErrorsPage(knownErrors())
		return writeDocument(w, page, err)
	}
	list := make([]errorJSON, len(knownErrors()))
	for i, e := range knownErrors() {
		list[i] = newError(e)
	}
	return answer(w, http.StatusOK, struct {
		Errors []errorJSON `json:"errors"`
	}{list})
}

// oneError handles GET /v1/errors/:code.
func (s *Server) oneError(w http.ResponseWriter, r *request) error {
	i := slices.IndexFunc(knownErrors(), func(e openapi.Error) bool { return e.Code == r.code })
	if i < 0 {
		return fmt.Errorf("%w: there is no code %q", errNotServed, r.code)
	}
	w.Header().Add("Vary", "Accept")
	if wantsPage(r) {
		page, err := openapi.ErrorPage(knownErrors()[i])
		return writeDocument(w, page, err)
	}
	return answer(w, http.StatusOK, newError(knownErrors()[i]))
}

// wantsPage reports whether a client prefers a page to JSON, as browsers do.
func wantsPage(r *request) bool {
	quality := accepted(r.Header)
	return quality[mediaHTML] > quality[mediaJSON]
}

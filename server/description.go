package server

import (
	"net/http"

	"welcomed/server/openapi"
)

// documents are routes for people and their tools. No client has methods for them.
var documents = []route{
	{"GET", "/v1/openapi.json", anyone, (*Server).describedInJSON, nil, ""},
	{"GET", "/v1/openapi.yaml", anyone, (*Server).describedInYAML, nil, ""},
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

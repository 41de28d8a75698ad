package server

import "net/http"

// A Setting is a setting with which the server was started.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"` // of a secret: whether there is one
	From  string `json:"from"`
}

// settings handles GET /config.
func (s *Server) settings(w http.ResponseWriter, _ *request) error {
	return answer(w, http.StatusOK, struct {
		Settings []Setting `json:"settings"`
	}{s.options.Settings})
}

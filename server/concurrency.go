package server

import (
	"net/http"
	"sync"
)

// A concurrency says how many requests of a route are served at a time, or what else bounds
// them.
type concurrency string

const (
	twoForTheUser   concurrency = "two at a time for the user of the path"
	twoForTheCaller concurrency = "two at a time for the caller"
	inItsHandler    concurrency = "two at a time in its handler, but not while it waits or a body comes"
	fewRows         concurrency = "it reads few rows or none"
	boundElsewhere  concurrency = "the writer, the checks of signatures or a budget bound it"
)

// concurrencyOf has every route, also those of the admin socket.
var concurrencyOf = map[string]concurrency{
	"GET /":                fewRows,
	"GET /v1":              fewRows,
	"GET /v1/openapi.json": fewRows,
	"GET /v1/openapi.yaml": fewRows,
	"GET /v1/docs":         fewRows,
	"GET /v1/errors":       fewRows,
	"GET /v1/errors/:code": fewRows,

	"POST " + shelfPath:             boundElsewhere,
	"PUT " + shelfPath:              boundElsewhere,
	"GET " + shelfPath:              twoForTheUser,
	"POST " + shelfPath + "/sync":   inItsHandler,
	"DELETE " + shelfPath + "/:ref": boundElsewhere,
	"PUT " + shelfPath + "/:ref":    boundElsewhere,

	"GET " + userPath + "/devices": twoForTheUser,
	"DELETE " + devicePath:         boundElsewhere,
	"DELETE " + userPath:           boundElsewhere,

	"GET " + userPath + "/key-packages": twoForTheCaller,
	"POST /v1/key-packages/reserve":     inItsHandler,
	"POST /v1/key-packages/give-back":   boundElsewhere,
	"GET /v1/key-packages/:ref":         twoForTheCaller,

	"POST /v1/welcomes":                boundElsewhere,
	"GET " + welcomePath:               twoForTheCaller,
	"POST " + welcomePath + "/release": boundElsewhere,
	"DELETE " + welcomePath:            boundElsewhere,

	"POST " + devicePath + "/claim":           inItsHandler,
	"GET " + recipientPath + "/ratchet-tree":  twoForTheUser,
	"POST " + recipientPath + "/ack":          boundElsewhere,
	"POST " + recipientPath + "/reject":       boundElsewhere,
	"GET " + devicePath + "/events":           fewRows,
	"GET " + userPath + "/events":             fewRows,
	"GET /v1/events":                          fewRows,
	"POST " + devicePath + "/tokens":          boundElsewhere,
	"GET " + devicePath + "/tokens":           fewRows,
	"DELETE " + devicePath + "/tokens/:token": boundElsewhere,

	// Of the admin socket, which is the operator's.
	"GET /config":           fewRows,
	"POST /backup":          boundElsewhere,
	"POST /backup/kept":     boundElsewhere,
	"GET /explain":          inItsHandler,
	"POST /explain":         inItsHandler,
	"POST /tokens":          boundElsewhere,
	"GET /tokens":           fewRows,
	"DELETE /tokens/:token": boundElsewhere,
	"GET /webhook":          fewRows,
	"POST /webhook/test":    boundElsewhere,
	"POST /webhook/retry":   boundElsewhere,
	"PUT /users/:user/devices/:device/key-packages/:ref": boundElsewhere,
}

// key returns the key of which two requests are served at a time. A service that acts for
// nobody has a key for each object that it asks for.
func (c concurrency) key(r *request) (key string, bounded bool) {
	switch {
	case c == twoForTheUser:
		return "user " + string(r.user), true
	case c == twoForTheCaller && r.caller.User == "":
		return "path " + r.URL.Path, true
	case c == twoForTheCaller:
		return "caller " + string(r.caller.User), true
	}
	return "", false
}

// handleBounded calls the handler of a route when fewer than two other requests with its key
// are being served. A request stops counting when its answer is made, so a client that reads
// slowly keeps nobody waiting.
func (s *Server) handleBounded(w http.ResponseWriter, r *request) error {
	key, bounded := concurrencyOf[r.route.method+" "+r.route.path].key(r)
	if !bounded {
		return r.route.handle(s, w, r)
	}
	release, err := s.reads.Acquire(r.Context(), key)
	if err != nil {
		return err
	}
	release = sync.OnceFunc(release)
	defer release()
	if response, ok := w.(*response); ok {
		response.beforeAnswer = append(response.beforeAnswer, release)
	}
	return r.route.handle(s, w, r)
}

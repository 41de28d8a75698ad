package server

import (
	"net/http"
	"sync"
)

// A turnClass says how a route takes turns, or why it does not.
type turnClass string

const (
	ofTheUser   turnClass = "two at a time for the user of the path"
	ofTheCaller turnClass = "two at a time for the caller"
	byItself    turnClass = "its handler takes a turn, but not while it waits or a body comes"
	fewRows     turnClass = "it reads few rows"
	inTheWriter turnClass = "the writer, the checks of signatures or a budget bound it"
)

// turnsOf has every route, also those of the admin socket.
var turnsOf = map[string]turnClass{
	"GET /v1": fewRows,

	"POST " + shelfPath:             inTheWriter,
	"PUT " + shelfPath:              inTheWriter,
	"GET " + shelfPath:              ofTheUser,
	"POST " + shelfPath + "/sync":   byItself,
	"DELETE " + shelfPath + "/:ref": inTheWriter,
	"PUT " + shelfPath + "/:ref":    inTheWriter,

	"GET " + userPath + "/devices": ofTheUser,
	"DELETE " + devicePath:         inTheWriter,
	"DELETE " + userPath:           inTheWriter,

	"GET " + userPath + "/key-packages": ofTheCaller,
	"POST /v1/key-packages/reserve":     byItself,
	"POST /v1/key-packages/give-back":   inTheWriter,
	"GET /v1/key-packages/:ref":         ofTheCaller,

	"POST /v1/welcomes":                inTheWriter,
	"GET " + welcomePath:               ofTheCaller,
	"POST " + welcomePath + "/release": inTheWriter,
	"DELETE " + welcomePath:            inTheWriter,

	"POST " + devicePath + "/claim":           byItself,
	"GET " + mailPath + "/ratchet-tree":       ofTheUser,
	"POST " + mailPath + "/ack":               inTheWriter,
	"POST " + mailPath + "/reject":            inTheWriter,
	"POST " + devicePath + "/tokens":          inTheWriter,
	"GET " + devicePath + "/tokens":           fewRows,
	"DELETE " + devicePath + "/tokens/:token": inTheWriter,

	// Of the admin socket, which is the operator's.
	"GET /config":           fewRows,
	"POST /backup":          inTheWriter,
	"POST /backup/kept":     inTheWriter,
	"GET /explain":          byItself,
	"POST /explain":         byItself,
	"POST /tokens":          inTheWriter,
	"GET /tokens":           fewRows,
	"DELETE /tokens/:token": inTheWriter,
	"PUT /users/:user/devices/:device/key-packages/:ref": inTheWriter,
}

// object is for whom a request of this class takes a turn. A service that acts for
// nobody has one for each object that it asks for.
func (c turnClass) object(r *request) (object string, takes bool) {
	switch {
	case c == ofTheUser:
		return "user " + string(r.user), true
	case c == ofTheCaller && r.caller.User == "":
		return "path " + r.URL.Path, true
	case c == ofTheCaller:
		return "caller " + string(r.caller.User), true
	}
	return "", false
}

// inTurn calls the handler of a route when it is its turn, which ends when the
// answer is made: a client that takes it slowly keeps nobody waiting.
func (s *Server) inTurn(w http.ResponseWriter, r *request) error {
	object, takes := turnsOf[r.route.method+" "+r.route.path].object(r)
	if !takes {
		return r.route.handle(s, w, r)
	}
	done, err := s.reads.Acquire(r.Context(), object)
	if err != nil {
		return err
	}
	done = sync.OnceFunc(done)
	defer done()
	if response, ok := w.(*response); ok {
		response.begins = append(response.begins, done)
	}
	return r.route.handle(s, w, r)
}

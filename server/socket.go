package server

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"

	"github.com/julienschmidt/httprouter"

	"welcomed/delivery"
)

// socketRoutes are the requests that commands send to a running server. Whoever can connect to
// the socket may use all of them, so the permissions of its file protect it. Errors are told in
// full.
var socketRoutes = []route{
	{"GET", "/config", theOperator, (*Server).settings, nil, ""},

	{"POST", "/backup", theOperator, (*Server).backup, nil, ""},
	{"POST", "/backup/kept", theOperator, (*Server).backupKept, nil, ""},

	{"GET", "/explain", theOperator, (*Server).operatorAsks, nil, "user device ref q"},
	{"POST", "/explain", theOperator, (*Server).operatorAsks, explainBody, ""},

	{"PUT", "/users/:user/devices/:device/key-packages/:ref", theOperator, (*Server).give, nil, ""},

	{"POST", "/tokens", theOperator, (*Server).operatorCreatesToken, smallBody, ""},
	{"GET", "/tokens", theOperator, (*Server).operatorListsTokens, nil, "user device service"},
	{"DELETE", "/tokens/:token", theOperator, (*Server).operatorRevokesToken, nil, ""},

	{"GET", "/webhook", theOperator, (*Server).operatorLooksAtWebhook, nil, "max"},
	{"POST", "/webhook/test", theOperator, (*Server).operatorTestsWebhook, nil, ""},
	{"POST", "/webhook/retry", theOperator, (*Server).operatorRetriesWebhook, nil, ""},
}

// A Backup makes copies of the store.
type Backup struct {
	// Copy returns a copy of the store as it is now, or as it was when the last
	// one that was under way had ended. The file has no name any more: it is
	// gone when it is closed.
	Copy func(context.Context) (*os.File, error)
	// Kept is told that a copy is safe where it was to go.
	Kept func(context.Context) error
}

// Socket returns the handler of the admin socket.
func (s *Server) Socket() http.Handler {
	router := httprouter.New()
	router.RedirectTrailingSlash, router.RedirectFixedPath = false, false
	for _, rt := range socketRoutes {
		router.Handle(rt.method, rt.path, s.serve(&rt, s.runOperator))
	}
	router.NotFound = s.unrouted((*Server).noSuchPath)
	router.MethodNotAllowed = s.unrouted((*Server).noSuchMethod)
	return router
}

// DatabaseHeader is the header by which a command says which database it means: names with
// values, form-encoded. One of them has to be in Options.Database. Without the header the
// command means the database of this server.
const DatabaseHeader = "Welcomed-Database"

// meansThis refuses a command that means another database.
func (s *Server) meansThis(r *request) error {
	meant, err := url.ParseQuery(r.Header.Get(DatabaseHeader))
	if err != nil || len(meant) == 0 {
		return err
	}
	for name := range meant {
		if value := meant.Get(name); value != "" && value == s.options.Database.Get(name) {
			return nil
		}
	}
	return fmt.Errorf("%w: this server keeps %s, and --db is another file", errPrecondition, s.options.Database.Get("path"))
}

// runOperator is run, for callers who need no credentials.
func (s *Server) runOperator(w http.ResponseWriter, r *request, params httprouter.Params) error {
	r.operator, r.caller = true, delivery.Operator()
	if err := r.permit(); err != nil {
		return err
	}
	if err := s.meansThis(r); err != nil {
		return err
	}
	if err := r.readPath(params); err != nil {
		return err
	}
	if err := r.readQuery(); err != nil {
		return err
	}
	return r.route.handle(s, w, r)
}

// backup handles POST /backup. It makes the copy before it begins the answer, so a client that
// reads slowly keeps nobody waiting.
func (s *Server) backup(w http.ResponseWriter, r *request) error {
	if s.options.Backup == nil {
		return fmt.Errorf("%w: this store is not backed up by welcomed", errNotServed)
	}
	ctx, cancel := s.untilDraining(r.Context())
	defer cancel()
	f, err := s.options.Backup.Copy(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(info.Size(), 10))
	w.WriteHeader(http.StatusOK)
	_, err = io.Copy(w, f)
	return err
}

// backupKept handles POST /backup/kept, by which the client says that the copy is complete and
// safe.
func (s *Server) backupKept(w http.ResponseWriter, r *request) error {
	if s.options.Backup == nil {
		return fmt.Errorf("%w: this store is not backed up by welcomed", errNotServed)
	}
	if err := s.options.Backup.Kept(r.Context()); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// untilDraining returns a context that ends with errStopping when the server is
// told to stop.
func (s *Server) untilDraining(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-s.draining:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

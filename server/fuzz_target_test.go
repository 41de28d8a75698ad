package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"welcomed/auth"
	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest/corpus"
	"welcomed/server"
)

// A target is a store with something in it and the handlers of servers in front
// of it: one that serves everybody, one that serves this machine, and one that
// wants tokens.
type target struct {
	clock  delivery.Clock
	ledger *storetest.Ledger
	close  func() error
	log    *syncBuffer

	servers  []*server.Server
	handlers []http.Handler
	names    []string // "{alice}", a token, "{id}", an id, and so on, which can stand in requests
	fill     *strings.Replacer

	mu     sync.Mutex
	counts map[int]int // answers, by status
}

// newTarget opens a new store in dir, of which clock is the clock.
func newTarget(dir string, clock delivery.Clock) (*target, error) {
	limits := delivery.DefaultLimits()
	store, err := bolt.Open(filepath.Join(dir, "welcomed.db"), bolt.Options{Limits: limits, Clock: clock})
	if err != nil {
		return nil, err
	}
	t := &target{
		clock: clock, ledger: storetest.NewLedger(store), close: store.Close,
		log: new(syncBuffer), counts: make(map[int]int),
	}
	o := server.Options{Store: t.ledger, Limits: limits, Log: slog.New(slog.NewTextHandler(t.log, nil)), Version: "v0-test", LongPoll: time.Millisecond}
	everybody, local, tokens := o, o, o
	everybody.NoAuth, local.NoAuth = server.NoAuthPublic, server.NoAuthLocal
	tokens.Auth = auth.Tokens(store)
	few := server.Budget{Burst: 3, PerHour: 3}
	tokens.Budgets, tokens.BudgetClock = server.Budgets{Caller: few, Pair: few, Target: few}, clock.Now
	for _, o := range []server.Options{everybody, local, tokens} {
		s := server.New(o)
		t.servers, t.handlers = append(t.servers, s), append(t.handlers, s.API())
	}
	return t, t.makeTokens(store)
}

func (t *target) makeTokens(store delivery.Store) error {
	alice, phone, bob := ofUser("alice"), ofDevice("alice", "phone"), ofUser("bob")
	for name, owner := range map[string]delivery.TokenOwner{"{alice}": alice, "{phone}": phone, "{bob}": bob, "{service}": aBackend, "{reader}": aBackend} {
		token, text := auth.NewToken(owner)
		token.ReadOnly = name == "{reader}"
		if _, err := store.AddToken(background, token); err != nil {
			return err
		}
		t.know(name, text)
	}
	return nil
}

// know has name stand for value in requests.
func (t *target) know(name, value string) {
	t.names = append(t.names, name, value)
	t.fill = strings.NewReplacer(t.names...)
}

// furnish puts a part of the corpus into the store: KeyPackages of Alice's, and
// Welcomes for some that Bob has posted.
func (t *target) furnish() error {
	c, err := corpus.Mixed()
	if err != nil {
		return err
	}
	ask := func(method, path, body string, want int) (object, error) {
		r, err := readRequest(method, path, "Host: localhost\r\nContent-Type: application/json\r\n", []byte(body))
		if err != nil {
			return nil, err
		}
		w := httptest.NewRecorder()
		t.handlers[0].ServeHTTP(w, r)
		var o object
		if w.Code != want {
			return nil, fmt.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
		}
		if w.Code == http.StatusNoContent {
			return nil, nil
		}
		return o, json.Unmarshal(w.Body.Bytes(), &o)
	}
	var list [][]byte
	for _, kp := range c.KeyPackages[:40] {
		if kp.CipherSuite.Known() {
			list = append(list, kp.Bytes)
		}
	}
	if _, err := ask("POST", shelf, text(publication{list}), 201); err != nil {
		return err
	}
	t.know("{ref}", refOf(list[0]))
	for i, name := range []string{"{id}", "{held}"} {
		w := c.Welcomes[i]
		for _, r := range w.Recipients {
			if _, err := ask("POST", shelf, text(publication{[][]byte{c.KeyPackages[r].Bytes}}), 201); err != nil {
				return err
			}
		}
		posted, err := ask("POST", "/v1/welcomes?hold=1", text(object{"welcome": w.Bytes, "ratchet_tree": make([]byte, 100<<10)}), 201)
		if err != nil {
			return err
		}
		t.know(name, posted.text("id"))
		t.know("{matched}", posted.text("recipients", 0, "ref"))
		if name == "{id}" {
			if _, err := ask("POST", "/v1/welcomes/"+posted.text("id")+"/release", "", 200); err != nil {
				return err
			}
		}
	}
	_, err = ask("POST", phone+"/claim", `{"max":1}`, 200)
	return err
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// readRequest reads a request as net/http reads it from a connection, apart from
// its body.
func readRequest(method, target, header string, body []byte) (*http.Request, error) {
	if !strings.HasSuffix(header, "\r\n") {
		header += "\r\n"
	}
	head := method + " " + target + " HTTP/1.1\r\n" + header + "\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
	if err != nil {
		return nil, err
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Body, r.ContentLength = http.NoBody, 0
	if len(body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	if len(r.TransferEncoding) > 0 {
		r.ContentLength = -1
	}
	if strings.HasSuffix(r.URL.Path, "/events") { // the client of a stream has to leave
		ctx, leave := context.WithCancel(r.Context())
		time.AfterFunc(10*time.Millisecond, leave)
		r = r.WithContext(ctx)
	}
	return r, nil
}

// try makes a request of each server and returns what is wrong with the answers.
// What net/http would not let through is not tried.
func (t *target) try(method, target, header string, body []byte) (problems []string) {
	target, header = t.fill.Replace(target), t.fill.Replace(header)
	if bytes.IndexByte(body, '{') >= 0 && len(body) < 100_000 {
		body = []byte(t.fill.Replace(string(body)))
	}
	for i, handler := range t.handlers {
		r, err := readRequest(method, target, header, body)
		if err != nil {
			return nil
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		for _, p := range wrongWith(w, r.Method) {
			problems = append(problems, fmt.Sprintf("server %d: %s %q\n%q\nbody %.1000q\nanswer %d %v\n%.2000s\n%s", i, method, target, header, body, w.Code, w.Header(), w.Body, p))
		}
		t.count(w.Code)
	}
	if log := t.log.String(); log != "" {
		problems = append(problems, "logged: "+log)
	}
	return problems
}

func (t *target) count(status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts[status]++
}

// wrongWith returns what no answer may be.
func wrongWith(w *httptest.ResponseRecorder, method string) (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	h := w.Header()
	if w.Code < 200 || w.Code >= 500 {
		wrong("status %d", w.Code)
	}
	if id := h.Get("Request-Id"); id == "" || len(id) > 64 || h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
		wrong("a header is missing")
	}
	for name, values := range h {
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") || len(v) > 4096 {
				wrong("header %s is %q", name, v)
			}
		}
	}
	if length := h.Get("Content-Length"); length != "" && length != strconv.Itoa(w.Body.Len()) && method != http.MethodHead {
		wrong("Content-Length is %s of %d", length, w.Body.Len())
	}
	switch media := h.Get("Content-Type"); {
	case w.Code >= 400:
		problems = append(problems, wrongWithProblem(w)...)
	case w.Code == http.StatusNoContent || w.Code == http.StatusNotModified:
		if w.Body.Len() > 0 {
			wrong("%d with a body", w.Code)
		}
	case media == "application/json" && method != http.MethodHead && !json.Valid(w.Body.Bytes()):
		wrong("the body is no JSON")
	}
	return problems
}

// wrongWithProblem returns what a refusal may not be.
func wrongWithProblem(w *httptest.ResponseRecorder) (problems []string) {
	var p struct {
		Type, Title, Code, Detail string
		Status                    int
		RequestID                 string `json:"request_id"`
		Invalid                   []struct{ Code, Detail string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != "application/problem+json" {
		return []string{fmt.Sprintf("it is no problem: %v", err)}
	}
	if p.Status != w.Code || p.Title != http.StatusText(w.Code) || p.Type != "/v1/errors/"+p.Code || p.RequestID != w.Header().Get("Request-Id") {
		problems = append(problems, "the problem is not whole")
	}
	if statusOf(p.Code) != w.Code {
		problems = append(problems, fmt.Sprintf("code %q is no code of %d", p.Code, w.Code))
	}
	if len(p.Detail) > 600 || !utf8.ValidString(p.Detail) {
		problems = append(problems, fmt.Sprintf("the detail is %q", p.Detail))
	}
	for _, item := range p.Invalid {
		if !itemCodes[item.Code] || item.Detail == "" {
			problems = append(problems, fmt.Sprintf("an item has the code %q", item.Code))
		}
	}
	return problems
}

// statusOf returns the status that goes with a code; 0: there is no such code.
func statusOf(code string) int {
	if status, ok := server.Answers()[code]; ok {
		return status
	}
	if slices.Contains(mls.Codes, mls.Code(code)) {
		return http.StatusUnprocessableEntity
	}
	return 0
}

var itemCodes = func() map[string]bool {
	codes := map[string]bool{"too_large": true, "wrong_identity": true}
	for _, c := range mls.Codes {
		codes[string(c)] = true
	}
	for _, c := range []delivery.ItemCode{delivery.ItemExpired, delivery.ItemNotYetValid, delivery.ItemLifetimeTooLong, delivery.ItemUnsupportedCipherSuite,
		delivery.ItemWrongSuite, delivery.ItemInitKeyReused, delivery.ItemSpent, delivery.ItemNotYours} {
		codes[string(c)] = true
	}
	return codes
}()

// listen serves everybody on a socket, until stop is called.
func (t *target) listen() (addr string, stop func() error, err error) {
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		api.Close()
		return "", nil, err
	}
	ctx, cancel := context.WithCancel(background)
	ended := make(chan error, 1)
	go func() { ended <- t.servers[0].Serve(ctx, api, admin) }()
	return api.Addr().String(), func() error { cancel(); return <-ended }, nil
}

// end recounts what is in the store and closes it.
func (t *target) end() error {
	defer t.close()
	for range 2 {
		if _, err := t.ledger.Sweep(background); err != nil {
			return err
		}
	}
	differences, err := t.ledger.Recount(background, delivery.DefaultLimits(), t.clock.Now())
	if err == nil && len(differences) > 0 {
		err = fmt.Errorf("%s", strings.Join(differences, "\n"))
	}
	return err
}

// summary says how many answers of each status there were.
func summary(counts map[int]int) (total int, text string) {
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		total += counts[status]
		parts = append(parts, fmt.Sprintf("%d: %d", status, counts[status]))
	}
	return total, strings.Join(parts, ", ")
}

// A supply makes targets, each for so many requests: what is stored does not pile
// up, and what a target has become is recounted.
type supply struct {
	clock delivery.Clock
	most  int
	ended func(counts map[int]int) // nil: nobody counts

	current *target
	used    int
	dir     string
}

// next returns the target for the next request.
func (s *supply) next(tb testing.TB) *target {
	if s.current != nil && s.used < s.most {
		s.used++
		return s.current
	}
	s.end(tb)
	s.current, s.dir = furnished(tb, s.clock)
	s.used = 1
	return s.current
}

// furnished returns a target in a directory of its own.
func furnished(tb testing.TB, clock delivery.Clock) (t *target, dir string) {
	dir, err := os.MkdirTemp("", "stranger")
	if err == nil {
		t, err = newTarget(dir, clock)
	}
	if err == nil {
		err = t.furnish()
	}
	if err != nil {
		tb.Fatal(err)
	}
	return t, dir
}

// end audits the current target, if there is one.
func (s *supply) end(tb testing.TB) {
	if s.current == nil {
		return
	}
	if err := s.current.end(); err != nil {
		tb.Errorf("after %d requests: %v", s.used, err)
	}
	if s.ended != nil {
		s.ended(s.current.counts)
	}
	s.current = nil
	_ = os.RemoveAll(s.dir)
}

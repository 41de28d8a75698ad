package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"welcomed/client"
	"welcomed/delivery/storetest"
	"welcomed/mls/mlstest"
)

var kills = flag.Int("kills", 60, "how often TestNothingIsLostByKills kills the application")

// An application is what a child process is told to be: an app that visits the server once,
// and is killed when it passes a point for the nth time.
type application struct {
	URL, Token, Store string
	Point             string
	Nth               int
	TwoWrites         bool
}

const childVariable = "WELCOMED_CLIENT_TEST_APPLICATION"

func init() { storetest.DirectoriesInMemory() }

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		var a application
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			panic(err)
		}
		a.run()
	}
	os.Exit(m.Run())
}

// run visits the server, prints each point that is passed, and ends the process.
func (a application) run() {
	passed := 0
	pass := func(point string) {
		fmt.Println(point)
		if point != a.Point {
			return
		}
		if passed++; passed == a.Nth {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	store := &fileStore{path: a.Store, at: pass, twoWrites: a.TwoWrites}
	c := &client.Client{URL: a.URL, Token: client.StaticToken(a.Token)}
	c.HTTP = through(func(r *http.Request) (*http.Response, error) {
		what := r.Method + " " + path.Base(r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/v1/key-packages/") {
			what = r.Method + " the state"
		}
		pass(what + ": not asked yet")
		resp, err := http.DefaultTransport.RoundTrip(r)
		pass(what + ": answered")
		return resp, err
	})
	if err := store.device(c).Visit(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// start runs the application and returns the points that it has passed, and whether it was
// killed at the last one.
func (a application) start(t *testing.T) (points []string, killed bool) {
	t.Helper()
	text, err := json.Marshal(a)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err = cmd.Run()
	points = strings.Split(strings.TrimSpace(out.String()), "\n")
	ended, ok := errors.AsType[*exec.ExitError](err)
	if err != nil && !ok {
		t.Fatal(err)
	}
	if ok {
		killed = ended.Sys().(syscall.WaitStatus).Signaled()
	}
	// A Welcome that the application cannot join yet is no failure.
	if err != nil && !killed && !strings.Contains(said.String(), "could not be joined with yet") {
		t.Fatalf("the application ended with %v: %s", err, &said)
	}
	return points, killed
}

// An adder posts Welcomes for the phone and remembers them.
type adder struct {
	t      *testing.T
	client *client.Client
	posted map[string]string // what the application does with a Welcome, by its id
}

// add posts a Welcome unless nothing is on the shelf, as before the first visit.
func (a *adder) add(does string) {
	a.t.Helper()
	r, err := a.client.Reserve(a.t.Context(), client.Reserving{Devices: []client.DeviceID{phone}})
	must(a.t, err)
	for _, k := range r.KeyPackages() {
		posted, err := a.client.Post(a.t.Context(), client.Posting{Welcome: mlstest.WelcomeFor(k.Bytes), Context: []byte(does)})
		must(a.t, err)
		a.posted[posted.ID] = does
	}
}

// TestNothingIsLostByKills has an application visit the server again and again. It is killed
// at each point that it passes, while others add it to groups: so many at times that its
// shelf is empty and they take the last resort. In the end each Welcome was joined exactly
// once, and none was lost or rejected.
func TestNothingIsLostByKills(t *testing.T) {
	rounds := *kills
	if testing.Short() {
		rounds = 40
	}
	s := serve(t)
	token, err := s.service().CreateToken(t.Context(), phone, client.NewToken{})
	must(t, err)
	app := application{URL: s.url, Token: token.Token, Store: filepath.Join(t.TempDir(), "app.json")}
	bob := &adder{t, s.service().For("bob"), map[string]string{}}

	points := map[string]int{} // how often the application was killed there
	for i, n := 0, 0; n < rounds; i++ {
		for j := range 1 + 5*(i%7/6) { // each seventh time so many that the shelf is empty
			bob.add([]string{"join", laterOnce, "join", declines}[(i+j)%4])
		}
		next := app
		if len(points) > 0 { // where it was killed least often
			next.Point = slices.MinFunc(slices.Sorted(maps.Keys(points)), func(a, b string) int { return points[a] - points[b] })
			next.Nth = 1 + points[next.Point]%2
		}
		passed, killed := next.start(t)
		for _, point := range passed {
			points[point] += 0
		}
		if killed {
			points[next.Point]++
			n++
		} else if next.Point != "" && next.Nth > 1 {
			points[next.Point]++ // it passes there once
		} else if i > 20*rounds {
			t.Fatalf("the application does not pass %s any more", next.Point)
		}
	}
	for range 3 { // what could not be joined the first time is left for the second
		app.start(t)
	}
	store := &fileStore{path: app.Store}
	must(t, store.check(bob.posted, func(id string) (client.Outcome, error) { return bob.client.Outcome(t.Context(), id) }))
	t.Logf("killed %d times at %d points; %d Welcomes", rounds, len(points), len(bob.posted))
	for _, point := range []string{"POST claim: answered", "looked up", "join: not saved yet", "join: half saved", "join: saved", "POST ack: not asked yet",
		"POST ack: answered", "delete: saved", "make: saved", "POST key-packages: answered", "POST reject: answered", "POST sync: answered"} {
		if points[point] == 0 {
			t.Errorf("the application was never killed at %q", point)
		}
	}
}

// An application that saves the id of a Welcome in another write than the use of its key
// loses a group when it is killed in between: the kills find it.
func TestKillsFindWhoSavesTheIDLater(t *testing.T) {
	s := serve(t)
	token, err := s.service().CreateToken(t.Context(), phone, client.NewToken{})
	must(t, err)
	app := application{URL: s.url, Token: token.Token, Store: filepath.Join(t.TempDir(), "app.json"), TwoWrites: true}
	bob := &adder{t, s.service().For("bob"), map[string]string{}}
	app.start(t)
	bob.add("join")
	killed := app
	killed.Point, killed.Nth = "use the key: saved", 1
	if _, ok := killed.start(t); !ok {
		t.Fatal("the application was not killed")
	}
	app.start(t)
	store := &fileStore{path: app.Store}
	err = store.check(bob.posted, func(id string) (client.Outcome, error) { return bob.client.Outcome(t.Context(), id) })
	if err == nil || !strings.Contains(err.Error(), "joined 0 times and is rejected no_matching_key_package") {
		t.Errorf("%v", err)
	}
}

package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"welcomed/client"
	"welcomed/delivery/storetest"
)

// built is the program, which is built once.
var built = sync.OnceValues(func() (string, error) { return Build(context.Background(), dir) })

var dir string

func init() { storetest.DirectoriesInMemory() }

func TestMain(m *testing.M) {
	var err error
	if dir, err = os.MkdirTemp("", "harness"); err != nil {
		log.Fatal(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func build(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds the server")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go to build the server with")
	}
	binary, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

func TestAServerIsStartedAskedAndStopped(t *testing.T) {
	certificate, err := NewCertificate()
	if err != nil {
		t.Fatal(err)
	}
	binary := build(t)
	for name, tls := range map[string]*Certificate{"plain": nil, "over TLS": certificate} {
		t.Run(name, func(t *testing.T) {
			c := Config{Binary: binary, DB: filepath.Join(t.TempDir(), "welcomed.db"), Args: []string{"--auth", "token"}, TLS: tls}
			s, err := c.Start(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(s.Kill)
			var about struct{ Ready bool }
			if err := s.Client().Do(t.Context(), "GET", About, nil, &about); err != nil || !about.Ready {
				t.Errorf("%v, ready: %v", err, about.Ready)
			}
			token, err := c.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			phone := Device{"alice", "phone"}
			backend := s.Client().As(token).For(phone.String())
			if _, err := backend.Claim(t.Context(), phone.ID(), client.Claiming{Max: 1}); err != nil {
				t.Error(err)
			}
			err = s.Client().Acknowledge(t.Context(), phone.ID(), "x", "")
			if client.CodeOf(err) != client.CodeUnauthenticated {
				t.Errorf("without a token: %v", err)
			}
			if err := s.Client().Do(t.Context(), "POST", phone.Claim(), nil, nil); client.CodeOf(err) != client.CodeUnauthenticated {
				t.Errorf("raw, without a token: %v", err)
			}
			m, err := s.Metrics(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n, err := m.Value(`welcomed_welcome_claims_total{outcome="empty"}`); n != 1 {
				t.Errorf("%v claims found nothing, %v", n, err)
			}
			if err := errors.Join(s.Terminate(), complaint(s.Log)); err != nil {
				t.Error(err)
			}
		})
	}
}

func complaint(l *Log) error {
	if list := l.Complaints(); len(list) > 0 {
		return errors.New(list[0])
	}
	return nil
}

// A server that cannot start says why, and nothing waits for it.
func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	c := Config{Binary: build(t), DB: filepath.Join(t.TempDir(), "no", "such", "welcomed.db")}
	if _, err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "does not exist: make it") {
		t.Errorf("got %v", err)
	}
}

func TestWhatAServerComplainsAboutIsFound(t *testing.T) {
	for text, want := range map[string][]string{
		"": nil,
		`{"level":"WARN","msg":"the clock"}` + "\n":                  nil,
		`{"level":"INFO","msg":"stopped"}` + "\n":                    nil,
		`{"level":"ERROR","msg":"it failed"}` + "\n":                 {`{"level":"ERROR","msg":"it failed"}`},
		"panic: index out of range\n" + `{"level":"INFO"}` + "\nhal": {"panic: index out of range"},
	} {
		var shown strings.Builder
		l := newLog(&shown)
		for _, b := range []byte(text) { // lines come in pieces
			if _, err := l.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		if got := l.Complaints(); !slices.Equal(got, want) || strings.TrimSpace(shown.String()) != strings.Join(want, "\n") {
			t.Errorf("%q: %q, shown: %q", text, got, &shown)
		}
	}
}

// A told is a trial that ends as it is told to.
type told struct {
	fails bool
	seed  uint64
}

func (o *told) Flags(f *flag.FlagSet) {
	f.BoolVar(&o.fails, "fails", false, "fail")
	f.Uint64Var(&o.seed, "seed", 7, "")
}

func (o *told) Check() error {
	if o.seed == 0 {
		return errors.New("a seed is not 0")
	}
	return nil
}

func (o *told) Run(_ context.Context, out io.Writer) (string, error) {
	fmt.Fprintln(out, "a figure")
	if o.fails {
		return "", errors.New("it was told to")
	}
	return "all is well", nil
}

func TestATrialEndsWithACodeAndALine(t *testing.T) {
	for args, want := range map[string]struct {
		code        int
		out, result string
	}{
		"":          {0, "a figure\n", "told: passed (seed 7, 0s): all is well\n"},
		"-fails":    {1, "a figure\n", "told: failed (seed 7, 0s): it was told to\n"},
		"-seed 0":   {2, "", "told: a seed is not 0\n"},
		"-seed 1 x": {2, "", "told: unknown argument \"x\"\n"},
	} {
		var stdout, stderr strings.Builder
		code := execute(t.Context(), "told", &told{}, strings.Fields(args), &stdout, &stderr)
		if code != want.code || stdout.String() != want.out || stderr.String() != want.result {
			t.Errorf("%q: %d, %q, %q", args, code, &stdout, &stderr)
		}
	}
	if code := execute(t.Context(), "told", &told{}, []string{"-help"}, io.Discard, io.Discard); code != 0 {
		t.Errorf("-help ends with %d", code)
	}
}

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/safefile"
)

func demoCommand(env environment) *cli.Command {
	keep := ""
	return &cli.Command{
		Name:  "demo",
		Usage: "play what this server is for, on a temporary file",
		Flags: []cli.Flag{textFlag("keep", &keep, "leave the KeyPackages and the Welcome as files in `DIR`")},
		Action: func(ctx context.Context, _ *cli.Command) error {
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return demo(ctx, env, keep)
		},
	}
}

// demo plays the founding scenario against a real server over real HTTP. It
// fails if one answer is not as promised.
func demo(ctx context.Context, env environment, keep string) (err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	objects := newDemoObjects(time.Now())
	if keep != "" {
		if err := objects.keep(keep); err != nil {
			return err
		}
	}
	dir, err := safefile.TemporaryDirectory("", "welcomed-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stop, base, err := startDemo(ctx, env, filepath.Join(dir, "welcomed.db"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := playDemo(ctx, base, objects, env.stdout); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if keep != "" {
		fmt.Fprintf(env.stdout, "\nThe objects are in %s: %s, %s, %s.\n", keep, keptKeyPackage1, keptKeyPackage2, keptWelcome)
	}
	return nil
}

// startDemo starts a server with the defaults, except that it takes any port.
func startDemo(ctx context.Context, env environment, db string) (stop func() error, base string, err error) {
	c := defaultConfig(env)
	c.listen, c.adminListen, c.db = "127.0.0.1:0", "127.0.0.1:0", db
	c.throwaway = true
	c.logLevel = slog.LevelWarn.String()
	i, err := assemble(ctx, c, c.logger(env.stderr))
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- i.run(ctx) }()
	stop = func() error {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		return <-ended
	}
	return stop, "http://" + i.api.Addr().String(), nil
}

// The files that demo --keep leaves.
const (
	keptKeyPackage1 = "key-package-1.mls"
	keptKeyPackage2 = "key-package-2.mls"
	keptWelcome     = "welcome.mls"
)

// demoObjects are what the devices of the demo make, in MLSMessages. The
// Welcomes are all for KeyPackage #1.
type demoObjects struct {
	keyPackage1, keyPackage2 []byte
	ref1, ref2               string
	welcome, late, later     []byte
}

func newDemoObjects(now time.Time) demoObjects {
	alice := mlstest.NewSigner(1, "alice")
	lifetime := mlstest.WithLifetime(uint64(now.Add(-time.Hour).Unix()), uint64(now.Add(90*day).Unix()))
	one, two := alice.KeyPackage(lifetime), alice.KeyPackage(lifetime)
	welcome := func() []byte { return mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeFor(one)) }
	return demoObjects{
		keyPackage1: mls.Wrap(mls.WireFormatKeyPackage, one), ref1: refOf(one),
		keyPackage2: mls.Wrap(mls.WireFormatKeyPackage, two), ref2: refOf(two),
		welcome: welcome(), late: welcome(), later: welcome(),
	}
}

func refOf(bare []byte) string {
	kp, err := mls.ParseKeyPackage(bare)
	if err != nil {
		panic(fmt.Sprintf("mlstest made a KeyPackage that is none: %v", err))
	}
	return kp.Ref().String()
}

func (o demoObjects) keep(dir string) error {
	if err := safefile.MakeDirectory(dir); err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	files := map[string][]byte{keptKeyPackage1: o.keyPackage1, keptKeyPackage2: o.keyPackage2, keptWelcome: o.welcome}
	for name, b := range files {
		write := func(f *os.File) error { _, err := f.Write(b); return err }
		if err := safefile.Write(filepath.Join(dir, name), 0o644, write); err != nil {
			return fmt.Errorf("--keep: %w", err)
		}
	}
	return nil
}

// A scene is one request of the demo, with what has to come of it.
type scene struct {
	says         string
	method, path string
	object       []byte // the body, message/mls
	status       int
	// learns checks the answer and sums it up in a few words.
	learns func(body []byte) (string, error)
}

func (s scene) play(ctx context.Context, number int, base string, out io.Writer) error {
	fmt.Fprintf(out, "%2d. %s\n    %s %s\n", number, s.says, s.method, s.path)
	status, body, err := s.request(ctx, base)
	if err != nil {
		return err
	}
	summary, err := s.learns(body)
	if status != s.status {
		err = fmt.Errorf("got %d instead of %d: %s", status, s.status, bytes.TrimSpace(body))
	}
	if err != nil {
		return fmt.Errorf("step %d, %s %s: %w", number, s.method, s.path, err)
	}
	_, err = fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("    → %d %s", status, summary), " "))
	return err
}

func (s scene) request(ctx context.Context, base string) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, s.method, base+s.path, bytes.NewReader(s.object))
	if err != nil {
		return 0, nil, err
	}
	if s.object != nil {
		req.Header.Set("Content-Type", "message/mls")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

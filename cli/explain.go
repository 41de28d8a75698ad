package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/urfave/cli/v3"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/operator/explain"
)

func explainCommand(env environment) *cli.Command {
	a := &asking{env: env, db: defaultDB(env)}
	return &cli.Command{
		Name:      "explain",
		Usage:     "say why somebody cannot join",
		ArgsUsage: "USER [DEVICE] | REF | WELCOME-FILE|-",
		Description: "The first line is the most probable cause. Then it says what happened, and what to do. It asks the\n" +
			"running server. If no server runs, it reads the file, which does not have refused requests.\n\n" +
			"An argument is a file, if there is one of that name with a Welcome or a KeyPackage in it. Else it is\n" +
			"the ref of a KeyPackage or the id of a Welcome, if it has 64, 96 or 128 hexadecimal digits. Else it is\n" +
			"a user, or USER/DEVICE. The exit code is 1 if nothing is known of it.",
		Flags: []cli.Flag{
			textFlag("user", &a.user, "ask about this `USER`, whatever the name looks like"),
			textFlag("ref", &a.ref, "ask about this `REF`"),
			textFlag("file", &a.file, "ask about the Welcome or KeyPackage in `FILE`, or - for stdin"),
			boolFlag("json", &a.asJSON, "print JSON"),
			textFlag("db", &a.db, "the `FILE` that the server was given"),
			socketFlag(&a.socket, "the `PATH` of the server's admin socket"),
		},
		ArgValidator: func(_ context.Context, cmd *cli.Command) error { return a.readArguments(cmd.Args().Slice()) },
		Action:       interruptible(a.run),
	}
}

// An asking is what the flags and arguments of explain say.
type asking struct {
	env             environment
	user, ref, file string
	args            []string
	asJSON          bool
	db              string
	socket          socketPath
}

func (a *asking) readArguments(args []string) error {
	a.args = args
	given := 0
	for _, flag := range []string{a.user, a.ref, a.file} {
		if flag != "" {
			given++
		}
	}
	switch n := len(args); {
	case given > 1:
		return errors.New("explain takes one of --user, --ref and --file")
	case given == 0 && (n == 0 || n > 2):
		return errors.New("explain takes a user, a user and a device, a ref, or a file with a Welcome")
	case given == 1 && (n > 1 || n == 1 && a.user == ""):
		return fmt.Errorf("explain takes one thing to ask about, but there is also %q", args[0])
	}
	return nil
}

func (a *asking) run(ctx context.Context) error {
	question, object, err := a.question()
	if err != nil {
		return err
	}
	e, err := a.ask(ctx, question, object)
	if err != nil {
		return fmt.Errorf("explain: %w", err)
	}
	if err := a.print(e); err != nil {
		return err
	}
	if !e.Known {
		return fmt.Errorf("explain: nothing is known here of %s", e.Subject)
	}
	return nil
}

// question decides what is asked about; object are the bytes of a Welcome.
func (a *asking) question() (q explain.Question, object []byte, err error) {
	switch {
	case a.file != "":
		return readObject(a.env, a.file)
	case a.ref != "":
		q, err = explain.OfRef(a.ref)
	case a.user != "" && len(a.args) == 1:
		q, err = explain.OfUser(a.user, a.args[0])
	case a.user != "":
		q, err = explain.OfUser(a.user, "")
	case len(a.args) == 2:
		q, err = explain.OfUser(a.args[0], a.args[1])
	case a.args[0] == "-":
		return readObject(a.env, "-")
	default:
		return a.guess(a.args[0])
	}
	return q, nil, err
}

// guess decides what a single argument is.
func (a *asking) guess(text string) (explain.Question, []byte, error) {
	info, err := os.Stat(text)
	isFile := err == nil && info.Mode().IsRegular()
	if isFile {
		if q, object, err := readObject(a.env, text); err == nil {
			return q, object, nil
		}
	}
	q, err := explain.Parse(text)
	if err != nil && isFile {
		err = fmt.Errorf("%s is neither a Welcome nor a KeyPackage", text)
	}
	return q, nil, err
}

// readObject reads a Welcome or a KeyPackage, raw or as text.
func readObject(env environment, name string) (q explain.Question, object []byte, err error) {
	input, err := readInput(env, name)
	if err != nil {
		return q, nil, err
	}
	for _, reading := range readings(input) {
		if q, err = explain.OfObject(reading.bytes); err == nil {
			return q, reading.bytes, nil
		}
	}
	return q, nil, fmt.Errorf("%s: %w", name, err)
}

// ask asks the server, or reads the file if none runs.
func (a *asking) ask(ctx context.Context, q explain.Question, object []byte) (e explain.Explanation, err error) {
	e, err = askServer(ctx, newOperator(a.env, a.socket, a.db), q, object)
	if !errors.Is(err, errNoServer) {
		return e, err
	}
	c, settingsErr := settingsOfServe(a.env)
	if settingsErr != nil {
		return e, settingsErr
	}
	file, fileErr := bolt.OpenHistory(a.db, bolt.Options{Limits: c.limits, TrustClock: c.trustClock})
	if fileErr != nil {
		return e, fmt.Errorf("%w; %w", fileErr, err)
	}
	e, fileErr = askFile(ctx, file, q, c.limits)
	return e, errors.Join(fileErr, file.Close())
}

func askServer(ctx context.Context, server *operator, q explain.Question, object []byte) (e explain.Explanation, err error) {
	method, path, content, header := http.MethodGet, "/explain", io.Reader(nil), http.Header{"Accept": {"application/json"}}
	switch {
	case q.Object != nil:
		method, content = http.MethodPost, bytes.NewReader(object)
		header.Set("Content-Type", "message/mls")
	case q.Ref != "":
		path += "?" + url.Values{"ref": {q.Ref.String()}}.Encode()
	default:
		path += "?" + url.Values{"user": {string(q.User)}, "device": {q.Device}}.Encode()
	}
	resp, err := server.send(ctx, method, path, content, header)
	if err != nil {
		return e, err
	}
	defer resp.Body.Close()
	// Nothing known is an explanation too.
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound || resp.Header.Get("Content-Type") != "application/json" {
		return e, refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&e); err != nil {
		return e, fmt.Errorf("read the server's answer: %w", err)
	}
	return e, nil
}

func askFile(ctx context.Context, file *bolt.History, q explain.Question, limits delivery.Limits) (explain.Explanation, error) {
	restored, err := file.RestoredAt(ctx)
	if err != nil {
		return explain.Explanation{}, err
	}
	facts, err := explain.Gather(ctx, file, nil, explain.Facts{
		Question: q, Now: time.Now(), Limits: limits, RestoredAt: restored, Unopened: file.Restored,
	})
	if err != nil {
		return explain.Explanation{}, err
	}
	return explain.Explain(facts), nil
}

func (a *asking) print(e explain.Explanation) error {
	if !a.asJSON {
		_, err := io.WriteString(a.env.stdout, e.Text())
		return err
	}
	out := json.NewEncoder(a.env.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(e)
}

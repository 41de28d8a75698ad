package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"
	"go.etcd.io/bbolt"

	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

func init() { storetest.DirectoriesInMemory() }

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"welcomed": func() {
			os.Exit(RunInstalled(context.Background(), os.Args, os.Getenv("SETTINGS_OF_TEST"), os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			recipient, err := writeIdentities(env.WorkDir)
			env.Setenv("RECIPIENT", recipient)
			return errors.Join(err, writeObjects(env.WorkDir))
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("no condition is called %q", name)
			}
			return os.Getuid() == 0, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"crash":         crashScript,
			"dev":           devScript,
			"shown":         shownScript,
			"env-from":      envFromScript,
			"exitcode":      exitcodeScript,
			"revoke-listed": revokeListedScript,
			"http":          httpScript,
			"mode":          modeScript,
			"owner":         ownerScript,
			"serve":         serveScript,
			"signal":        signalScript,
			"log":           logScript,
			"await":         awaitScript,
			"cut":           cutScript,
			"ended":         endedScript,
			"format":        formatScript,
			"damage":        damageScript,
		},
	})
}

// writeObjects makes the files that the scripts inspect. Each defect is one.
func writeObjects(dir string) error {
	kp, p521 := mlstest.NewSigner(1, "alice").KeyPackage(), mlstest.NewSigner(5, "bob").KeyPackage()
	welcome := mlstest.WelcomeFor(kp, mlstest.NewSigner(1, "carol").KeyPackage())
	if err := writePair(dir, farAway); err != nil {
		return err
	}
	_, otherKey, err := pair(farAway)
	if err != nil {
		return err
	}
	tampered := bytes.Clone(kp)
	tampered[len(tampered)-1] ^= 1
	files := map[string][]byte{
		"bare.mls":       kp,
		"wrapped.mls":    mls.Wrap(mls.WireFormatKeyPackage, kp),
		"p521.mls":       p521,
		"hex.txt":        []byte(hex.EncodeToString(kp) + "\n"),
		"base64.txt":     []byte(base64.StdEncoding.EncodeToString(kp) + "\n"),
		"base64url.txt":  []byte(base64.RawURLEncoding.EncodeToString(kp)),
		"tampered.mls":   tampered,
		"truncated.mls":  kp[:len(kp)-1],
		"expired.mls":    mlstest.NewSigner(1, "dave").KeyPackage(mlstest.WithLifetime(0, 1600000000)),
		"lastresort.mls": mlstest.NewSigner(1, "erin").KeyPackage(mlstest.LastResort()),
		"hostile.mls":    mlstest.NewSigner(1, "\x1b[2J").KeyPackage(),
		"welcome.mls":    mls.Wrap(mls.WireFormatWelcome, welcome),
		"cutwelcome.mls": mls.Wrap(mls.WireFormatWelcome, welcome[:len(welcome)-1]),
		"message.mls":    mls.Wrap(mls.WireFormatPrivateMessage, append(mlstest.Vector([]byte("group")), make([]byte, 8+1+2)...)),
		"other.key":      otherKey,
		"empty":          nil,
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// exitcodeScript is "exitcode N program args…".
func exitcodeScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N program args…")
	}
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](ts.Exec(args[1], args[2:]...)); ok {
		code = exit.ExitCode()
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// httpScript is "[!] http METHOD address/path [file]": it sends the file as
// message/mls, with the bearer token in $TOKEN if that is set; the answer, which
// has to be a good one, or with ! a refusal, is stdout.
func httpScript(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: [!] http METHOD address/path [file]")
	}
	body := ""
	if len(args) > 2 {
		body = ts.ReadFile(args[2])
	}
	req, err := http.NewRequest(args[0], "http://"+args[1], strings.NewReader(body))
	ts.Check(err)
	if body != "" {
		req.Header.Set("Content-Type", "message/mls")
	}
	if token := ts.Getenv("TOKEN"); token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if (resp.StatusCode >= 300) != neg {
		ts.Fatalf("%s", resp.Status)
	}
}

// envFromScript is "env-from NAME file": the variable is what the file says.
func envFromScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: env-from NAME file")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// revokeListedScript is "revoke-listed file": it revokes every token in what
// token list has printed.
func revokeListedScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: revoke-listed file")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if id, _, _ := strings.Cut(line, " "); id != "ID" {
			ts.Check(ts.Exec("welcomed", "token", "revoke", id))
		}
	}
}

// modeScript is "mode 0600 file".
func modeScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode 0600 file")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, not %s", args[1], got, args[0])
	}
}

// ownerScript is "owner UID file": the file belongs to that user and its group.
// "owner UID file give" makes it so.
func ownerScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: owner UID file [give]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if len(args) == 3 {
		ts.Check(os.Chown(ts.MkAbs(args[1]), want, want))
	}
	uid, gid, err := owner(ts.MkAbs(args[1]))
	ts.Check(err)
	if uid != want || gid != want {
		ts.Fatalf("%s belongs to %d:%d", args[1], uid, gid)
	}
}

// A served is a server that a test has started.
type served struct {
	*exec.Cmd
	log  *logBuffer
	done chan error
}

// startServed starts a server on free ports and waits until it is serving.
func startServed(dir string, env []string, args ...string) (*served, servingLine, error) {
	args = append([]string{"serve", "--log-format", "json", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"}, args...)
	s := &served{Cmd: exec.Command("welcomed", args...), log: newLogBuffer(), done: make(chan error, 1)}
	s.Dir, s.Env, s.Stderr = dir, env, s.log
	if err := s.Start(); err != nil {
		return nil, servingLine{}, err
	}
	go func() { s.done <- s.Wait() }()
	line, err := s.log.serving(s.done)
	return s, line, err
}

// serveScript is "serve flags…". $API and $ADMIN are the server's addresses
// then.
func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("serve has to succeed; use exitcode 1 welcomed serve")
	}
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GOCOVERDIR", "STATE_DIRECTORY", "NOTIFY_SOCKET", "SETTINGS_OF_TEST", "WELCOMED_DB", "WELCOMED_PPROF", "WELCOMED_SHELF_AGE", "WELCOMED_ADMIN_TOKEN_FILE", "WELCOMED_SERVICE_TOKEN_FILE"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	s, line, err := startServed(ts.MkAbs("."), env, args...)
	ts.Check(err)
	ts.Defer(func() { s.Process.Kill() })
	servers.Store(ts.Getenv("WORK"), s)
	ts.Setenv("API", line.Listen)
	ts.Setenv("ADMIN", line.AdminListen)
}

// servers are the ones started last, by the directory of their script.
var servers sync.Map

// signalScript is "signal TERM|INT": it sends the signal to the server
// and checks that it ends with exit code 0.
func signalScript(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT}
	v, ok := servers.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) != 1 || signals[args[0]] == 0 {
		ts.Fatalf("usage: signal TERM|INT, after serve")
	}
	s := v.(*served)
	ts.Check(s.Process.Signal(signals[args[0]]))
	select {
	case err := <-s.done:
		ts.Logf("%s", s.log.String())
		ts.Check(err)
	case <-time.After(20 * time.Second):
		ts.Fatalf("the server does not end:\n%s", s.log.String())
	}
}

// logScript is "log words": the server has logged them, or with ! has not.
func logScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.Load(ts.Getenv("WORK"))
	if !ok || len(args) != 1 {
		ts.Fatalf("usage: [!] log words, after serve")
	}
	if log := v.(*served).log.String(); strings.Contains(log, args[0]) == neg {
		ts.Fatalf("the log says %q: %v\n%s", args[0], neg, log)
	}
}

// awaitScript is "await words": the server logs them once more.
func awaitScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) != 1 {
		ts.Fatalf("usage: await words, after serve")
	}
	log := v.(*served).log
	before := strings.Count(log.String(), args[0])
	for range 3000 {
		if strings.Count(log.String(), args[0]) > before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("the log does not say %q again:\n%s", args[0], log)
}

// cutScript is "cut N file": the file ends after N bytes.
func cutScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut N file")
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[1]), n))
}

// writeIdentities writes two private keys of age and returns the public one of
// the second.
func writeIdentities(dir string) (recipient string, err error) {
	for _, name := range []string{"other.age", "own.age"} {
		identity, err := age.GenerateX25519Identity()
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(identity.String()+"\n"), 0o600); err != nil {
			return "", err
		}
		recipient = identity.Recipient().String()
	}
	return recipient, nil
}

// crashScript is "crash": the server gets no chance.
func crashScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) != 0 {
		ts.Fatalf("usage: crash, after serve")
	}
	s := v.(*served)
	ts.Check(s.Process.Kill())
	<-s.done
}

// endedScript is "ended N": it waits until the server has ended by itself with
// that exit code. Its log is stderr.
func endedScript(ts *testscript.TestScript, neg bool, args []string) {
	v, ok := servers.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) != 1 {
		ts.Fatalf("usage: ended N, after serve")
	}
	s := v.(*served)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		ts.Fatalf("the server does not end:\n%s", s.log.String())
	}
	if got := strconv.Itoa(s.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
	_, err := io.WriteString(ts.Stderr(), s.log.String())
	ts.Check(err)
}

// formatScript is "format N file": it says in a database that is closed that its
// format is version N.
func formatScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: format N file")
	}
	version, err := strconv.ParseUint(args[0], 10, 32)
	ts.Check(err)
	db, err := bbolt.Open(ts.MkAbs(args[1]), 0o600, &bbolt.Options{Timeout: time.Second})
	ts.Check(err)
	ts.Check(db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket([]byte("meta")).Put([]byte("format"), binary.BigEndian.AppendUint32(nil, uint32(version))), unnumbered(tx))
	}))
	ts.Check(db.Close())
}

// unnumbered has a transaction not be taken for one that the disk lost: it does not say
// which one it is, as none did before format 5.
func unnumbered(tx *bbolt.Tx) error { return tx.Bucket([]byte("meta")).Delete([]byte("commit")) }

// A logBuffer keeps a JSON log and waits for the line that says where the
// server listens.
type logBuffer struct {
	mu    sync.Mutex
	all   bytes.Buffer
	lines *io.PipeWriter
	found chan servingLine
}

type servingLine struct {
	Msg, Listen, DB, Version string
	AdminListen              string `json:"admin_listen"`
}

func newLogBuffer() *logBuffer {
	r, w := io.Pipe()
	b := &logBuffer{lines: w, found: make(chan servingLine, 1)}
	go func() {
		defer io.Copy(io.Discard, r)
		for d := json.NewDecoder(r); ; {
			var line servingLine
			if err := d.Decode(&line); err != nil {
				return
			}
			if line.Msg == "serving" {
				b.found <- line
			}
		}
	}()
	return b
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	b.all.Write(p)
	b.mu.Unlock()
	return b.lines.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}

// wait waits until the log has the words.
func (b *logBuffer) wait(t *testing.T, words string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(b.String(), words) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log never says %q:\n%s", words, b)
}

func (b *logBuffer) serving(done chan error) (servingLine, error) {
	select {
	case line := <-b.found:
		if line.Listen == "" || line.AdminListen == "" || line.DB == "" || line.Version == "" {
			return line, errors.New("the serving line says too little: " + b.String())
		}
		return line, nil
	case <-done:
		return servingLine{}, errors.New("the server ended: " + b.String())
	case <-time.After(20 * time.Second):
		return servingLine{}, errors.New("the server does not serve: " + b.String())
	}
}

// damageScript is "damage file": it has a database have a timer for nothing.
func damageScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage file")
	}
	db, err := bbolt.Open(ts.MkAbs(args[0]), 0o600, &bbolt.Options{Timeout: time.Second})
	ts.Check(err)
	ts.Check(db.Update(func(tx *bbolt.Tx) error {
		return errors.Join(tx.Bucket([]byte("rows")).Put([]byte("tc"), nil), unnumbered(tx))
	}))
	ts.Check(db.Close())
}

// devLines are what the dev server shows that was started last, by the directory of its
// script.
var devLines sync.Map

// devScript is "dev flags…": it starts a dev server on a free port. $DEV is its address.
func devScript(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("dev has to succeed; use exitcode 1 welcomed dev")
	}
	cmd := exec.Command("welcomed", append([]string{"dev", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), []string{"PATH=" + ts.Getenv("PATH"), "GOCOVERDIR=" + ts.Getenv("GOCOVERDIR")}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	ts.Defer(func() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
		for range lines { // until it has ended
		}
		ts.Check(cmd.Wait())
	})
	devLines.Store(ts.Getenv("WORK"), lines)
	line := nextShown(ts, lines, "  API ")
	ts.Setenv("DEV", strings.TrimPrefix(strings.Fields(line)[1], "http://"))
	token, found := strings.CutSuffix(nextShown(ts, lines, "  service token "), " (wanted for tokens, and for the events of all users)")
	if !found {
		ts.Fatalf("the dev server does not say what its token is for: %q", token)
	}
	ts.Setenv("DEV_TOKEN", strings.Fields(token)[2])
}

// shownScript is "shown words": the dev server shows a line with them, not necessarily the
// next one.
func shownScript(ts *testscript.TestScript, neg bool, args []string) {
	lines, ok := devLines.Load(ts.Getenv("WORK"))
	if neg || !ok || len(args) != 1 {
		ts.Fatalf("usage: shown words, after dev")
	}
	nextShown(ts, lines.(chan string), args[0])
}

func nextShown(ts *testscript.TestScript, lines chan string, words string) string {
	for {
		select {
		case line, more := <-lines:
			switch {
			case !more:
				ts.Fatalf("the dev server has ended, and never showed %q", words)
			case strings.Contains(line, words):
				return line
			}
			ts.Logf("%s", line)
		case <-time.After(20 * time.Second):
			ts.Fatalf("the dev server never shows %q", words)
		}
	}
}

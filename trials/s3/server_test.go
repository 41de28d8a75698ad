package s3

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// A machine is where a server runs, with a disk that can be lost.
type machine struct {
	t       *testing.T
	dir     string
	db      string
	env     []string
	api     string
	admin   string
	process *harness.Process
	log     *buffer
}

func newMachine(t *testing.T, g *gateway, env ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir(), env: append(os.Environ(),
		"WELCOMED_BACKUP_S3_ENDPOINT="+g.endpoint,
		"WELCOMED_BACKUP_S3_ACCESS_KEY="+accessKey,
		"WELCOMED_BACKUP_S3_SECRET_KEY="+secretKey)}
	if g.roots != "" {
		m.env = append(m.env, "SSL_CERT_FILE="+g.roots)
	}
	m.env = append(m.env, env...)
	m.db = filepath.Join(m.dir, "welcomed.db")
	for _, address := range []*string{&m.api, &m.admin} {
		free, err := harness.FreeAddress()
		must(t, err)
		*address = free.String()
	}
	return m
}

func (m *machine) start(args ...string) {
	m.t.Helper()
	cmd := exec.Command(os.Getenv("WELCOMED_BIN"), append([]string{"serve", "--auth", "none", "--db", m.db,
		"--listen", m.api, "--admin-listen", m.admin}, args...)...)
	m.log = &buffer{}
	cmd.Env, cmd.Stderr = m.env, m.log
	process, err := harness.Start(cmd, nil)
	must(m.t, err)
	m.process = process
	m.t.Cleanup(func() { _ = process.Stop(syscall.SIGKILL) })
	if err := process.Ready(m.t.Context(), m.admin); err != nil {
		m.t.Fatalf("%v: %s", err, m.log)
	}
}

// lose is a fire.
func (m *machine) lose() {
	m.t.Helper()
	_ = m.process.Stop(syscall.SIGKILL)
	must(m.t, os.RemoveAll(m.dir))
}

// command runs the binary and returns what it prints.
func (m *machine) command(args ...string) (string, error) {
	cmd := exec.Command(os.Getenv("WELCOMED_BIN"), args...)
	cmd.Env = m.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (m *machine) mustRun(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...)
	if err != nil {
		m.t.Fatalf("welcomed %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// await returns when the log has the words n times.
func (m *machine) await(words string, n int) {
	m.t.Helper()
	defer func() {
		if m.t.Failed() {
			m.t.Log(m.log)
		}
	}()
	until(m.t, fmt.Sprintf("the log says %q %d times", words, n), func() bool { return strings.Count(m.log.String(), words) >= n })
}

func (m *machine) metrics() string {
	m.t.Helper()
	resp, err := http.Get("http://" + m.admin + "/metrics")
	must(m.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(m.t, err)
	return string(b)
}

// ask sends bytes as message/mls and decodes the answer.
func (m *machine) ask(path string, body []byte, answer any) {
	m.t.Helper()
	req, err := http.NewRequest("POST", "http://"+m.api+"/v1"+path, bytes.NewReader(body))
	must(m.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "message/mls")
	}
	resp, err := http.DefaultClient.Do(req)
	must(m.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(m.t, err)
	if resp.StatusCode >= 300 {
		m.t.Fatalf("%s: %s %s", path, resp.Status, b)
	}
	if answer != nil {
		must(m.t, json.Unmarshal(b, answer))
	}
}

// remove removes a user.
func (m *machine) remove(user string) {
	m.t.Helper()
	req, err := http.NewRequest("DELETE", "http://"+m.api+"/v1/users/"+user, nil)
	must(m.t, err)
	resp, err := http.DefaultClient.Do(req)
	must(m.t, err)
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		m.t.Fatalf("removing %s: %s", user, resp.Status)
	}
}

// fill posts n Welcomes for a device, each of about that size, and returns the
// refs of their KeyPackages.
func (m *machine) fill(device string, n, size int) (refs map[string]bool) {
	m.t.Helper()
	refs = map[string]bool{}
	signer := mlstest.NewSigner(1, device)
	for range n {
		kp := signer.KeyPackage()
		parsed, err := mls.ParseKeyPackage(kp)
		must(m.t, err)
		m.ask("/users/"+device+"/devices/phone/key-packages", kp, nil)
		m.ask("/welcomes", mls.Wrap(mls.WireFormatWelcome, mlstest.WelcomeSize(size, 1, parsed.Ref())), nil)
		refs[parsed.Ref().String()] = true
	}
	return refs
}

// claim returns the refs of all Welcomes that wait for a device.
func (m *machine) claim(device string) (refs map[string]bool) {
	m.t.Helper()
	path := "/users/" + device + "/devices/phone"
	refs = map[string]bool{}
	for {
		var answer struct{ Welcomes []struct{ ID, Ref string } }
		m.ask(path+"/claim", nil, &answer)
		for _, w := range answer.Welcomes {
			refs[w.Ref] = true
			m.ask(path+"/welcomes/"+w.ID+"/ack", nil, nil)
		}
		if len(answer.Welcomes) == 0 {
			return refs
		}
	}
}

// A buffer may be read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

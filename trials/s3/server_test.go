package s3

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

// A machine is where a server runs, with a disk that can be lost.
type machine struct {
	t      *testing.T
	dir    string
	db     string
	how    harness.Config
	server *harness.Server
}

func newMachine(t *testing.T, g *gateway, env ...string) *machine {
	t.Helper()
	m := &machine{t: t, dir: t.TempDir()}
	m.db = filepath.Join(m.dir, "welcomed.db")
	m.how = harness.Config{Binary: os.Getenv("WELCOMED_BIN"), DB: m.db, Env: []string{
		"WELCOMED_BACKUP_S3_ENDPOINT=" + g.endpoint,
		"WELCOMED_BACKUP_S3_ACCESS_KEY=" + accessKey,
		"WELCOMED_BACKUP_S3_SECRET_KEY=" + secretKey}}
	if g.roots != "" {
		m.how.Env = append(m.how.Env, "SSL_CERT_FILE="+g.roots)
	}
	m.how.Env = append(m.how.Env, env...)
	return m
}

func (m *machine) start(args ...string) {
	m.t.Helper()
	m.how.Args = append([]string{"--auth", "none"}, args...)
	s, err := m.how.Start(m.t.Context())
	must(m.t, err)
	m.t.Cleanup(s.Kill)
	m.server = s
}

// lose is a fire.
func (m *machine) lose() {
	m.t.Helper()
	m.server.Kill()
	must(m.t, os.RemoveAll(m.dir))
}

// command runs the binary and returns all that it prints.
func (m *machine) command(args ...string) (string, error) {
	out, said, err := m.how.Output(m.t.Context(), args...)
	return out + said, err
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
			m.t.Log(m.server.Log)
		}
	}()
	until(m.t, fmt.Sprintf("the log says %q %d times", words, n), func() bool { return strings.Count(m.server.Log.String(), words) >= n })
}

func (m *machine) metrics() string {
	m.t.Helper()
	text, err := m.server.Metrics(m.t.Context())
	must(m.t, err)
	return string(text)
}

// remove removes a user.
func (m *machine) remove(user string) {
	m.t.Helper()
	must(m.t, m.server.Client().RemoveUser(m.t.Context(), user))
}

func phone(user string) client.DeviceID { return client.DeviceID{User: user, Name: "phone"} }

// fill posts n Welcomes for a user's phone, each of about that size, and returns the
// refs of their KeyPackages.
func (m *machine) fill(user string, n, size int) (refs map[string]bool) {
	m.t.Helper()
	refs = map[string]bool{}
	signer, c := mlstest.NewSigner(1, user), m.server.Client()
	for range n {
		kp := signer.KeyPackage()
		parsed, err := mls.ParseKeyPackage(kp)
		must(m.t, err)
		_, err = c.Publish(m.t.Context(), phone(user), "", kp)
		must(m.t, err)
		_, err = c.Post(m.t.Context(), client.Posting{Welcome: mlstest.WelcomeSize(size, 1, parsed.Ref())})
		must(m.t, err)
		refs[parsed.Ref().String()] = true
	}
	return refs
}

// claim returns the refs of all Welcomes that wait for a user's phone.
func (m *machine) claim(user string) (refs map[string]bool) {
	m.t.Helper()
	refs = map[string]bool{}
	for c := m.server.Client(); ; {
		claimed, err := c.Claim(m.t.Context(), phone(user), client.Claiming{})
		must(m.t, err)
		for _, w := range claimed.Welcomes {
			refs[w.Ref] = true
			must(m.t, c.Acknowledge(m.t.Context(), phone(user), w.ID, ""))
		}
		if len(claimed.Welcomes) == 0 {
			return refs
		}
	}
}

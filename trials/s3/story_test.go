package s3

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"

	"welcomed/trials/harness"
)

// Without an S3 server and a binary there is nothing to test: see make s3-test.
func TestMain(m *testing.M) {
	if os.Getenv("S3_SERVER") == "" || os.Getenv("WELCOMED_BIN") == "" {
		fmt.Println("make s3-test runs these tests")
		return
	}
	os.Exit(m.Run())
}

const address = "s3://" + bucket + "/home/pi"

// A machine is lost, and another one has what the server had acknowledged.
func TestWhatWasAcknowledgedIsClaimedAfterTheMachineIsLost(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "over TLS": true} {
		t.Run(name, func(t *testing.T) {
			g := startGateway(t, secure)
			m := newMachine(t, g)
			m.start("--backup-to", address, "--backup-every", "1s", "--backup-keep", "3+0d")
			want := m.fill("alice", 12, 400)
			acknowledged := time.Now()
			until(t, "a backup was begun after the last answer", func() bool {
				names := g.objects()
				return len(names) > 0 && names[len(names)-1] > "home/pi/welcomed-"+acknowledged.UTC().Add(time.Second).Format("20060102T150405Z")
			})
			m.await("backed up", 5)
			if n := len(g.objects()); n > 4 {
				t.Errorf("%d backups are there, three were to stay and one may be on its way", n)
			}
			contains(t, m.metrics(), `welcomed_backups_total{outcome="failed",to="s3"} 0`)
			m.lose()

			other := newMachine(t, g)
			list := other.mustRun("backup", "list", address)
			newest := strings.Fields(list[strings.LastIndex(strings.TrimSpace(list), "\n"):])[0]
			contains(t, other.mustRun("restore", address+"/latest", "--db", other.db), "restored "+other.db+" from "+address+"/"+newest)
			other.start()
			if got := other.claim("alice"); !maps.Equal(got, want) {
				t.Errorf("%d Welcomes are claimed, %d were acknowledged", len(got), len(want))
			}
			contains(t, other.mustRun("backup", "--db", other.db, "-o", "s3://"+bucket+"/by-hand"), "backed up to s3://"+bucket+"/by-hand/welcomed-")
			contains(t, other.mustRun("backup", "list", "s3://"+bucket+"/by-hand"), "welcomed-")
		})
	}
}

// What is sent to another machine can be for one's own eyes only.
func TestAnEncryptedBackupIsRestoredWithItsKeyOnly(t *testing.T) {
	g := startGateway(t, false)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	key := filepath.Join(t.TempDir(), "key.txt")
	must(t, os.WriteFile(key, []byte(identity.String()), 0o600))
	m := newMachine(t, g, "WELCOMED_BACKUP_ENCRYPT_TO="+identity.Recipient().String())
	m.start()
	want := m.fill("alice", 3, 400)
	m.mustRun("backup", "--db", m.db, "-o", address)
	for _, name := range g.objects() {
		b, err := os.ReadFile(filepath.Join(g.dir, "data", bucket, name))
		must(t, err)
		if !strings.HasPrefix(string(b), "age-encryption.org/v1\n") || strings.Contains(string(b), "alice") {
			t.Errorf("%s is not encrypted", name)
		}
	}
	m.lose()
	other := newMachine(t, g)
	out, err := other.command("restore", address+"/latest", "--db", other.db)
	if err == nil {
		t.Error("restored without the key")
	}
	contains(t, out, "it is encrypted")
	other.mustRun("restore", address+"/latest", "--db", other.db, "--identity", key)
	other.start()
	if got := other.claim("alice"); !maps.Equal(got, want) {
		t.Errorf("%d Welcomes are claimed, %d were acknowledged", len(got), len(want))
	}
}

// What an operator can get wrong is said in a sentence, and the server serves on.
func TestWhatIsWrongWithTheServerIsSaid(t *testing.T) {
	g := startGateway(t, false)
	for name, row := range map[string]struct{ env, address, says string }{
		"wrong secret": {"WELCOMED_BACKUP_S3_SECRET_KEY=wrong", address, "refuses the secret key: it is not the one of this access key"},
		"unknown key":  {"WELCOMED_BACKUP_S3_ACCESS_KEY=stranger", address, "does not know the access key"},
		"no bucket":    {"", "s3://no-such-bucket/home", "has no bucket no-such-bucket"},
		"nobody there": {"WELCOMED_BACKUP_S3_ENDPOINT=http://127.0.0.1:1", address, "connection refused"},
		"TLS, not":     {"WELCOMED_BACKUP_S3_ENDPOINT=" + strings.Replace(g.endpoint, "http:", "https:", 1), address, "server gave HTTP response to HTTPS client"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, g, row.env)
			m.start("--backup-to", row.address, "--backup-every", "2s")
			m.await("backup failed", 2) // it is tried again
			contains(t, m.server.Log.String(), row.says)
			contains(t, m.metrics(), `welcomed_backups_total{outcome="made",to="s3"} 0`)
			contains(t, m.metrics(), `welcomed_backup_last_success_timestamp_seconds 0`)
			m.fill("alice", 1, 400)
			for _, args := range [][]string{{"backup", "--db", m.db, "-o", row.address}, {"restore", row.address + "/latest", "--db", m.db + ".new"}, {"backup", "list", row.address}} {
				out, err := m.command(args...)
				if err == nil {
					t.Errorf("%v succeeds", args)
				}
				contains(t, out, row.says)
				if strings.Count(out, "\n") != 1 {
					t.Errorf("%v says more than a sentence: %s", args, out)
				}
			}
			if strings.Contains(m.server.Log.String(), secretKey) {
				t.Error("the secret is in the log")
			}
		})
	}
}

const large = 900_000 // bytes of a Welcome; random ones are not compressed

// An S3 server that is gone in the middle of an upload is sent the backup again
// when it is back, and what is not whole is never seen.
func TestAServerThatIsGoneInTheMiddleIsSentTheBackupAgain(t *testing.T) {
	g := startGateway(t, false)
	r := narrowRoad(t, g.address, 4<<20)
	m := newMachine(t, g, "WELCOMED_BACKUP_S3_ENDPOINT="+r.endpoint())
	m.start()
	want := m.fill("alice", 25, large)
	must(t, m.server.Terminate())

	kept := filepath.Join(m.dir, "kept")
	must(t, os.Mkdir(kept, 0o700))
	m.start("--backup-to", address, "--backup-dir", kept, "--backup-every", "10s")
	r.wait(t, 10<<20) // of more than twenty
	g.kill()
	m.await("backup failed", 1)
	contains(t, m.metrics(), `welcomed_backup_last_success_timestamp_seconds 0`)
	r.perTenth.Store(1 << 30)
	g.start()
	if names := g.objects(); len(names) != 0 {
		t.Errorf("of an upload that failed there is %v", names)
	}
	m.await(`"to":"`+address, 2)
	until(t, "there is a backup", func() bool { return len(g.objects()) > 0 })
	until(t, "the backup is noted", func() bool {
		return !strings.Contains(m.metrics(), "welcomed_backup_last_success_timestamp_seconds 0\n")
	})
	m.lose()
	other := newMachine(t, g)
	other.mustRun("restore", address+"/latest", "--db", other.db)
	other.start()
	if got := other.claim("alice"); !maps.Equal(got, want) {
		t.Errorf("%d Welcomes are claimed, %d were acknowledged", len(got), len(want))
	}
}

// A server that is told to stop does not wait for an upload, and leaves no part of
// one behind that is paid for, if it is allowed to.
func TestAStopDoesNotWaitForAnUpload(t *testing.T) {
	for name, silent := range map[string]bool{"the S3 server listens": false, "the S3 server says nothing any more": true} {
		t.Run(name, func(t *testing.T) { stopsInAnUpload(t, silent) })
	}
}

func stopsInAnUpload(t *testing.T, silent bool) {
	g := startGateway(t, false)
	r := narrowRoad(t, g.address, 4<<20)
	m := newMachine(t, g, "WELCOMED_BACKUP_S3_ENDPOINT="+r.endpoint())
	m.start()
	m.fill("alice", 25, large)
	must(t, m.server.Terminate())
	m.start("--backup-to", address)
	r.wait(t, 9<<20)
	if silent {
		g.process.Signal(syscall.SIGSTOP)
	}
	start := time.Now()
	must(t, m.server.Terminate())
	if took := time.Since(start); took > 8*time.Second {
		t.Errorf("it took %s to stop", took)
	}
	g.process.Signal(syscall.SIGCONT)
	if strings.Contains(m.server.Log.String(), "backup failed") {
		t.Error("a backup that nobody wants any more is called a failure")
	}
	if names := g.objects(); len(names) != 0 {
		t.Errorf("of an upload that was given up there is %v", names)
	}
	if n := g.unfinished(); n != 0 && !silent {
		t.Errorf("%d uploads were left unfinished", n)
	}
	for _, pattern := range []string{"*.part"} {
		if left, _ := filepath.Glob(filepath.Join(m.dir, pattern)); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// writeOnly is what a key needs at the least, and less than that restores.
const writeOnly = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::backups"]},
	{"Effect": "Allow", "Principal": {"AWS": ["writer"]}, "Action": ["s3:PutObject"], "Resource": ["arn:aws:s3:::backups/home/pi/*"]}
]}`

// A key that may not remove anything keeps a thief from removing backups.
func TestAKeyThatMayOnlyWriteMakesBackups(t *testing.T) {
	g := startGateway(t, false)
	g.allow("writer", "the writer's secret", writeOnly)
	m := newMachine(t, g, "WELCOMED_BACKUP_S3_ACCESS_KEY=writer", "WELCOMED_BACKUP_S3_SECRET_KEY=the writer's secret")
	m.start("--backup-to", address, "--backup-every", "1s", "--backup-keep", "1+0d")
	m.await("backed up", 4)
	if n := strings.Count(m.server.Log.String(), "old backups stay"); n != 1 {
		t.Errorf("it is said %d times that old ones stay", n)
	}
	if n := len(g.objects()); n < 4 {
		t.Errorf("%d backups are there, none could be removed", n)
	}
	contains(t, m.metrics(), `welcomed_backups_total{outcome="failed",to="s3"} 0`)
	out, err := m.command("restore", address+"/latest", "--db", m.db+".new")
	if err == nil {
		t.Error("a key that may only write restores")
	}
	contains(t, out, "does not allow this access key to read from")
}

// A device that was removed after the last backup stays so when the machine is lost, as
// what was revoked is in the bucket soon, encrypted as the backups are.
func TestWhatWasRemovedStaysSoAfterTheMachineIsLost(t *testing.T) {
	g := startGateway(t, false)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	key := filepath.Join(t.TempDir(), "key.txt")
	must(t, os.WriteFile(key, []byte(identity.String()), 0o600))
	m := newMachine(t, g, "WELCOMED_BACKUP_ENCRYPT_TO="+identity.Recipient().String())
	m.start()
	m.fill("alice", 3, 400)
	m.mustRun("backup", "--db", m.db, "-o", address)
	must(t, m.server.Terminate())
	m.start("--backup-to", address, "--backup-every", "1h") // there is a fresh one
	until(t, "what was revoked is in the bucket", func() bool { return copies(m) > 0 })
	before := copies(m)
	m.remove("alice")
	until(t, "the removal is in the bucket", func() bool { return copies(m) > before })
	for _, name := range g.all() {
		b, err := os.ReadFile(filepath.Join(g.dir, "data", bucket, name))
		must(t, err)
		if strings.Contains(name, ".revoked") != strings.HasSuffix(name, ".revoked.age") || strings.Contains(string(b), "alice") {
			t.Errorf("%s is not encrypted", name)
		}
	}
	m.lose()
	other := newMachine(t, g)
	out := other.mustRun("restore", address+"/latest", "--db", other.db, "--identity", key)
	contains(t, out, "0 tokens and 1 device that were revoked or removed since the backup stay so; what was revoked or removed after 20")
	other.start()
	if got := other.claim("alice"); len(got) != 0 {
		t.Errorf("a device that was removed claims %d Welcomes", len(got))
	}
}

// copies is how often what was revoked was put into the bucket.
func copies(m *machine) int {
	value, err := harness.Metrics(m.metrics()).Value(`welcomed_revocation_copies_total{outcome="made",to="s3"}`)
	must(m.t, err)
	return int(value)
}

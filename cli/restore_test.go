package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A restored is a server that a test kills and puts back to a backup.
type restored struct {
	t    *testing.T
	dir  string
	base string
	s    *served
}

func (r *restored) start() {
	r.t.Helper()
	s, line, err := startServed(r.dir, os.Environ(), "--db", "welcomed.db")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Process.Kill() })
	r.s, r.base = s, "http://"+line.Listen+"/v1"
}

func (r *restored) command(args ...string) {
	r.t.Helper()
	c := exec.Command("welcomed", args...)
	c.Dir = r.dir
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("welcomed %v: %v\n%s", args, err, out)
	}
}

// ask sends bytes as message/mls and anything else as JSON, and decodes the
// answer.
func (r *restored) ask(method, path string, body, answer any) int {
	r.t.Helper()
	content, isMLS := body.([]byte)
	if !isMLS && body != nil {
		content, _ = json.Marshal(body)
	}
	req, err := http.NewRequest(method, r.base+path, bytes.NewReader(content))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", map[bool]string{true: "message/mls", false: "application/json"}[isMLS])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0 // killed
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	if answer != nil {
		if err := json.Unmarshal(b, answer); err != nil {
			r.t.Fatalf("%s %s: %s %s", method, path, resp.Status, b)
		}
	}
	return resp.StatusCode
}

// reserve returns the ref that is handed out of a user, and how.
func (r *restored) reserve(user string) (ref, status string) {
	r.t.Helper()
	var answer struct {
		Users []struct {
			Devices []struct {
				Status     string
				KeyPackage struct{ Ref string } `json:"key_package"`
			}
		}
	}
	r.ask("POST", "/key-packages/reserve", map[string]any{"users": []string{user}}, &answer)
	if len(answer.Users) != 1 || len(answer.Users[0].Devices) != 1 {
		r.t.Fatalf("reserving from %s: %+v", user, answer)
	}
	d := answer.Users[0].Devices[0]
	return d.KeyPackage.Ref, d.Status
}

// The sequence that breaks others, with the real binary: a backup while it is
// written to, reservations, a crash, a restore.
func TestABackupUnderLoadIsRestoredAfterAKill(t *testing.T) {
	r := &restored{t: t, dir: t.TempDir()}
	r.start()
	const users = 4
	signers, last := make([]*mlstest.Signer, users), make([][]byte, users)
	shelf := func(i int) string { return fmt.Sprintf("/users/u%d/devices/phone/key-packages", i) }
	for i := range users {
		signers[i] = mlstest.NewSigner(1, "someone")
		last[i] = signers[i].KeyPackage(mlstest.LastResort())
		for _, kp := range [][]byte{signers[i].KeyPackage(), signers[i].KeyPackage(), last[i]} {
			if status := r.ask("POST", shelf(i), kp, nil); status != 201 {
				t.Fatalf("published: %d", status)
			}
		}
	}
	stop, busy := make(chan struct{}), sync.WaitGroup{}
	busy.Go(func() {
		for signer := mlstest.NewSigner(1, "busy"); ; {
			select {
			case <-stop:
				return
			default:
				r.ask("PUT", "/users/busy/devices/phone/key-packages", signer.KeyPackage(), nil)
			}
		}
	})
	r.command("backup", "--db", "welcomed.db", "-o", "backup")
	close(stop)
	busy.Wait()

	given := map[string]int{}
	later := map[string][]byte{} // published after the backup
	for i := range users {
		kp := signers[i].KeyPackage()
		later[refOf(kp)] = kp
		r.ask("POST", shelf(i), kp, nil)
		for range 3 {
			ref, status := r.reserve(fmt.Sprintf("u%d", i))
			if _, again := given[ref]; again || status != "reserved" {
				t.Fatalf("reserved %s of %s twice (%v)", status, ref, again)
			}
			given[ref] = i
		}
	}
	r.s.Process.Kill()
	<-r.s.done
	r.command("restore", "backup", "--db", "welcomed.db", "--force")
	r.start()

	for i := range users {
		ref, status := r.reserve(fmt.Sprintf("u%d", i))
		if status != "last_resort" || ref != refOf(last[i]) {
			t.Errorf("right after the restore %s is %s", ref, status)
		}
	}
	r.rejoin(given, later, shelf)
	for i := range users {
		var inventory struct {
			Epoch string `json:"restore_epoch"`
		}
		r.ask("GET", shelf(i), nil, &inventory)
		fresh := signers[i].KeyPackage()
		if status := r.ask("POST", shelf(i)+"?restore_epoch="+inventory.Epoch, fresh, nil); status != 201 {
			t.Fatalf("published after the restore: %d", status)
		}
		if ref, _ := r.reserve(fmt.Sprintf("u%d", i)); ref != refOf(fresh) {
			t.Errorf("handed out %s, which is not what was published after the restore", ref)
		}
	}
	r.s.signal(t)
	if err := <-r.s.done; err != nil {
		t.Error(err)
	}
	r.command("backup", "--db", filepath.Join(r.dir, "welcomed.db"), "-o", "again") // checks it
}

// rejoin has each device sync and publish what is unknown, and each adder post
// for what it was given.
func (r *restored) rejoin(given map[string]int, later map[string][]byte, shelf func(int) string) {
	r.t.Helper()
	for ref, i := range given {
		if kp := later[ref]; kp != nil {
			r.syncUnknown(ref, kp, shelf(i))
			if again, status := r.reserve(fmt.Sprintf("u%d", i)); status != "last_resort" {
				r.t.Errorf("%s is %s after a sync", again, status)
			}
		}
		parsed, err := mls.ParseKeyPackageRef(ref)
		if err != nil {
			r.t.Fatal(err)
		}
		if status := r.ask("POST", "/welcomes", mls.Wrap(mls.WireFormatWelcome, mlstest.Welcome(1, parsed)), nil); status != 201 {
			r.t.Errorf("a Welcome for one that was reserved and is lost from the records: %d", status)
		}
	}
	for i := range 4 {
		var claimed struct{ Welcomes []struct{ ID, Ref string } }
		r.ask("POST", fmt.Sprintf("/users/u%d/devices/phone/claim", i), nil, &claimed)
		if len(claimed.Welcomes) != 3 {
			r.t.Errorf("u%d claims %d Welcomes, 3 were posted", i, len(claimed.Welcomes))
		}
	}
}

// syncUnknown tells which keys the device holds, and publishes the one that is
// not known.
func (r *restored) syncUnknown(ref string, kp []byte, shelf string) {
	r.t.Helper()
	var inventory struct {
		Refs   []string
		Digest string
	}
	r.ask("GET", shelf, nil, &inventory)
	body, _ := json.Marshal(map[string]any{"refs": append(inventory.Refs, ref)})
	req, _ := http.NewRequest("POST", r.base+shelf+"/sync", bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("If-Match", `"`+inventory.Digest+`"`)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	var synced struct{ Unknown []string }
	if err := json.NewDecoder(resp.Body).Decode(&synced); err != nil || len(synced.Unknown) != 1 || synced.Unknown[0] != ref {
		r.t.Fatalf("sync: %s %+v", resp.Status, synced)
	}
	if status := r.ask("POST", shelf, kp, nil); status != 201 {
		r.t.Fatalf("published again: %d", status)
	}
}

// Whoever ends a restore between two steps leaves the old database or the new one.
func TestADatabaseThatIsPutAsideKeepsItsName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "welcomed.db")
	s, err := bolt.Open(path, bolt.Options{Limits: delivery.DefaultLimits()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	aside, err := putAside(path, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, aside} {
		if err := bolt.Check(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
}

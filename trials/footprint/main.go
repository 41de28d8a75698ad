// Footprint measures what a welcomed binary needs: its size, the time from the
// start of the process until it is ready, and its memory when idle, empty and
// with a number of KeyPackages. It fills a file of its own over HTTP with signed
// KeyPackages and removes it again. Linux only: memory is read from /proc.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"welcomed/mls/mlstest"
	"welcomed/trials/harness"
)

func main() {
	log.SetFlags(0)
	binary := flag.String("binary", "./welcomed", "the binary to measure")
	keyPackages := flag.Int("key-packages", 100_000, "how many to publish, 500 per device")
	flag.Parse()
	if err := run(*binary, *keyPackages); err != nil {
		log.Fatal("footprint: ", err)
	}
}

func run(binary string, n int) error {
	dir, err := os.MkdirTemp("", "footprint")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	m := measurement{binary: binary, db: filepath.Join(dir, "welcomed.db")}
	info, err := os.Stat(binary)
	if err != nil {
		return err
	}
	fmt.Printf("%-40s %10.1f MB\n", "binary", float64(info.Size())/1e6)
	if err := m.session("empty", func(api string) error { return nil }); err != nil {
		return err
	}
	if err := m.session(fmt.Sprintf("publishing %d KeyPackages", n), func(api string) error { return publish(api, n) }); err != nil {
		return err
	}
	if info, err = os.Stat(m.db); err != nil {
		return err
	}
	fmt.Printf("%-40s %10.1f MB\n", fmt.Sprintf("file with %d KeyPackages", n), float64(info.Size())/1e6)
	return m.session(fmt.Sprintf("with %d KeyPackages", n), func(api string) error { return nil })
}

type measurement struct{ binary, db string }

// session starts the server, lets use do something with it, prints what it took,
// and stops the server.
func (m measurement) session(name string, use func(api string) error) error {
	api, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	admin, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	server := exec.Command(m.binary, "serve", "--db", m.db, "--listen", api.String(), "--admin-listen", admin.String(), "--log-level", "error")
	server.Stderr = os.Stderr
	start := time.Now()
	if err := server.Start(); err != nil {
		return err
	}
	defer server.Wait()
	defer server.Process.Signal(syscall.SIGTERM)
	if err := ready(admin.String()); err != nil {
		return err
	}
	took := time.Since(start)
	if err := use(api.String()); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // idle
	anon, file, err := memory(server.Process.Pid)
	if err != nil {
		return err
	}
	fmt.Printf("%-40s %10d ms to ready, %6.1f MB of memory, %6.1f MB of mapped file\n", name, took.Milliseconds(), anon, file)
	return nil
}

func ready(admin string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		if r, err := http.Get("http://" + admin + "/readyz"); err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("not ready after a minute")
}

// memory returns the resident memory of a process in MB: its own, and what it
// has mapped of files.
func memory(pid int) (anon, file float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "RssAnon: %f kB", &kb); err == nil {
			anon = kb / 1000
		}
		if _, err := fmt.Sscanf(line, "RssFile: %f kB", &kb); err == nil {
			file = kb / 1000
		}
	}
	return anon, file, nil
}

// publish fills shelves of 500, in batches of 100, from four clients.
func publish(api string, n int) error {
	var wg sync.WaitGroup
	errs := make(chan error, 4)
	for client := range 4 {
		wg.Go(func() {
			for device := client; device*500 < n; device += 4 {
				if err := fillDevice(api, device, min(500, n-device*500)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func fillDevice(api string, device, n int) error {
	signer := mlstest.NewSigner(1, fmt.Sprint(device))
	for ; n > 0; n -= 100 {
		batch := make([][]byte, min(n, 100))
		for i := range batch {
			batch[i] = signer.KeyPackage()
		}
		body, err := json.Marshal(map[string]any{"key_packages": batch})
		if err != nil {
			return err
		}
		r, err := http.Post(fmt.Sprintf("http://%s/v1/users/user%d/devices/phone/key-packages", api, device), "application/json", bytes.NewReader(body))
		if err != nil {
			return err
		}
		r.Body.Close()
		if r.StatusCode != http.StatusCreated {
			return fmt.Errorf("publish: %s", r.Status)
		}
	}
	return nil
}

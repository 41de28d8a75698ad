package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/load"
	"welcomed/mls/mlstest"
	"welcomed/progress"
	"welcomed/server"
)

// runBench runs bench with these flags, in a directory of its own.
func runBench(t *testing.T, ctx context.Context, flags ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	var out, errs bytes.Buffer
	none := func(string) (string, bool) { return "", false }
	code = Run(ctx, append([]string{"welcomed", "bench", "--dir", dir}, flags...), none, strings.NewReader(""), &out, &errs)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return code, out.String(), errs.String()
}

func parseReport(t *testing.T, text string) benchReport {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	var r benchReport
	if err := d.Decode(&r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if _, err := d.Token(); err != io.EOF {
		t.Errorf("something follows the report: %v", err)
	}
	return r
}

func TestTheReportOfABenchIsOneDocument(t *testing.T) {
	code, stdout, stderr := runBench(t, t.Context(), "--json", "--mix", "life", "--callers", "2,3", "--count", "2", "--devices", "20", "--key-packages", "3")
	if code != exitOK {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	r := parseReport(t, stdout)
	if !r.Server.Own || r.Mix != "life" || r.CipherSuite != 1 || r.Machine.Cores < 1 || r.Interrupted || len(r.Levels) != 2 {
		t.Errorf("got %+v", r)
	}
	for i, l := range r.Levels {
		if l.Callers != i+2 || l.Disk == nil || l.Disk.PerSecond <= 0 || l.Life.Bursts != 2 || l.Life.Devices != 20 {
			t.Errorf("got %+v", l)
		}
		for _, o := range l.Operations {
			if o.Requests < 1 || o.P50 <= 0 || o.P50 > o.P99 || o.P99 > o.P999 || o.P999 > o.Longest || o.Longest > o.Seconds {
				t.Errorf("got %+v", o)
			}
		}
	}
}

func TestABenchThatIsStoppedPrintsWhatItHas(t *testing.T) {
	limits := delivery.DefaultLimits()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	api := server.New(server.Options{NoAuth: server.NoAuthLocal, Store: store, Limits: limits, Version: "test", Log: slog.New(slog.DiscardHandler)}).API()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var claims atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/claim") && claims.Add(1) == 10 {
			stop() // nothing else ends it
		}
		api.ServeHTTP(w, r)
	}))
	defer web.Close()
	code, stdout, stderr := runBench(t, ctx, "--url", web.URL, "--keep", "--json", "--mix", "life", "--callers", "1", "--duration", "0", "--count", "1000000", "--devices", "4", "--key-packages", "2")
	if r := parseReport(t, stdout); code != exitOK || !r.Interrupted || len(r.Levels) != 1 {
		t.Errorf("exit code %d, %q, %+v", code, stderr, r)
	}
}

func TestABenchWithAWrongAnswerFails(t *testing.T) {
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		json.NewEncoder(w).Encode(load.About{Version: "1", CipherSuites: mlstest.Suites, Ready: true, Limits: load.Limits{
			KeyPackagesPerPublish: 100, KeyPackagesPerDevice: 100, PendingPerDevice: 100,
		}})
	}))
	defer odd.Close()
	const sentence = "at --callers 2: publish: the server answered 418 instead of 201"
	code, stdout, stderr := runBench(t, t.Context(), "--url", odd.URL, "--keep", "--json", "--callers", "2", "--count", "4", "--key-packages", "1")
	if code != exitFailed || !strings.HasSuffix(stderr, "welcomed: "+sentence+"\n") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if r := parseReport(t, stdout); r.Error != sentence || r.Server.Own || r.Server.URL != odd.URL {
		t.Errorf("got %+v", r)
	}
	_, _, stderr = runBench(t, t.Context(), "--url", odd.URL, "--callers", "2", "--count", "4", "--key-packages", "1")
	if want := "; remove what was made: remove: the server answered 418 instead of 204\n"; !strings.HasSuffix(stderr, sentence+want) {
		t.Errorf("got %q", stderr)
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
	for seconds, want := range map[float64]string{0: "0.00", 0.00005: "0.05", 0.00999: "9.99", 0.0123: "12.3", 0.1237: "124", 12.3: "12,300"} {
		if got := ms(seconds); got != want {
			t.Errorf("%v s is written %s ms, want %s", seconds, got, want)
		}
	}
}

func TestProgressWithoutATerminalIsLines(t *testing.T) {
	var b bytes.Buffer
	show := lines(&b)
	show(progress.Report{})
	show(progress.Report{What: "1 caller: claim", Total: 5000, Done: 1234})
	show(progress.Report{What: "copy", Unit: progress.Bytes, Total: 3 << 20, Done: 5 << 10})
	show(progress.Report{What: "read", Done: 7})
	want := "1 caller: claim, 1,234 of 5,000\ncopy, 5.0 KiB of 3.0 MiB\nread, 7\n"
	if got := b.String(); got != want {
		t.Errorf("got %q", got)
	}
}

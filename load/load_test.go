package load_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"welcomed/bolt"
	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/load"
	"welcomed/server"
)

func init() { storetest.DirectoriesInMemory() }

// A world is a server with a driver in front of it.
type world struct {
	*load.Driver
	url   string
	store delivery.Store
}

// newWorld starts a server whose handler is what wrap makes of the real one.
func newWorld(t *testing.T, wrap func(http.Handler) http.Handler) world {
	t.Helper()
	limits := delivery.DefaultLimits()
	store, err := bolt.Open(filepath.Join(t.TempDir(), "welcomed.db"), bolt.Options{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	s := server.New(server.Options{NoAuth: server.NoAuthLocal, Store: store, Limits: limits, Version: "test", Log: slog.New(slog.DiscardHandler)})
	web := httptest.NewServer(wrap(s.API()))
	t.Cleanup(web.Close)
	return world{driver(t, web.URL), web.URL, store}
}

func driver(t *testing.T, address string) *load.Driver {
	t.Helper()
	target, err := find(t.Context(), address, "")
	if err != nil {
		t.Fatal(err)
	}
	return load.NewDriver(target, 1)
}

func find(ctx context.Context, address, token string) (*load.Target, error) {
	u, err := load.ParseURL(address)
	if err != nil {
		return nil, err
	}
	return load.Find(ctx, u, token)
}

func asIs(h http.Handler) http.Handler { return h }

func (w world) stats(t *testing.T) delivery.Stats {
	t.Helper()
	s, err := w.store.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryObjectOfThePhasesIsUsedOnce(t *testing.T) {
	for name, p := range map[string]load.Phases{
		"a device each":           {Callers: 4, Objects: 30, KeyPackages: 1},
		"several of a device":     {Callers: 4, Objects: 30, Devices: 7, KeyPackages: 1},
		"more callers than work":  {Callers: 9, Objects: 3, KeyPackages: 1},
		"requests for several":    {Callers: 2, Objects: 30, KeyPackages: 5},
		"more devices than there": {Callers: 2, Objects: 3, Devices: 10, KeyPackages: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, asIs)
			measures, err := w.Phases(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			counts := map[string]int{}
			for _, m := range measures {
				counts[m.Operation] = m.Objects
				if m.Percentile(0.5) <= 0 || m.Elapsed < m.Percentile(1) {
					t.Errorf("%s: %v in the middle, %v at most, %v in all", m.Operation, m.Percentile(0.5), m.Percentile(1), m.Elapsed)
				}
			}
			for _, operation := range []string{"publish", "reserve", "post", "claim", "ack"} {
				if counts[operation] != p.Objects {
					t.Errorf("%s of %d objects, want %d", operation, counts[operation], p.Objects)
				}
			}
			stats := w.stats(t)
			if got := stats.Welcomes[delivery.Acknowledged]; got != p.Objects {
				t.Errorf("%d Welcomes are acknowledged, want %d", got, p.Objects)
			}
			if p.KeyPackages > 1 && (counts["publish 5"] != 30 || stats.KeyPackages[delivery.Available] != 30) {
				t.Errorf("%d were published together, %d are available", counts["publish 5"], stats.KeyPackages[delivery.Available])
			}
		})
	}
}

func TestAPhaseThatIsTooLongEndsEarlyAndTheOthersFollow(t *testing.T) {
	slow := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/claim") {
				time.Sleep(20 * time.Millisecond)
			}
			h.ServeHTTP(w, r)
		})
	}
	w := newWorld(t, slow)
	const objects, callers = 500, 4
	measures, err := w.Phases(t.Context(), load.Phases{Callers: callers, Objects: objects, Devices: 20, KeyPackages: 1, Limit: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	last := objects
	for _, m := range measures {
		if m.Requests > last || m.Requests < callers {
			t.Errorf("%s has %d requests after %d", m.Operation, m.Requests, last)
		}
		last = m.Requests
	}
	if claimed, acknowledged := measures[3], measures[4]; len(measures) != 5 || claimed.Requests > 50 || acknowledged.Requests != w.stats(t).Welcomes[delivery.Acknowledged] {
		t.Errorf("%d measures, %d claims, %d acks of %v", len(measures), claimed.Requests, acknowledged.Requests, w.stats(t).Welcomes)
	}
}

func TestGroupsAreMadeAtOnceAndSliced(t *testing.T) {
	w := newWorld(t, asIs)
	const joiners = 40
	measures, size, err := w.Groups(t.Context(), load.Groups{Callers: 8, Groups: 2, Joiners: joiners})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"reserve 40": 2, "post 40": 2, "reserve and post 40": 2, "claim": 80, "ack": 80}
	for _, m := range measures {
		if m.Requests != want[m.Operation] || m.Objects != 2*joiners {
			t.Errorf("%s: %d requests for %d objects", m.Operation, m.Requests, m.Objects)
		}
		delete(want, m.Operation)
	}
	if len(want) > 0 {
		t.Errorf("nobody measured %v", want)
	}
	if got := w.stats(t).Welcomes[delivery.Acknowledged]; got != 2*joiners {
		t.Errorf("%d Welcomes are acknowledged", got)
	}
	entry := (size.Whole - size.Slice) / (joiners - 1)
	_, alone, err := w.Groups(t.Context(), load.Groups{Callers: 1, Groups: 1, Joiners: joiners})
	if err != nil || max(alone.Received-size.Received, size.Received-alone.Received) > 2 {
		t.Errorf("a joiner receives %d bytes beside others and %d alone, %v", size.Received, alone.Received, err)
	}
	if size.Joiners != joiners || entry < 100 || entry > 150 || size.Received <= size.Slice || size.Received > size.Slice+1000 {
		t.Errorf("got %+v: %d bytes for each joiner", size, entry)
	}
}

func TestALifeEndsWithEveryWelcomeDelivered(t *testing.T) {
	var waiting sync.Map // devices that have long-polls
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			device, _, acks := strings.Cut(r.URL.Path, "/welcomes/")
			if r.URL.Query().Has("wait") {
				waiting.LoadOrStore(strings.TrimSuffix(r.URL.Path, "/claim"), true)
			}
			if acks && waiting.CompareAndSwap(device, true, false) {
				time.Sleep(200 * time.Millisecond) // they have to be waited for in the end
			}
			next.ServeHTTP(w, r)
		})
	})
	const stock = 60 * 4
	population, filled, err := w.Populate(t.Context(), 60, 4, 8)
	if err != nil {
		t.Fatal(err)
	}
	if filled.Objects != stock || w.stats(t).KeyPackages[delivery.Available] != stock {
		t.Errorf("published %d, %v", filled.Objects, w.stats(t).KeyPackages)
	}
	joined, published := 0, 0
	for _, polls := range []int{20, 60} { // a population lives several times
		lived, err := population.Live(t.Context(), load.Life{Callers: 6, Bursts: 8, Every: 10 * time.Millisecond, LongPolls: polls, MostJoined: 30})
		if err != nil {
			t.Fatal(err)
		}
		counts := map[string]int{}
		for _, m := range lived.Measures {
			counts[m.Operation] = m.Objects
		}
		joined, published = joined+lived.Joined, published+counts["publish 2"]
		switch {
		case lived.Bursts != 8, lived.Groups > 48, lived.Groups < 16, lived.Largest > 30:
			t.Errorf("got %+v", lived)
		case counts["ack"] != lived.Joined, counts["claim"]+counts["delivery"] != lived.Joined:
			t.Errorf("%d joined, but there were %v", lived.Joined, counts)
		case counts["reserve"] != lived.Joined+lived.Empty, counts["post"]+counts["post held"] != lived.Joined:
			t.Errorf("%d joined, %d shelves were empty, but there were %v", lived.Joined, lived.Empty, counts)
		case counts["release"] != counts["post held"]:
			t.Errorf("held %d, released %d", counts["post held"], counts["release"])
		}
	}
	stats := w.stats(t)
	if got := stats.Welcomes; got[delivery.Acknowledged] != joined || got[delivery.Delivered]+got[delivery.Pending]+got[delivery.Held] > 0 {
		t.Errorf("%d joined, but there are %v", joined, got)
	}
	if left := stats.KeyPackages[delivery.Available]; left != stock-joined+published || left > stock {
		t.Errorf("of %d, %d are on the shelves after %d joined and %d were published", stock, left, joined, published)
	}
	if joined > 180 && published == 0 { // three of each device
		t.Errorf("%d joined, and nobody refilled a shelf", joined)
	}
}

func TestRemovingLeavesNothingBehind(t *testing.T) {
	var removed atomic.Int64
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodDelete {
				removed.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, _, err := w.Populate(t.Context(), 20, 3, 4); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A removal is one row: what the device had ends with the sweep.
	if _, err := w.store.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := w.stats(t); s.KeyPackages[delivery.Available] != 0 || s.DevicesOK+s.DevicesLow+s.DevicesEmpty != 0 {
		t.Errorf("left: %v, %d, %d, %d devices", s.KeyPackages, s.DevicesOK, s.DevicesLow, s.DevicesEmpty)
	}
	if err := w.Remove(t.Context()); err != nil || removed.Load() != 20 {
		t.Errorf("again: %v, %d removed", err, removed.Load())
	}
}

// answering has change rewrite the answers to the requests whose path ends like
// this; n counts them. Status 0 leaves the one that there is.
func answering(suffix string, change func(n int64, h http.Header, body []byte) (status int, _ []byte)) func() func(http.Handler) http.Handler {
	return func() func(http.Handler) http.Handler {
		var n atomic.Int64
		return func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, suffix) {
					next.ServeHTTP(w, r)
					return
				}
				got := httptest.NewRecorder()
				next.ServeHTTP(got, r)
				status, body := change(n.Add(1), got.Header(), got.Body.Bytes())
				got.Header().Del("Content-Length")
				maps.Copy(w.Header(), got.Header())
				w.WriteHeader(cmp.Or(status, got.Code))
				w.Write(body)
			})
		}
	}
}

// lies are what a server does that is not to be trusted.
var lies = map[string]struct {
	wrap func() func(http.Handler) http.Handler
	want string // of the error
}{
	"a changed Welcome": {answering("/claim", func(n int64, h http.Header, body []byte) (int, []byte) {
		if n >= 3 && len(body) > 0 {
			body[len(body)-1] ^= 1
		}
		return 0, body
	}), "is not the one that was posted"},
	"a Welcome twice": {repeating, "delivered twice"},
	// Who finds out depends on who asks first: who is given another's, or whose it
	// was and who is given it again.
	"a Welcome that goes to somebody else": {misdelivering, "is not for it|delivered twice"},
	"a Welcome said to be given again": {answering("/claim", func(_ int64, h http.Header, body []byte) (int, []byte) {
		h.Set("Welcome-Redelivered", "true")
		return 0, body
	}), "delivered twice"},
	"a Welcome for nobody": {answering("/claim", func(_ int64, h http.Header, body []byte) (int, []byte) {
		h.Set("Key-Package-Ref", strings.Repeat("00", 32))
		return 0, body
	}), "is not for it"},
	"no Welcome": {answering("/claim", func(n int64, _ http.Header, body []byte) (int, []byte) {
		if n == 3 {
			return http.StatusNoContent, nil
		}
		return 0, body
	}), "answered 204 instead of 200"},
	"a post that fails": {answering("/welcomes", func(int64, http.Header, []byte) (int, []byte) {
		return http.StatusInternalServerError, []byte(`{"code":"internal","detail":"no"}`)
	}), "500 instead of 201: internal, no"},
	"an ack that fails": {answering("/ack", func(int64, http.Header, []byte) (int, []byte) {
		return http.StatusNotFound, []byte("what?")
	}), "ack: the server answered 404 instead of 204"},
	"a publication that stores nothing": {answering("/key-packages", func(_ int64, _ http.Header, body []byte) (int, []byte) {
		return 0, []byte(strings.ReplaceAll(string(body), `"stored"`, `"already_stored"`))
	}), `with 0 times "status":"stored" instead of 1`},
}

// repeating gives the first Welcome to every claim of the same device.
func repeating() func(http.Handler) http.Handler {
	var mu sync.Mutex
	first := map[string]*httptest.ResponseRecorder{}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/claim") {
				next.ServeHTTP(w, r)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if first[r.URL.Path] == nil {
				first[r.URL.Path] = httptest.NewRecorder()
				next.ServeHTTP(first[r.URL.Path], r)
			}
			maps.Copy(w.Header(), first[r.URL.Path].Header())
			w.Write(first[r.URL.Path].Body.Bytes())
		})
	}
}

// misdelivering has all claims be those of one device.
func misdelivering() func(http.Handler) http.Handler {
	var first atomic.Pointer[string]
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if path := r.URL.Path; strings.HasSuffix(path, "/claim") && !first.CompareAndSwap(nil, &path) {
				r.URL.Path = *first.Load()
			}
			next.ServeHTTP(w, r)
		})
	}
}

// found reports whether err says one of the words, with | between them.
func found(words string, err error) bool {
	return slices.ContainsFunc(strings.Split(words, "|"), func(w string) bool { return strings.Contains(err.Error(), w) })
}

func TestAWrongAnswerSpoilsTheMeasurement(t *testing.T) {
	for name, lie := range lies {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, lie.wrap())
			_, err := w.Phases(t.Context(), load.Phases{Callers: 2, Objects: 12, Devices: 4, KeyPackages: 1})
			if err == nil || !found(lie.want, err) {
				t.Errorf("got %v, want %q", err, lie.want)
			}
		})
	}
}

func TestAWrongAnswerEndsALife(t *testing.T) {
	for _, name := range []string{
		"a changed Welcome", "a Welcome twice", "a Welcome said to be given again", "a Welcome that goes to somebody else", "an ack that fails",
	} {
		t.Run(name, func(t *testing.T) {
			lie := lies[name]
			w := newWorld(t, lie.wrap())
			population, _, err := w.Populate(t.Context(), 5, 20, 4)
			if err != nil {
				t.Fatal(err)
			}
			_, err = population.Live(t.Context(), load.Life{Callers: 2, Bursts: 10, Every: time.Millisecond, LongPolls: 4, MostJoined: 5})
			if err == nil || !found(lie.want, err) {
				t.Errorf("got %v, want %q", err, lie.want)
			}
		})
	}
}

func TestTheServersPaceIsKept(t *testing.T) {
	w := newWorld(t, func(next http.Handler) http.Handler {
		var n atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/claim") && n.Add(1)%3 == 0 {
				w.Header().Set("Retry-After", "0")
				http.Error(w, "slower", http.StatusTooManyRequests)
				return
			}
			w.Header().Set("Connection", "close") // and every request needs a new connection
			next.ServeHTTP(w, r)
		})
	})
	measures, err := w.Phases(t.Context(), load.Phases{Callers: 2, Objects: 12, KeyPackages: 1})
	if err != nil {
		t.Fatal(err)
	}
	if claim := measures[3]; claim.Throttled < 3 || claim.Requests != 12 {
		t.Errorf("%d claims, %d of them again", claim.Requests, claim.Throttled)
	}
}

// What is made for a load is new, and says so: a server that was restored would hand
// out nothing of it otherwise.
func TestPublicationsNameTheRestoreEpoch(t *testing.T) {
	var named, published atomic.Int64
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/key-packages") {
				published.Add(1)
				if r.URL.Query().Get("restore_epoch") != "" {
					named.Add(1)
				}
			}
			next.ServeHTTP(w, r)
		})
	})
	if _, err := w.Phases(t.Context(), load.Phases{Callers: 2, Objects: 12, KeyPackages: 3}); err != nil {
		t.Fatal(err)
	}
	if named.Load() != published.Load() || published.Load() == 0 {
		t.Errorf("%d of %d publications name the epoch", named.Load(), published.Load())
	}
}

func TestWhatTheServerRefusesIsNotBegun(t *testing.T) {
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet {
				t.Errorf("%s %s", r.Method, r.URL)
			}
			next.ServeHTTP(w, r)
		})
	})
	_, phases := w.Phases(t.Context(), load.Phases{Callers: 1, Objects: 1001, Devices: 2, KeyPackages: 1})
	_, batches := w.Phases(t.Context(), load.Phases{Callers: 1, Objects: 1, KeyPackages: 101})
	_, _, groups := w.Groups(t.Context(), load.Groups{Callers: 1, Groups: 1, Joiners: 5001})
	_, _, stock := w.Populate(t.Context(), 1, 101, 1)
	for err, want := range map[error]string{
		phases:  "keeps at most 500 KeyPackages of a device, not 501",
		batches: "takes at most 100 KeyPackages in a request, not 101",
		groups:  "reserves for at most 5000 devices at once, not 5001",
		stock:   "takes at most 100 KeyPackages in a request, not 101",
	} {
		if err == nil || !strings.Contains(err.Error(), "the server "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAStoppedRunSaysWhatItMeasured(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	w := newWorld(t, answering("/claim", func(n int64, _ http.Header, body []byte) (int, []byte) {
		if n == 5 {
			stop()
		}
		return 0, body
	})())
	measures, err := w.Phases(ctx, load.Phases{Callers: 1, Objects: 12, KeyPackages: 1})
	if !errors.Is(err, context.Canceled) || len(measures) != 4 || measures[3].Requests != 5 {
		t.Errorf("got %v, %+v", err, measures)
	}
	if err := w.Remove(t.Context()); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func TestATokenIsShownEverywhere(t *testing.T) {
	var without atomic.Int64
	w := newWorld(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer open-sesame" {
				without.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	target, err := find(t.Context(), w.url, "open-sesame")
	if err != nil {
		t.Fatal(err)
	}
	without.Store(0)
	d := load.NewDriver(target, 2)
	if _, err := d.Phases(t.Context(), load.Phases{Callers: 2, Objects: 3, KeyPackages: 2}); err != nil {
		t.Fatal(err)
	}
	if err := d.Remove(t.Context()); err != nil || without.Load() > 0 {
		t.Errorf("%d requests without the token, %v", without.Load(), err)
	}
	if _, err := find(t.Context(), w.url, "two words"); !errors.Is(err, load.ErrToken) {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNoServerIsNotMeasured(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	t.Cleanup(other.Close)
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"version":"1","ready":false}`)
	}))
	t.Cleanup(sick.Close)
	closed := httptest.NewServer(nil)
	closed.Close()
	stranger := httptest.NewUnstartedServer(nil)
	stranger.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	stranger.StartTLS()
	t.Cleanup(stranger.Close)
	for address, want := range map[string]string{
		other.URL:    "is not welcomed",
		sick.URL:     "not ready",
		stranger.URL: "certificate signed by unknown authority",
		closed.URL:   "cannot reach " + closed.URL + ": connect: connection refused",
	} {
		if _, err := find(t.Context(), address, ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:9420", "ftp://a", "http://", "http://a?b", "http://u:p@a", "http://a#b", "://"} {
		if u, err := load.ParseURL(bad); err == nil {
			t.Errorf("%q is %v", bad, u)
		}
	}
}

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	"welcomed/load"
	"welcomed/mls"
)

// A benchReport is what a bench found. Its JSON has seconds and bytes.
type benchReport struct {
	Version     string          `json:"version"`
	StartedAt   time.Time       `json:"started_at"`
	Server      benchServer     `json:"server"`
	Machine     benchMachine    `json:"machine"`
	Mix         string          `json:"mix"`
	CipherSuite mls.CipherSuite `json:"cipher_suite"`
	Levels      []*benchLevel   `json:"levels"`
	Verdict     *benchVerdict   `json:"verdict,omitempty"`
	Interrupted bool            `json:"interrupted"`
	Error       string          `json:"error,omitempty"`
}

type benchServer struct {
	Own     bool   `json:"own"` // started for this, in the process that measures
	URL     string `json:"url,omitempty"`
	Dir     string `json:"dir,omitempty"`
	Version string `json:"version"`
}

// A benchMachine is where the command runs.
type benchMachine struct {
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Arch  string `json:"arch"`
}

type benchLevel struct {
	Callers    int              `json:"callers"`
	Disk       *benchDisk       `json:"disk,omitempty"`
	Operations []benchOperation `json:"operations"`
	Download   *benchDownload   `json:"download,omitempty"`
	Life       *benchLife       `json:"life,omitempty"`

	busy float64 // share of the processors
}

type benchOperation struct {
	Operation string  `json:"operation"`
	Requests  int     `json:"requests"`
	Objects   int     `json:"objects"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"objects_per_second"`
	P50       float64 `json:"p50_seconds"`
	P99       float64 `json:"p99_seconds"`
	P999      float64 `json:"p999_seconds"`
	Longest   float64 `json:"max_seconds"`
	Throttled int     `json:"throttled"`
}

type benchDownload struct {
	Joiners  int `json:"joiners"`
	Whole    int `json:"whole_welcome_bytes"`
	Slice    int `json:"sliced_welcome_bytes"`
	Received int `json:"received_bytes_per_joiner"`
}

func newBenchDownload(d load.Download) *benchDownload { b := benchDownload(d); return &b }

type benchLife struct {
	Devices   int `json:"devices"`
	LongPolls int `json:"long_polls"`
	Bursts    int `json:"bursts"`
	Late      int `json:"late_bursts"`
	Groups    int `json:"groups"`
	Joined    int `json:"joined"`
	Largest   int `json:"largest_group"`
	Empty     int `json:"empty_shelves"`
	Signed    int `json:"signed_meanwhile"`
}

func newBenchLife(devices int, life load.Life, l load.Lived) *benchLife {
	return &benchLife{devices, life.LongPolls, l.Bursts, l.Late, l.Groups, l.Joined, l.Largest, l.Empty, l.Signed}
}

func newBenchReport(c *benchConfig, t *load.Target) *benchReport {
	r := &benchReport{
		Version:     currentVersion(),
		StartedAt:   time.Now().UTC().Truncate(time.Second),
		Server:      benchServer{Own: c.url == nil, Dir: c.dir, Version: t.About.Version},
		Machine:     benchMachine{runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH},
		Mix:         c.mix,
		CipherSuite: c.suite,
		Levels:      []*benchLevel{},
	}
	if c.url != nil {
		r.Server.URL = c.url.String()
	}
	return r
}

func (l *benchLevel) add(measures []load.Measure) {
	for _, m := range measures {
		if m.Requests == 0 {
			continue
		}
		l.Operations = append(l.Operations, benchOperation{
			Operation: m.Operation,
			Requests:  m.Requests,
			Objects:   m.Objects,
			Seconds:   m.Elapsed.Seconds(),
			PerSecond: m.PerSecond(),
			P50:       m.Percentile(0.5).Seconds(),
			P99:       m.Percentile(0.99).Seconds(),
			P999:      m.Percentile(0.999).Seconds(),
			Longest:   m.Percentile(1).Seconds(),
			Throttled: m.Throttled,
		})
	}
}

// write writes the report as a table or as JSON.
func (r *benchReport) write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	if len(r.Levels) == 0 && r.Error != "" {
		return nil // the sentence says it all
	}
	_, err := io.WriteString(w, r.table())
	return err
}

func (r *benchReport) table() string {
	var b strings.Builder
	if r.Verdict != nil {
		b.WriteString(r.Verdict.text(r) + "\n")
		r.about(&b)
	} else {
		r.about(&b)
		fmt.Fprintf(&b, "\n"+benchRow, "callers", "operation", "requests", "objects", "objects/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms")
		for _, l := range r.Levels {
			l.table(&b)
		}
	}
	if r.Interrupted {
		b.WriteString("Stopped early: this is what was measured until then.\n")
	}
	return b.String()
}

func (r *benchReport) about(b *strings.Builder) {
	if r.Server.Own {
		fmt.Fprintf(b, "welcomed %s: a server of its own, in this process, on a temporary file in %s\n", r.Server.Version, r.Server.Dir)
	} else {
		fmt.Fprintf(b, "welcomed %s: the server at %s\n", r.Server.Version, r.Server.URL)
	}
	fmt.Fprintf(b, "measured by %s on %d cores, %s/%s; cipher suite %d; mix %s\n", r.Version, r.Machine.Cores, r.Machine.OS, r.Machine.Arch, r.CipherSuite, r.Mix)
}

// judge says what the levels mean for the machine, whose database would be in
// dir.
func (r *benchReport) judge(dir string) {
	s := sizing{memory: peakMemory(), machine: memoryForAll(), free: freeSpace(dir), load: loadAverage(),
		processors: runtime.NumCPU(), addressBits: strconv.IntSize}
	for _, l := range r.Levels {
		s.disk, s.full, s.busy, s.callers = l.Disk, l.Operations, l.busy, l.Callers
	}
	r.Verdict = s.verdict()
}

const benchRow = "%7s  %-21s %9s %9s %11s %9s %9s %9s %9s\n"

func (l *benchLevel) table(b *strings.Builder) {
	callers := strconv.Itoa(l.Callers)
	if d := l.Disk; d != nil {
		fmt.Fprintf(b, benchRow, "", "disk, 2 fdatasyncs", thousands(d.Commits), "", thousands(int(d.PerSecond)), ms(d.P50), ms(d.P99), "", ms(d.Longest))
	}
	for _, o := range l.Operations {
		fmt.Fprintf(b, benchRow, callers, o.Operation, thousands(o.Requests), thousands(o.Objects), thousands(int(o.PerSecond)),
			ms(o.P50), ms(o.P99), ms(o.P999), ms(o.Longest))
		if o.Throttled > 0 {
			fmt.Fprintf(b, "         the server answered 429 to %s more, which were sent again\n", thousands(o.Throttled))
		}
	}
	if d := l.Download; d != nil {
		fmt.Fprintf(b, "         a joiner of %s: %s bytes of Welcome, %s received with the header; unsliced it would be %s\n",
			thousands(d.Joiners), thousands(d.Slice), thousands(d.Received), thousands(d.Whole))
	}
	if f := l.Life; f != nil {
		fmt.Fprintf(b, "         %s devices, %s in long-polls; %s groups of up to %s in %s bursts, %s of them late; %s joined; %s shelves were empty\n",
			thousands(f.Devices), thousands(f.LongPolls), thousands(f.Groups), thousands(f.Largest), thousands(f.Bursts), thousands(f.Late), thousands(f.Joined), thousands(f.Empty))
	}
	b.WriteByte('\n')
}

// ms writes seconds as milliseconds, with three digits or so.
func ms(seconds float64) string {
	switch v := seconds * 1000; {
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return thousands(int(v + 0.5))
	}
}

// thousands writes a number that people can read.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

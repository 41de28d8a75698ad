package server_test

import (
	"bytes"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
	"welcomed/mls/mlstest"
	"welcomed/mls/mlstest/malformed"
	"welcomed/server"
)

var update = flag.Bool("update", false, "write testdata/malformed.txt")

// TestEveryMalformedObjectHasItsCode: each row of the tables is refused over HTTP
// for its one defect, leaves nothing behind, and is accepted without it. What
// each gets stands in testdata/malformed.txt, so that a change of it is seen.
func TestEveryMalformedObjectHasItsCode(t *testing.T) {
	s := start(t, func(o *server.Options) { o.Limits.MaxLifetime = 400 * 24 * time.Hour })
	sound := mlstest.WithLifetime(uint64(stillClock{}.Now().Unix()), uint64(stillClock{}.Now().AddDate(1, 0, 0).Unix()))
	unlimited := start(t, nil)
	var table bytes.Buffer
	rows := 0
	for i, row := range malformed.KeyPackages() {
		unlimited.refuseKeyPackage(i, row, string(row.Code), &table)
		rows++
	}
	for i, row := range timedKeyPackages(sound) {
		s.refuseKeyPackage(i, row, string(row.Code), &table)
		rows++
	}
	for i, row := range append(malformed.Welcomes(), largeWelcomes(delivery.DefaultLimits())...) {
		unlimited.refuseWelcome(i, row, &table)
		rows++
	}
	same(t, "at least 100 rows", rows >= 100, true)
	compareFile(t, filepath.Join("testdata", "malformed.txt"), table.Bytes())
	same(t, "log", s.log.String()+unlimited.log.String(), "")
	t.Logf("%d rows", rows)
}

// refuseKeyPackage publishes what is broken and then what is sound, on a device of
// its own.
func (s *service) refuseKeyPackage(i int, row malformed.Row, code string, table *bytes.Buffer) {
	s.t.Helper()
	shelf := fmt.Sprintf("/v1/users/row-%d/devices/phone/key-packages", i)
	r := s.call("POST", shelf, row.Broken)
	if r.status != 422 || r.want(422).text("code") != "invalid_key_package" || r.want(422).text("invalid", 0, "code") != code {
		s.t.Errorf("%s: %d %s, want %s", row.Name, r.status, r.body, code)
		return
	}
	if left := len(s.call("GET", shelf, nil).want(200).list("refs")); left != 0 {
		s.t.Errorf("%s: refused, and %d are stored", row.Name, left)
	}
	fmt.Fprintf(table, "%d invalid_key_package/%s\t%s\n", r.status, code, row.Name)
	if r := s.call("POST", shelf, row.Sound); r.status != 201 {
		s.t.Errorf("%s: without the defect: %d %s", row.Name, r.status, r.body)
	}
}

// refuseWelcome posts what is broken and then what is sound, for a device of its
// own.
func (s *service) refuseWelcome(i int, row malformed.Row, table *bytes.Buffer) {
	s.t.Helper()
	device := fmt.Sprintf("/v1/users/joiner-%d/devices/phone", i)
	s.call("POST", device+"/key-packages", publication{row.For}).want(201)
	status := map[mls.Code]int{mls.CodeMalformed: 400, mls.CodeWrongMessageType: 400, "too_large": 413}[row.Code]
	if status == 0 {
		status = 422
	}
	r := s.call("POST", "/v1/welcomes", row.Broken)
	if r.status != status || r.want(status).text("code") != string(row.Code) {
		s.t.Errorf("%s: %d %.500s, want %d %s", row.Name, r.status, r.body, status, row.Code)
		return
	}
	if got := len(s.call("POST", device+"/claim", nil).want(200).list("welcomes")); got != 0 {
		s.t.Errorf("%s: refused, and %d are delivered", row.Name, got)
	}
	fmt.Fprintf(table, "%d %s\t%s\n", status, row.Code, row.Name)
	posted := s.call("POST", "/v1/welcomes?require=all", row.Sound)
	if posted.status != 201 {
		s.t.Errorf("%s: without the defect: %d %s", row.Name, posted.status, posted.body)
	}
}

// timedKeyPackages are the rows that need a clock or a limit. sound is a lifetime
// that is none of them.
func timedKeyPackages(sound mlstest.Option) []malformed.Row {
	now := uint64(stillClock{}.Now().Unix())
	const hour, day = 3600, 86400
	row := func(name string, code delivery.ItemCode, defect mlstest.Option) malformed.Row {
		keys := []mlstest.Option{mlstest.WithInitKey(mlstest.KEMKey(1)), mlstest.WithEncryptionKey(mlstest.KEMKey(1)), sound}
		return malformed.Row{Name: name, Code: mls.Code(code), Suite: 1, Sound: signer.KeyPackage(keys...), Broken: signer.KeyPackage(append(keys, defect)...)}
	}
	return []malformed.Row{
		row("expired long ago", delivery.ItemExpired, mlstest.WithLifetime(0, 1)),
		row("expired a second ago", delivery.ItemExpired, mlstest.WithLifetime(now-day, now-1)),
		row("expires now", delivery.ItemExpired, mlstest.WithLifetime(now-day, now)),
		row("lifetime of nothing, at the epoch", delivery.ItemExpired, mlstest.WithLifetime(0, 0)),
		row("begins in a day and a second", delivery.ItemNotYetValid, mlstest.WithLifetime(now+day+1, now+2*day)),
		row("begins at the end of time", delivery.ItemNotYetValid, mlstest.WithLifetime(math.MaxUint64, math.MaxUint64)),
		row("begins past what int64 holds", delivery.ItemNotYetValid, mlstest.WithLifetime(1<<63, 1<<63+hour)),
		row("lifetime in milliseconds", delivery.ItemNotYetValid, mlstest.WithLifetime(now*1000, (now+day)*1000)),
		row("lifetime longer than the application allows", delivery.ItemLifetimeTooLong, mlstest.WithLifetime(now, now+400*day+1)),
		row("lifetime without an end where there must be one", delivery.ItemLifetimeTooLong, mlstest.WithLifetime(now, mlstest.NoEnd)),
		row("a byte too large", "too_large", largerThan(64<<10, sound)),
		row("ten times too large", "too_large", mlstest.WithPadding(640<<10)),
	}
}

// largerThan pads a KeyPackage to most bytes and one more.
func largerThan(most int, options ...mlstest.Option) mlstest.Option {
	const about = 60_000
	rest := len(signer.KeyPackage(append(options, mlstest.WithPadding(about))...)) - about
	return mlstest.WithPadding(most + 1 - rest)
}

// largeWelcomes are the rows that need a limit.
func largeWelcomes(l delivery.Limits) []malformed.Row {
	row := func(name string, code mls.Code, broken func(ref mls.KeyPackageRef) []byte) malformed.Row {
		kp := signer.KeyPackage()
		parsed, err := mls.ParseKeyPackage(kp)
		if err != nil {
			panic(err)
		}
		return malformed.Row{Name: "Welcome: " + name, Code: code, Suite: 1, For: [][]byte{kp}, Sound: mlstest.WelcomeFor(kp), Broken: broken(parsed.Ref())}
	}
	size := func(n int) func(mls.KeyPackageRef) []byte {
		return func(ref mls.KeyPackageRef) []byte {
			rest := len(mlstest.WelcomeSize(1<<20, 1, ref)) - 1<<20
			return mlstest.WelcomeSize(n-rest, 1, ref)
		}
	}
	return []malformed.Row{
		row("a byte too large", "too_large", size(l.WelcomeBytes+1)),
		row("twice as large as allowed", "too_large", size(2*l.WelcomeBytes)),
		row("one recipient too many", "too_many_recipients", func(ref mls.KeyPackageRef) []byte {
			refs := []mls.KeyPackageRef{ref}
			for range l.RecipientsPerWelcome {
				refs = append(refs, mls.KeyPackageRef(mlstest.Random(32)))
			}
			return mlstest.Welcome(1, refs...)
		}),
	}
}

// compareFile expects a file to say what was found, or has it say so.
func compareFile(t *testing.T, path string, found []byte) {
	t.Helper()
	if *update && !t.Failed() {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, found, 0o644))
	}
	want, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(found, want) {
		t.Errorf("%s says something else; if that is meant, run this test with -update and look at the difference", path)
	}
}

package cli

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// measured is a machine on which each event is done 1000 times in a second.
func measured() sizing {
	s := sizing{disk: &benchDisk{Commits: 100, PerSecond: 500, P50: 0.002, P99: 0.004}, callers: 64, busy: 0.3, processors: 2,
		memory: 100 << 20, machine: 64 << 30, free: 1 << 50, addressBits: 64}
	for _, operation := range []string{"publish 20", "publish", "reserve", "post", "claim", "ack"} {
		s.full = append(s.full, benchOperation{Operation: operation, PerSecond: 1000})
	}
	return s
}

func near(got int, want float64) bool { return math.Abs(float64(got)-want) <= 1 }

func TestAVerdictIsWhatTheModelSays(t *testing.T) {
	// 2.5 KeyPackages at 300 a second, half a reservation at 480, half a post,
	// 0.84 claims and half an acknowledgement at 1000: 11.2 ms for a user and day,
	// and half of a fifth of a day for all of them.
	perUser := 2.5/300 + 0.5/480 + (0.5+0.84+0.5)/1000
	byWriting := 86400 * 0.5 / (5 * perUser)
	s := measured()
	if v := s.verdict(); v.Limit != limitDisk || !near(v.Users, byWriting) || v.UsersBy[limitDisk] != v.Users {
		t.Errorf("got %s, %d users, want %.0f", v.Limit, v.Users, byWriting)
	}
	s.busy = 0.95
	if v := s.verdict(); v.Limit != limitProcessor || !near(v.Users, byWriting) {
		t.Errorf("with busy processors: %s, %d users", v.Limit, v.Users)
	}
	s.free = 100 << 30
	if v := s.verdict(); v.Limit != limitSpace || !near(v.Users, (100<<30)/(55_000*2.5*3)) || !near(int(v.File), (100<<30)/3) && v.File > (100<<30)/3 {
		t.Errorf("with 100 GiB: %s, %d users, %d bytes", v.Limit, v.Users, v.File)
	}
	s.machine = 256 << 20
	if v := s.verdict(); v.Limit != limitMemory || !near(v.Users, 28*(1<<20)/(0.1*memoryPerWait)) || !near(v.Waiting, float64(v.Users)/10) {
		t.Errorf("with 256 MiB: %s, %d users", v.Limit, v.Users)
	}
	s.machine, s.addressBits = 64<<30, 32
	if v := s.verdict(); v.Limit != limitAddresses || !near(v.Users, (2<<30)/(55_000*2.5)) {
		t.Errorf("on 32 bits: %s, %d users", v.Limit, v.Users)
	}
}

func TestTwiceTheRatesAreTwiceTheUsers(t *testing.T) {
	s := measured()
	before := s.verdict().Users
	for i := range s.full {
		s.full[i].PerSecond *= 2
	}
	if v := s.verdict(); !near(v.Users, 2*float64(before)) && !near(v.Users, 2*float64(before)+1) {
		t.Errorf("%d users, and before %d", v.Users, before)
	}
}

func TestWithoutAMeasurementThereIsNoVerdict(t *testing.T) {
	s := sizing{callers: 64}
	v := s.verdict()
	if text := v.text(&benchReport{}); v.Users != 0 || v.Limit != "" || !strings.HasPrefix(text, "Too little was measured") {
		t.Errorf("%d users, %q: %s", v.Users, v.Limit, text)
	}
	s = measured()
	s.full = s.full[:3]
	s.free, s.machine = 0, 0
	if v := s.verdict(); v.Users != 0 {
		t.Errorf("with half of the measurements: %d users", v.Users)
	}
}

func TestAdviceFitsTheDisk(t *testing.T) {
	for _, row := range []struct {
		what string
		set  func(*sizing)
		says string
	}{
		{"an SSD", func(*sizing) {}, "A disk that ends its writes sooner carries more"},
		{"an SD card", func(s *sizing) { s.disk.P50 = 0.03 }, "This disk takes 30.0 ms for a commit, as SD cards"},
		{"memory", func(s *sizing) { s.disk.P50 = 0.000005 }, "which no disk can do"},
		{"a disk that pauses", func(s *sizing) { s.disk.P99 = 0.8 }, "One commit in a hundred takes 800 ms or longer"},
		{"a busy machine", func(s *sizing) { s.load = 9 }, "a load of 9 on 2 processors"},
		{"a small disk", func(s *sizing) { s.free = 1 << 30 }, "1.0 GiB are free"},
		{"many who wait", func(s *sizing) {}, "At the peak 77,000 claims wait"},
	} {
		s := measured()
		row.set(&s)
		v := s.verdict()
		if !slices.ContainsFunc(v.Advice, func(a string) bool { return strings.Contains(a, row.says) }) {
			t.Errorf("%s: nothing says %q: %q", row.what, row.says, v.Advice)
		}
	}
	s := measured()
	for _, a := range s.verdict().Advice {
		if strings.Contains(a, "SD cards") || strings.Contains(a, "no disk can") || strings.Contains(a, "busy (") {
			t.Errorf("a good disk is told %q", a)
		}
	}
}

func TestNumbersAreRoughWhereTheyAreEstimates(t *testing.T) {
	for n, want := range map[int]string{0: "0", 7: "7", 99: "99", 123: "120", 98765: "98,000", 1234567: "1,200,000"} {
		if got := about(n); got != want {
			t.Errorf("%d is about %s, want %s", n, got, want)
		}
	}
}

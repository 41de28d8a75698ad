package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"welcomed/server"
)

// What a verdict assumes of users and of the store. docs/scale.md has the whole
// model; "make simulation" and "make bench-growth" print the figures.
const (
	// What an active user and all of their devices do in a day, in the year of
	// life that make simulation plays. Joins come in groups there, which share a
	// reservation and a Welcome; a verdict counts each as one by itself.
	publishedPerDay = 2.5  // KeyPackages, many in a request
	joinsPerDay     = 0.5  // a KeyPackage reserved, a Welcome posted and acknowledged
	claimsPerDay    = 0.84 // that give something or change something
	// writesPerDay is how many events of all kinds these are, in groups as they
	// come.
	writesPerDay = 1.6

	// peakFactor is how much livelier the liveliest hour is than the mean:
	// people who write messages sleep.
	peakFactor = 5
	// usedShare is how much of a machine the peak may take. What is left is for
	// the sweep, backups, a scrape, and waiting times that stay short.
	usedShare = 0.5
	// publishesWhenFull and reservesWhenFull are what is left of a rate with ten
	// million KeyPackages in the file: make bench-growth. The other events keep
	// theirs.
	publishesWhenFull = 0.30
	reservesWhenFull  = 0.48

	// payloadPerUser is what a user's KeyPackages, Welcomes and what is
	// remembered of them take, in bytes, and fileOverPayload how much larger the
	// file is than that after months of churn, at most.
	payloadPerUser  = 55_000
	fileOverPayload = 2.5
	// filesOnDisk is for how many files of that size there has to be room: the
	// database, a backup and a compaction.
	filesOnDisk = 3
	// mappedOn32Bits is how large a file can get where addresses have 32 bits.
	mappedOn32Bits = 2 << 30

	// waitingShare is how many users have a device that waits in a long-poll at
	// the peak: one in ten has the app open.
	waitingShare = 0.1
	// memoryPerWait is what such a claim takes: a connection with its buffers,
	// and two goroutines.
	memoryPerWait = memoryPerConnection
	// memoryShare is how much of the machine's memory may be taken. The rest is
	// for the pages of the file and for everything else.
	memoryShare = 0.5
)

// What disks take for a commit, and what is said about it.
const (
	unbelievable = 20 * time.Microsecond // no disk is as quick: nothing was written through
	slowCommit   = 10 * time.Millisecond // SD cards, USB sticks, hard disks
	longPause    = 250 * time.Millisecond
	busyShare    = 0.8 // of the processors: they end first
	// busyWithOthers is a load for each processor that bench alone does not make.
	busyWithOthers = 2
)

// What can end first.
const (
	limitDisk      = "disk"
	limitProcessor = "processor"
	limitMemory    = "memory"
	limitSpace     = "space"
	limitAddresses = "addresses"
)

// A sizing is what was measured, for a verdict. What is zero nobody knows.
type sizing struct {
	disk        *benchDisk
	full        []benchOperation // with many callers
	callers     int              // that is how many
	busy        float64          // share of the processors then
	load        float64          // of everything on the machine
	processors  int
	memory      int64 // bytes of this process, at most
	machine     int64 // bytes of memory of the machine
	free        int64 // bytes on the disk
	addressBits int
}

// A benchVerdict says how many users a machine carries.
type benchVerdict struct {
	Users       int             `json:"users"`
	Limit       string          `json:"limit"` // what ends first
	UsersBy     map[string]int  `json:"users_by_limit"`
	Callers     int             `json:"callers"`
	Busy        float64         `json:"processor_share"`
	Memory      int64           `json:"memory_bytes"`
	File        int64           `json:"file_bytes"`     // with that many users
	Waiting     int             `json:"waiting_claims"` // at the peak
	PeakEvents  float64         `json:"events_at_peak"` // per second
	Assumptions benchAssumption `json:"assumptions"`
	Advice      []string        `json:"advice"`
}

type benchAssumption struct {
	Published    float64 `json:"key_packages_published_per_user_and_day"`
	Joins        float64 `json:"joins_per_user_and_day"`
	Claims       float64 `json:"claims_per_user_and_day"`
	Writes       float64 `json:"writes_per_user_and_day"`
	Peak         float64 `json:"peak_factor"`
	Used         float64 `json:"used_share"`
	FilePerUser  float64 `json:"file_bytes_per_user"`
	WaitingShare float64 `json:"waiting_share"`
}

// verdict is arithmetic.
func (s sizing) verdict() *benchVerdict {
	v := &benchVerdict{UsersBy: map[string]int{}, Callers: s.callers, Busy: s.busy, Memory: s.memory, Advice: []string{},
		Assumptions: benchAssumption{publishedPerDay, joinsPerDay, claimsPerDay, writesPerDay,
			peakFactor, usedShare, payloadPerUser * fileOverPayload, waitingShare}}
	if perUser := s.secondsPerUser(); perUser > 0 {
		ends := limitDisk
		if s.busy >= busyShare {
			ends = limitProcessor
		}
		v.UsersBy[ends] = whole(day.Seconds() * usedShare / (peakFactor * perUser))
	}
	if s.machine > 0 {
		v.UsersBy[limitMemory] = whole((memoryShare*float64(s.machine) - float64(s.memory)) / (waitingShare * memoryPerWait))
	}
	if s.free > 0 {
		v.UsersBy[limitSpace] = whole(float64(s.free) / (payloadPerUser * fileOverPayload * filesOnDisk))
	}
	if s.addressBits == 32 {
		v.UsersBy[limitAddresses] = whole(mappedOn32Bits / (payloadPerUser * fileOverPayload))
	}
	v.Users = math.MaxInt
	for _, limit := range limits {
		if n, known := v.UsersBy[limit.name]; known && n < v.Users {
			v.Users, v.Limit = n, limit.name
		}
	}
	if v.Limit == "" {
		v.Users = 0
	}
	v.File = int64(float64(v.Users) * payloadPerUser * fileOverPayload)
	v.Waiting = int(float64(v.Users) * waitingShare)
	v.PeakEvents = float64(v.Users) * writesPerDay * peakFactor / day.Seconds()
	v.Advice = append(v.Advice, s.advice(v)...)
	return v
}

func whole(n float64) int { return int(max(0, min(n, math.MaxInt32))) }

// secondsPerUser is how long the machine works for a user in a day, all that it
// can do at once counted as one; 0 if a rate is missing.
func (s sizing) secondsPerUser() float64 {
	total := 0.0
	for _, event := range []struct {
		operation string
		perDay    float64
		whenFull  float64
	}{
		{"publish " + strconv.Itoa(machineBatch), publishedPerDay, publishesWhenFull},
		{"reserve", joinsPerDay, reservesWhenFull},
		{"post", joinsPerDay, 1},
		{"claim", claimsPerDay, 1},
		{"ack", joinsPerDay, 1},
	} {
		rate := rateOf(s.full, event.operation)
		if rate == 0 {
			return 0
		}
		total += event.perDay / (rate * event.whenFull)
	}
	return total
}

func rateOf(operations []benchOperation, name string) float64 {
	for _, o := range operations {
		if o.Operation == name {
			return o.PerSecond
		}
	}
	return 0
}

// advice is what is worth doing.
func (s sizing) advice(v *benchVerdict) (list []string) {
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if d := s.disk; d != nil {
		switch p50 := seconds(d.P50); {
		case p50 < unbelievable:
			say("A commit takes %s, which no disk can do: this is memory, or what is written waits in it. After a power cut things are lost that were acknowledged.", roughTime(d.P50))
		case p50 > slowCommit:
			say("This disk takes %s for a commit, as SD cards and hard disks do: whoever joins waits for a few of them. An SSD takes 0.2 to 2 ms.", roughTime(d.P50))
		}
		if seconds(d.P99) > longPause && d.P99 > 10*d.P50 {
			say("One commit in a hundred takes %s or longer: the disk pauses, or something else writes to it.", roughTime(d.P99))
		}
	}
	if s.load > busyWithOthers*float64(s.processors) && s.busy < busyShare {
		say("Other programs kept this machine busy (a load of %.0f on %d processors): measure again when it is quiet.", s.load, s.processors)
	}
	switch v.Limit {
	case limitProcessor:
		say("A faster processor carries more; with more of them only signatures are checked faster, because one at a time writes.")
	case limitDisk:
		say("A disk that ends its writes sooner carries more; a faster processor does not.")
	case limitMemory:
		say("Memory ends first: more of it carries more, and so do clients that ask now and then instead of waiting.")
	case limitSpace:
		say("%s are free: a larger disk carries more, and so do clients that keep fewer KeyPackages on the shelf.", roughSize(s.free))
	case limitAddresses:
		say("A file has at most %s on a system of 32 bits: use one of 64 bits, which every Pi since the 3 can.", roughSize(mappedOn32Bits))
	}
	if caps := server.DefaultCaps().Waits; v.Waiting > caps {
		say("At the peak %s claims wait: for that many raise --max-connections, which is %s, and the number of open files.", about(v.Waiting), thousands(caps))
	}
	return list
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// roughTime writes seconds as people say them.
func roughTime(s float64) string {
	if s < 1 {
		return ms(s) + " ms"
	}
	return strconv.FormatFloat(s, 'f', 1, 64) + " s"
}

// about writes a number with two digits that mean something.
func about(n int) string {
	step := 1
	for n/step >= 100 {
		step *= 10
	}
	return thousands(n / step * step)
}

// limits are what can end first, in words.
var limits = []struct{ name, short, long string }{
	{limitDisk, "the disk", "the disk, which has to end two writes for a commit"},
	{limitProcessor, "the processor", "the processor"},
	{limitMemory, "memory", "memory, for those who wait"},
	{limitSpace, "room", "room on the disk"},
	{limitAddresses, "an address of 32 bits", "the 32 bits of an address"},
}

// endsFirst is the limit in words.
func (v *benchVerdict) endsFirst() string {
	for _, l := range limits {
		if l.name == v.Limit {
			return l.long
		}
	}
	return ""
}

func (v *benchVerdict) text(r *benchReport) string {
	var b strings.Builder
	if v.Limit == "" {
		b.WriteString("Too little was measured to say how many users this machine carries.\n")
	} else {
		fmt.Fprintf(&b, "This machine carries about %s active users. What ends first is %s.\n", about(v.Users), v.endsFirst())
	}
	b.WriteByte('\n')
	for i, level := range r.Levels {
		level.say(&b, i == 0)
	}
	v.say(&b)
	fmt.Fprintf(&b, "\nAn active user joins a group every %.0f days, publishes %g KeyPackages and makes %g claims that change something in a day.\n",
		1/joinsPerDay, publishedPerDay, claimsPerDay)
	fmt.Fprintf(&b, "The evening is %d times the mean and may take %.0f %% of the machine; one user in %.0f waits in a long-poll then.\n",
		peakFactor, usedShare*100, 1/waitingShare)
	if len(v.Advice) > 0 {
		b.WriteByte('\n')
	}
	for _, advice := range v.Advice {
		fmt.Fprintf(&b, "- %s\n", advice)
	}
	return b.String()
}

// say writes what was measured at a number of callers; the disk, which is the
// same at each, with the first.
func (l *benchLevel) say(b *strings.Builder, first bool) {
	if d := l.Disk; d != nil && first {
		line(b, "Disk", "%s commits a second, each two fdatasyncs: %s in the middle, %s for one in a hundred",
			about(int(d.PerSecond)), roughTime(d.P50), roughTime(d.P99))
	}
	title := "One by one"
	if l.Callers > 1 {
		title = strconv.Itoa(l.Callers) + " at once"
	}
	line(b, title, "%s a second", each(l.Operations, func(o benchOperation) string { return about(int(o.PerSecond)) }))
	line(b, "", "in the middle: %s", each(l.Operations, func(o benchOperation) string { return roughTime(o.P50) }))
}

// each lists something of all operations. The request of many KeyPackages is
// counted in KeyPackages.
func each(operations []benchOperation, what func(benchOperation) string) string {
	var list []string
	for _, o := range operations {
		list = append(list, o.Operation+" "+what(o))
	}
	return strings.Join(list, ", ")
}

func line(b *strings.Builder, title, format string, args ...any) {
	fmt.Fprintf(b, "%-12s %s\n", title, fmt.Sprintf(format, args...))
}

func (v *benchVerdict) say(b *strings.Builder) {
	line(b, "Processor", "%.0f %% busy with %d at once, this command counted in", v.Busy*100, v.Callers)
	if v.Memory > 0 {
		line(b, "Memory", "%s at most, for the server and this command together", roughSize(v.Memory))
	}
	if v.Limit == "" {
		return
	}
	line(b, "At the peak", "%s events a second that write, and %s claims that wait", about(int(v.PeakEvents)), about(v.Waiting))
	line(b, "The file", "%s with that many users; with a backup and a compaction %d times as much", roughSize(v.File), filesOnDisk)
	var others []string
	for _, limit := range limits {
		if n, known := v.UsersBy[limit.name]; known && limit.name != v.Limit {
			others = append(others, fmt.Sprintf("%s would do for %s users", limit.short, about(n)))
		}
	}
	if len(others) > 0 {
		line(b, "By itself", "%s", strings.Join(others, ", "))
	}
}

package status

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/operator/codes"
	"welcomed/operator/history"
)

// A Level says how bad something is.
type Level string

const (
	OK       Level = "ok"
	Notice   Level = "notice"   // good to know; nobody has to act
	Warning  Level = "warning"  // somebody should act
	Critical Level = "critical" // joiners are lost, or will be soon
)

// A Problem is something that is not as it should be. Its code is part of the API.
type Problem struct {
	Code   string `json:"code"`
	Level  Level  `json:"level"`
	Title  string `json:"title"`  // a sentence without figures, so that it stays the same
	Detail string `json:"detail"` // the figures
	Advice string `json:"advice"` // what to do
}

// From which value on something is a problem.
const (
	probes        = 3       // in the last hour: fewer may be somebody who tries something out
	missesMany    = 5       // mismatches in the last hour, for the worst
	missesShare   = .05     // of all recipients, for the worst
	missesIgnored = .01     // of all recipients
	emptyShare    = .1      // of the devices
	slowCommit    = .25     // seconds, 99 of 100 commits
	stuckCommit   = 1.      // seconds, 99 of 100 commits
	commitsEnough = 20      // in the last minutes, to say so
	nearLimit     = .8      // of what the store may grow to
	atLimit       = .95     // of what the store may grow to
	keptBack      = 8 << 20 // or a quarter of it: what a store keeps for claims when it takes nothing new
	diskLow       = 512 << 20
	diskFull      = 64 << 20
	backupOld     = 2 * day
	certSoon      = 21 * day
	certNow       = 7 * day
	sweepsMissed  = 3
	refillTime    = hour // for devices to fill their shelves after a restore
)

// judge returns what is wrong, the worst first. Of two problems of the same level, the one that
// is first in this file comes first.
func judge(in Input, s *Status) []Problem {
	problems := []Problem{} // JSON: a list, also if it is empty
	for _, look := range []func(Input, *Status) *Problem{
		failed, stopping, silent, damaged, joinersLost, nothingHandedOut, shelvesEmpty, diskFilling, limitNear, commitsSlow,
		overdue, holdsOverdue, drained, webhookFails, devicesEmpty, certificate, backup, sweeps, noRoomForCopy, refused,
	} {
		if p := look(in, s); p != nil {
			problems = append(problems, *p)
		}
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return cmp.Compare(rank(a.Level), rank(b.Level)) })
	return problems
}

func rank(l Level) int { return slices.Index([]Level{Critical, Warning, Notice}, l) }

// summary returns the worst level and a sentence for all.
func summary(s *Status) (Level, string) {
	need := 0
	for _, p := range s.Problems {
		if p.Level != Notice {
			need++
		}
	}
	switch {
	case need > 1:
		return s.Problems[0].Level, s.Problems[0].Title + " " + more(need-1)
	case need == 1:
		return s.Problems[0].Level, s.Problems[0].Title
	case s.Holdings.Devices.All()+s.Holdings.Devices.Idle == 0:
		return OK, "All is well, and nothing is here yet."
	case len(s.Problems) > 0:
		return Notice, "All is well."
	}
	return OK, "All is well."
}

func more(n int) string {
	if n == 1 {
		return "One more thing needs you."
	}
	return Number(n) + " more things need you."
}

func failed(in Input, _ *Status) *Problem {
	if !in.Failed {
		return nil
	}
	return &Problem{"store_failed", Critical, "The store has failed, and the server stops.",
		"A write to the disk failed half-way. What was answered is safe; what was not can be repeated.",
		"Look at the end of the log for the reason, mend it (is the disk full, or broken?), then start the server again."}
}

func stopping(in Input, _ *Status) *Problem {
	if !in.Draining || in.Failed {
		return nil
	}
	return &Problem{"stopping", Critical, "The server is stopping.",
		"Requests under way are answered; new ones are not taken.",
		"Nothing, if you stopped it. It does not come back by itself unless something starts it again."}
}

// silent is about a store that does not serve, because of the clock or for another reason.
func silent(in Input, _ *Status) *Problem {
	err := cmp.Or(in.ReadyErr, in.StatsErr)
	switch {
	case err == nil || in.Failed:
		return nil
	case errors.Is(err, delivery.ErrClock):
		return &Problem{"clock_wrong", Critical, "The clock is wrong, and nothing is served.", sentence(err.Error()),
			"Set the clock (is NTP running?), or restart once with --trust-clock if it is right. Devices try again by themselves."}
	}
	return &Problem{"store_unavailable", Critical, "The store does not serve.", sentence(err.Error()),
		"Mend what it says; the log says more. If it goes on, restart the server and run “welcomed check”."}
}

// damaged is about data that is not what was written.
func damaged(_ Input, s *Status) *Problem {
	if s.LastHour.Damaged == 0 {
		return nil
	}
	return &Problem{"damage_found", Critical, "The disk or the memory changes what is kept.",
		fmt.Sprintf("%s found damaged and not handed out, %s.", plural(s.LastHour.Damaged, "KeyPackage or Welcome was", "KeyPackages and Welcomes were"), s.LastHour.Span()),
		"Back up now, to another disk. Then stop the server, run “welcomed check --repair”, and move to another disk or machine. The log names what was damaged."}
}

func joinersLost(_ Input, s *Status) *Problem {
	misses := s.LastHour.MismatchCount()
	all := misses + s.LastHour.Matched
	if misses == 0 || float64(misses) < missesIgnored*float64(all) {
		return nil
	}
	level, title := Warning, "Joiners are being turned away."
	switch {
	case misses >= missesMany && float64(misses) >= missesShare*float64(all):
		level = Critical
	case misses < probes && s.LastHour.lost() == 0:
		level, title = Notice, "Somebody was turned away."
	}
	worst := slices.MaxFunc(s.LastHour.mismatches, func(a, b history.Count) int { return cmp.Compare(a.N, b.N) })
	return &Problem{"joiners_turned_away", level, title,
		fmt.Sprintf("%s of %s could not be served %s, %s of them because %s.",
			Number(misses), plural(all, "recipient of a Welcome", "recipients of Welcomes"), s.LastHour.Span(), Number(worst.N), codes.OfMismatch(worst.Label).Means),
		upper(codes.OfMismatch(worst.Label).Do)}
}

func nothingHandedOut(_ Input, s *Status) *Problem {
	none, other := s.LastHour.Unserved(), s.LastHour.Reserved[string(delivery.DeviceIncompatible)]
	if none == 0 {
		return nil
	}
	all := none + s.LastHour.Reserved[string(delivery.DeviceReserved)] + s.LastHour.Reserved[string(delivery.DeviceLastResort)]
	detail := fmt.Sprintf("%s of %s found nothing on the shelf %s", Number(none), plural(all, "reservation", "reservations"), s.LastHour.Span())
	if other > 0 {
		detail += fmt.Sprintf(", %s of them only other cipher suites", Number(other))
	}
	if early := s.LastHour.Reserved[string(delivery.DeviceNotYetValid)]; early > 0 {
		detail += fmt.Sprintf(", %s of them only KeyPackages that are not yet valid", Number(early))
	}
	level, title := Warning, "Some people cannot be added now."
	if none < probes {
		level, title = Notice, "Somebody could not be added."
	}
	return &Problem{"nothing_to_hand_out", level, title, detail + ".",
		"Have the devices of these people come online and publish. Clients should publish when “stock.low” is true, and keep a last-resort KeyPackage here."}
}

func shelvesEmpty(in Input, s *Status) *Problem {
	if s.Holdings == nil || !stillEmpty(in, s.Holdings) {
		return nil
	}
	d := s.Holdings.Devices
	return &Problem{"shelves_empty_after_restore", Warning, "Shelves are still empty after the restore.",
		fmt.Sprintf("The store was a copy, opened %s ago; %s of %s have nothing on their shelf.", Ago(in.Now.Sub(s.Holdings.RestoredAt)), Number(d.Empty), plural(d.All(), "device", "devices")),
		"Devices refill their shelves when they are online next: the application should tell them to publish."}
}

// stillEmpty reports whether more devices have no KeyPackage than have one.
func stillEmpty(in Input, h *Holdings) bool {
	return !h.RestoredAt.IsZero() && in.Now.Sub(h.RestoredAt) >= refillTime && 2*h.Devices.Empty > h.Devices.All()
}

func devicesEmpty(in Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.Devices.Empty == 0 || stillEmpty(in, s.Holdings) {
		return nil
	}
	d, level := s.Holdings.Devices, Notice
	if float64(d.Empty) >= emptyShare*float64(d.All()) {
		level = Warning
	}
	return &Problem{"devices_empty", level, "Devices are out of KeyPackages.",
		fmt.Sprintf("%s of %s have none left to be handed out but a last-resort one, if they have that.", Number(d.Empty), plural(d.All(), "device", "devices")),
		"They publish when they are online next. A device that does not come back is counted apart after 90 days, and stays here until its owner removes it, or --forget-devices-after does."}
}

func overdue(_ Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.Overdue == 0 {
		return nil
	}
	return &Problem{"welcomes_overdue", Warning, "Welcomes are overdue.",
		fmt.Sprintf("%s still, although the device has claimed since.", plural(s.Holdings.Overdue, "Welcome waits", "Welcomes wait")),
		"The device asks for others only (“refs”), or does not ask again while “more” is true. Ask below what became of its user."}
}

func holdsOverdue(in Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.HoldsOverdue == 0 {
		return nil
	}
	return &Problem{"holds_overdue", Warning, "Held Welcomes were not released.",
		fmt.Sprintf("%s been held for more than %s.", plural(s.Holdings.HoldsOverdue, "Welcome has", "Welcomes have"), Ago(in.HoldOverdue)),
		"The poster's client stopped between its post and its Commit. It has to release or cancel them when it starts again; until then the joiners wait."}
}

func diskFilling(_ Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.DiskFree < 0 || s.Holdings.DiskFree >= diskLow {
		return nil
	}
	level := Warning
	if s.Holdings.DiskFree < diskFull {
		level = Critical
	}
	return &Problem{"disk_filling", level, "The disk is nearly full.",
		fmt.Sprintf("%s are left on it.", Bytes(s.Holdings.DiskFree)),
		"Make room. When it is full nothing can be published or posted. Claims have room of their own, and nothing is lost."}
}

func limitNear(_ Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.LimitBytes <= 0 {
		return nil
	}
	limit := s.Holdings.LimitBytes - min(keptBack, s.Holdings.LimitBytes/4)
	share := float64(s.Holdings.UsedBytes) / float64(limit)
	if share < nearLimit {
		return nil
	}
	level := Warning
	if share >= atLimit {
		level = Critical
	}
	return &Problem{"limit_near", level, "The store is near its limit.",
		fmt.Sprintf("%s of the %s that --max-size allows are in use, and the last %s are kept for claims.",
			Bytes(s.Holdings.UsedBytes), Bytes(s.Holdings.LimitBytes), Bytes(s.Holdings.LimitBytes-limit)),
		"Allow more with --max-size, if the disk has it. Where there is no room left, nothing can be published or posted."}
}

func noRoomForCopy(_ Input, s *Status) *Problem {
	if s.Holdings == nil || s.Holdings.DiskFree < diskLow || s.Holdings.DiskFree >= s.Holdings.UsedBytes {
		return nil
	}
	return &Problem{"no_room_for_copy", Notice, "There is no room for a copy of the store on its disk.",
		fmt.Sprintf("It has %s, and the disk has %s left.", Bytes(s.Holdings.UsedBytes), Bytes(s.Holdings.DiskFree)),
		"Back up to another disk. An upgrade that changes the file, and “welcomed compact”, need that room here."}
}

func commitsSlow(_ Input, s *Status) *Problem {
	if s.Commits.Count < commitsEnough || s.Commits.P99 < slowCommit {
		return nil
	}
	level := Warning
	if s.Commits.P99 >= stuckCommit {
		level = Critical
	}
	return &Problem{"commits_slow", level, "The disk is slow.",
		fmt.Sprintf("One commit in a hundred takes more than %s, of %s in the last %s.", Seconds(s.Commits.P99), plural(s.Commits.Count, "commit", "commits"), Ago(duration(s.Commits.Seconds))),
		"See what else writes to it. An SD card that has become slow is about to break: back up now, and move to another one or to an SSD."}
}

func drained(_ Input, s *Status) *Problem {
	n := s.LastHour.OverBudget["target"]
	if n == 0 {
		return nil
	}
	return &Problem{"drain", Warning, "Somebody takes many KeyPackages of one user.",
		fmt.Sprintf("%s beyond the budget of the user asked for, %s.", plural(n, "request was", "requests were"), s.LastHour.Span()),
		"Look in the log of what stands in front of the server for who asks so often, and revoke that token. Others may still be added with last-resort KeyPackages."}
}

func refused(_ Input, s *Status) *Problem {
	if s.LastHour.Refused == 0 {
		return nil
	}
	return &Problem{"requests_refused", Notice, "Requests were refused because clients took too much at a time.",
		fmt.Sprintf("%s %s.", plural(s.LastHour.Refused, "request or connection", "requests and connections"), s.LastHour.Span()),
		"/metrics says by which cap, in welcomed_refused_requests_total. If these are your users, docs/settings.md names the flag that a cap follows; some caps are fixed."}
}

func certificate(in Input, _ *Status) *Problem {
	left := in.CertExpires.Sub(in.Now)
	if in.CertExpires.IsZero() || left >= certSoon {
		return nil
	}
	p := &Problem{"certificate", Notice, "The TLS certificate expires soon.",
		fmt.Sprintf("It does in %s.", Ago(left)), "Renew it; the server reads the files again by itself."}
	if left < certNow {
		p.Level = Warning
	}
	if left <= 0 {
		p.Level, p.Title, p.Detail = Critical, "The TLS certificate has expired.", fmt.Sprintf("It did %s ago.", Ago(-left))
	}
	return p
}

func backup(in Input, s *Status) *Problem {
	switch {
	case s.Holdings == nil || s.Holdings.Devices.All()+s.Holdings.Devices.Idle == 0:
		return nil
	case s.Holdings.BackedUpAt.IsZero():
		return &Problem{"backup_never", Warning, "There is no backup.",
			"None was ever made of this store.", "Make one with “welcomed backup -o FILE”, and have the server make them with --backup-dir."}
	case in.Now.Sub(s.Holdings.BackedUpAt) < oldBackup(in.BackupEvery):
		return nil
	}
	return &Problem{"backup_old", Warning, "The last backup is old.",
		fmt.Sprintf("It was made %s ago.", Ago(in.Now.Sub(s.Holdings.BackedUpAt))),
		"See in the log why there is none since, then make one with “welcomed backup -o FILE”."}
}

// oldBackup returns the age from which a backup is old. One backup that the server makes by
// itself may fail.
func oldBackup(every time.Duration) time.Duration {
	if every == 0 {
		return backupOld
	}
	return 2*every + hour
}

// sweeps is about a clock that has jumped ahead: the server serves, but ends nothing until it
// trusts the clock again.
func sweeps(in Input, s *Status) *Problem {
	last := in.SweptAt
	if last.IsZero() {
		last = in.History.Started()
	}
	if in.SweepEvery == 0 || in.ReadyErr != nil || min(in.Now.Sub(last), in.History.Uptime()) < sweepsMissed*in.SweepEvery+time.Minute {
		return nil
	}
	return &Problem{"sweep_stopped", Warning, "Nothing is ended any more: the clock is not trusted, or the sweep fails.",
		fmt.Sprintf("The last sweep that ended well was %s ago.", Ago(in.Now.Sub(last))),
		"The log says which. If the clock is right although it has jumped ahead, wait an hour, or start with --trust-clock."}
}

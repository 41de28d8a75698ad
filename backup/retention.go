package backup

import "time"

// A Retention says which backups stay: the newest Newest, and of each of the last
// Days days that have one, the last one of that day. Days are those of UTC.
type Retention struct {
	Newest int // at least 1
	Days   int
}

// expired returns which of all, the oldest first, may go. Those that are said to
// be made later than now stay, and count for nothing: the clock was wrong when
// they were made, or is wrong now.
func (r Retention) expired(all []Backup, now time.Time) (gone []Backup) {
	kept, days, day := 0, 0, ""
	for i := len(all) - 1; i >= 0; i-- {
		b := all[i]
		if b.At.After(now) {
			continue
		}
		of := b.At.UTC().Format(time.DateOnly)
		lastOfDay := of != day
		if lastOfDay {
			day = of
			days++
		}
		switch {
		case kept < max(1, r.Newest), lastOfDay && days <= r.Days:
			kept++
		default:
			gone = append(gone, b)
		}
	}
	return gone
}

package status

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The coordinates of a plot. A plot is stretched to the width of the page.
const (
	columnWidth = 5
	barWidth    = 4
	plotHeight  = 100
)

// A Plot is a picture of one thing over the last hours. It also says in words what it shows,
// for people who do not see it.
type Plot struct {
	ID, Title string
	Shapes    []Shape
	Legend    []Shape // those that are not said by the title
	Top       string  // what the upper edge stands for
	Middle    string  // and the middle; empty: nothing is said of it
	Bottom    string
	Start     string // when the left edge is, or until when there is no data
	Unknown   int    // width of the part before the start
	Now       string // the last value
	Text      string // all of it in words
	Lines     []float64
}

// A Shape is a path in a plot; the class says how it looks, the name what it is.
type Shape struct{ Class, Name, Path string }

// Width returns how wide a plot is in its own coordinates.
func (p Plot) Width() int { return Columns * columnWidth }

// Height returns how high a plot is.
func (p Plot) Height() int { return plotHeight }

// plots returns the plots of a status.
func plots(s *Status) []Plot {
	h := s.History
	per := "per " + perColumn(h.ColumnSeconds)
	return []Plot{
		bars(h, "claims", "Welcomes claimed", per, layer{"main", "first time", less(h.Claims, h.Redelivered)}, layer{"second", "again", h.Redelivered}),
		bars(h, "mismatches", "Joiners turned away", per, layer{"bad", "", h.Mismatches}),
		bars(h, "reservations", "KeyPackages reserved", per, layer{"main", "", less(h.Reserved, h.LastResort)},
			layer{"second", "last resort", h.LastResort}, layer{"bad", "none there", h.Unserved}),
		latency(h),
		line(h, "available", "KeyPackages on the shelf", h.Available),
		line(h, "pending", "Welcomes waiting", h.Pending),
	}
}

func perColumn(seconds float64) string {
	switch seconds {
	case 1:
		return "second"
	case 60:
		return "minute"
	}
	return Ago(duration(seconds))
}

// Span says how long all columns are together.
func (h History) Span() string { return Ago(duration(h.ColumnSeconds * Columns)) }

func newPlot(h History, id, title string) Plot {
	p := Plot{ID: id, Title: title, Start: h.Start.Format(h.clock())}
	for _, known := range h.Claims {
		if known != nil {
			break
		}
		p.Unknown += columnWidth
	}
	if p.Unknown > 0 {
		since := h.Start.Add(duration(h.ColumnSeconds * float64(p.Unknown/columnWidth)))
		p.Start = "no data before " + since.Format(h.clock())
	}
	return p
}

// clock is the format of times in the history.
func (h History) clock() string {
	if h.ColumnSeconds < 60 {
		return time.TimeOnly
	}
	return "15:04"
}

// A layer is one of the values that a column stacks on each other.
type layer struct {
	class, name string
	values      []*uint64
}

// bars stacks what was counted in each column.
func bars(h History, id, title, per string, layers ...layer) Plot {
	p := newPlot(h, id, title+", "+per)
	heights := make([]uint64, Columns)
	for _, l := range layers {
		for i, n := range l.values {
			heights[i] += value(n)
		}
	}
	most, all := uint64(0), uint64(0)
	for _, n := range heights {
		most, all = max(most, n), all+n
	}
	top := niceTop(float64(most))
	below := make([]uint64, Columns)
	for _, l := range layers {
		s := Shape{Class: l.class, Name: l.name}
		var path strings.Builder
		for i, n := range l.values {
			if value(n) > 0 {
				lower, upper := y(float64(below[i])/top), y(float64(below[i]+value(n))/top)
				fmt.Fprintf(&path, "M%d %sv%sh%dv%sz", i*columnWidth, number(lower), number(upper-lower), barWidth, number(lower-upper))
				below[i] += value(n)
			}
		}
		s.Path = path.String()
		p.Shapes = append(p.Shapes, s)
		if l.name != "" {
			p.Legend = append(p.Legend, s)
		}
	}
	p.Top, p.Bottom, p.Lines = Number(uint64(top)), "0", []float64{0}
	p.Now = Number(all)
	p.Text = fmt.Sprintf("%s, in the last %s: %s altogether, at most %s in one column, %s in the current one.",
		p.Title, h.Span(), Number(all), Number(most), Number(heights[Columns-1]))
	return p
}

// line draws a level from column to column.
func line(h History, id, title string, values []*int) Plot {
	p := newPlot(h, id, title)
	most, last, known := 0, 0, false
	least := math.MaxInt
	for _, v := range values {
		if v != nil {
			most, least, last, known = max(most, *v), min(least, *v), *v, true
		}
	}
	top := niceTop(float64(most))
	var path strings.Builder
	drawing := false
	for i, v := range values {
		switch {
		case v == nil:
			drawing = false
			continue
		case !drawing:
			fmt.Fprintf(&path, "M%d %s", i*columnWidth, number(y(float64(*v)/top)))
		default:
			fmt.Fprintf(&path, "V%s", number(y(float64(*v)/top)))
		}
		fmt.Fprintf(&path, "h%d", columnWidth)
		drawing = true
	}
	p.Shapes = []Shape{{"level", "", path.String()}}
	p.Top, p.Bottom, p.Lines = Number(int(top)), "0", []float64{0}
	p.Now, p.Text = "–", title+": not known yet."
	if known {
		p.Now = Number(last)
		p.Text = fmt.Sprintf("%s, in the last %s: now %s, between %s and %s.", title, h.Span(), Number(last), Number(least), Number(most))
	}
	return p
}

// latency shows for each column how long half of the commits took at most, and how long 99 of
// 100 took at most, by powers of ten.
func latency(h History) Plot {
	p := newPlot(h, "commits", "Commits")
	low, high := math.Inf(1), math.Inf(-1)
	last := -1
	for i, t := range h.CommitP99 {
		if t != nil {
			low, high, last = min(low, *h.CommitP50[i]), max(high, *t), i
		}
	}
	if last < 0 {
		p.Now, p.Text = "–", "Commits: there was none yet in the last "+h.Span()+"."
		return p
	}
	bottom, top := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	top = max(top, bottom+2)
	at := func(seconds float64) float64 { return y((math.Log10(seconds) - bottom) / (top - bottom)) }
	var spread, median strings.Builder
	for i, slow := range h.CommitP99 {
		if slow == nil {
			continue
		}
		half := *h.CommitP50[i]
		fmt.Fprintf(&spread, "M%d %sV%sh%dV%sz", i*columnWidth, number(at(half)), number(at(*slow)), barWidth, number(at(half)))
		fmt.Fprintf(&median, "M%d %sh%d", i*columnWidth, number(at(half)), barWidth)
	}
	p.Shapes = []Shape{{"spread", "99 of 100 within", spread.String()}, {"median", "half within", median.String()}}
	p.Legend = []Shape{p.Shapes[1], p.Shapes[0]}
	for decade := bottom + 1; decade < top; decade++ {
		p.Lines = append(p.Lines, y((decade-bottom)/(top-bottom)))
	}
	p.Lines = append(p.Lines, 0)
	p.Top, p.Bottom = Seconds(math.Pow(10, top)), Seconds(math.Pow(10, bottom))
	p.Now = Seconds(*h.CommitP99[last])
	p.Text = fmt.Sprintf("How long commits took, in the last %s: half were done within %s at best, and 99 of 100 within %s in the slowest column; half within %s and 99 of 100 within %s in the last one.",
		h.Span(), Seconds(low), Seconds(high), Seconds(*h.CommitP50[last]), p.Now)
	return p
}

// y returns the coordinate of a share of the height.
func y(share float64) float64 { return plotHeight * (1 - share) }

func number(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

// niceTop returns the smallest of 1, 2, 4, 5, 8, 10, 20… that is at least most.
func niceTop(most float64) float64 {
	for step := 1.0; ; step *= 10 {
		for _, k := range []float64{1, 2, 4, 5, 8} {
			if k*step >= most {
				return k * step
			}
		}
	}
}

func value(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// less returns the differences of two columns.
func less(all, part []*uint64) []*uint64 {
	rest := make([]*uint64, len(all))
	for i := range all {
		n := value(all[i]) - value(part[i])
		rest[i] = &n
	}
	return rest
}

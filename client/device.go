package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

// A Device does what the app on a device has to do: it claims Welcomes and has the
// application join with each once, it keeps KeyPackages on the server, and it compares what
// the server believes with the private keys that are there. Set its fields before the first
// use.
//
// [Device.Run] does so until its context ends, and [Device.Visit] once, for an app that was
// woken. Both may be called at any time, and the process may end at any time: nothing is
// lost by it, and nothing is joined twice.
type Device struct {
	// Client asks for the device. Give it the device's own token: it ends when the device is
	// removed.
	Client *Client
	ID     DeviceID
	Keys   KeyStore

	// Join joins a group with a Welcome and saves the group. What it returns decides what
	// the server is told:
	//
	//   - nil: the group is saved. In the same write, Join has saved the Welcome's ID, so
	//     that Keys.Joined finds it; if it was there already, Join has done nothing. The
	//     Welcome is acknowledged.
	//   - a [*CannotJoin]: the device can never join with this Welcome. It is rejected.
	//   - any other error: not now. The Welcome stays on the server, and Join is called again
	//     later, and at the next Visit.
	//
	// The ID has to be in the same write because an MLS library deletes the private key as
	// it joins. After a crash before the acknowledgement, the Welcome is claimed again, and
	// by then it looks to the library like one whose key was lost.
	Join func(ctx context.Context, w Welcome) error

	// CipherSuites are those of which KeyPackages are kept.
	CipherSuites []uint16

	// When fewer than Low KeyPackages of a cipher suite are on the shelf, it is filled up to
	// High, or to more, up to Most, if so many were used lately that High would not last
	// for Lasts twice. 0: 20, 50, 200 and a week.
	Low, High, Most int
	Lasts           time.Duration
	// LastResortOnly keeps a last-resort KeyPackage of each suite, and no others. Without
	// it, one is kept besides the others.
	LastResortOnly bool

	// Wait is how long one claim waits on the server where there is no stream of events; 0: 25
	// seconds, as many proxies end what is silent for 30. If a proxy ends it sooner, shorter
	// waits are made.
	Wait time.Duration
	// Every is how often the private keys are compared with the inventory; 0: once a day,
	// and whenever the stock is low.
	Every time.Duration
	// Log is told what goes wrong and what is done about it; nil: nobody is.
	Log *slog.Logger

	mu       sync.Mutex
	later    map[string]*postponed // by the id of the Welcome
	stock    Stock                 // as the last claim has shown it
	due      time.Time             // when the shelf is looked after next
	failures int                   // of looking after the shelf, in a row
	failed   error                 // the last of them
	cut      cutting               // what ends claims that wait
	compared bool                  // server and key store were in step once, in this process
	filled   map[uint16]filling    // by suite
}

// A postponed is a Welcome with which the application could not join yet.
type postponed struct {
	tries int
	until time.Time
	asked bool // since then
}

// A cutting is how long a claim may wait, where something on the way has ended a longer one.
type cutting struct {
	wait  time.Duration
	until time.Time // then a longer one is tried again
}

// ErrShared is returned by [Device.Run] when another installation of the app uses the id of
// this device: each withdraws the KeyPackages of the other. Take another device id for this
// installation.
var ErrShared = errors.New("another installation uses the id of this device")

// Run looks after the device until ctx is done, and returns its cause, or until the server
// says that this caller may not act for the device: then the error is an [*Error] with
// status 401 or 403, and the user has to sign in. It goes on after everything else that goes
// wrong.
func (d *Device) Run(ctx context.Context) error {
	if err := d.whole(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	events := d.listen(ctx)
	defer func() {
		cancel(nil)
		<-events.ended
	}()
	wait, failures := time.Duration(0), 0
	for {
		if wait > 0 && events.live.Load() {
			d.sleepUntilWoken(ctx, events)
			wait = 0
		}
		more, err := d.round(ctx, wait)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case final(err):
			return err
		case err != nil:
			failures++
			d.log().Warn("claim failed; it is repeated", "error", err)
			if err := d.Client.sleep(ctx, delay(err, failures)); err != nil {
				return err
			}
			wait = 0
		default:
			failures, wait = 0, cmp.Or(d.Wait, 25*time.Second)
			if more {
				wait = 0
			}
		}
	}
}

// Visit does once what is to be done now: it claims what is there, joins, and looks after
// the shelf. The error says what was left: a Welcome with which the application could not
// join yet is there at the next visit.
func (d *Device) Visit(ctx context.Context) error {
	if err := d.whole(); err != nil {
		return err
	}
	d.mu.Lock()
	d.later, d.due = nil, time.Time{} // all of it is tried now
	d.mu.Unlock()
	for {
		more, err := d.round(ctx, 0)
		if err != nil {
			return err
		}
		if !more {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.later) > 0 {
		return errors.Join(d.failed, fmt.Errorf("%d Welcomes could not be joined with yet", len(d.later)))
	}
	return d.failed
}

// whole returns an error if something of the device is missing.
func (d *Device) whole() error {
	if d.Client == nil || d.Keys == nil || d.Join == nil || len(d.CipherSuites) == 0 {
		return errors.New("client.Device needs Client, Keys, Join and CipherSuites")
	}
	return nil
}

// final reports whether an error ends Run: who asks may not.
func final(err error) bool {
	if errors.Is(err, ErrShared) {
		return true
	}
	e, ok := errors.AsType[*Error](err)
	return ok && e.Code != "" && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden)
}

// round claims, takes what it is given, and looks after the shelf if that is due. There is
// more if another round will find something at once.
func (d *Device) round(ctx context.Context, wait time.Duration) (more bool, err error) {
	claimed, err := d.next(ctx, wait)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range claimed.Welcomes {
		if err := d.take(ctx, w); err != nil {
			if final(err) || ctx.Err() != nil {
				return false, err
			}
			d.postpone(w.ID, err)
		}
	}
	if claimed.More && len(claimed.Welcomes) > 0 {
		return true, nil
	}
	if d.low(claimed.Stock) && claimed.Stock != d.stock {
		d.due = time.Time{}
	}
	d.stock = claimed.Stock
	return false, d.lookAfterShelf(ctx)
}

// low reports whether there may be too few KeyPackages of a cipher suite.
func (d *Device) low(s Stock) bool {
	return s.Low || !d.LastResortOnly && s.Available+s.NotYetValid < d.lowMark()*len(d.CipherSuites)
}

// next returns what waits for the device, but for what was postponed. If there is nothing,
// the server waits, but not beyond the time at which something is to be done here.
func (d *Device) next(ctx context.Context, wait time.Duration) (Claimed, error) {
	what := d.claiming(wait)
	if what.Wait == 0 {
		return d.Client.Claim(ctx, d.ID, what)
	}
	once := *d.Client
	once.Attempts = 1 // what is cut off is no failure, and Run repeats it
	begun := time.Now()
	claimed, err := once.Claim(ctx, d.ID, what)
	if took := time.Since(begun); wasCut(err) && took > what.Wait/4 && ctx.Err() == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.cut = cutting{min(took, what.Wait) * 3 / 4, time.Now().Add(time.Hour)}
		d.log().Info("something on the way has ended a claim that waited; the next ones wait for less", "waited", took, "next", d.cut.wait)
		return Claimed{Stock: d.stock}, nil
	}
	return claimed, err
}

// wasCut reports whether a request failed on its way.
func wasCut(err error) bool {
	if err == nil {
		return false
	}
	e, answered := errors.AsType[*Error](err)
	return !answered || e.Code == "" && (e.Status == http.StatusGatewayTimeout || e.Status == http.StatusBadGateway)
}

// claiming returns what is claimed next.
func (d *Device) claiming(wait time.Duration) Claiming {
	d.mu.Lock()
	defer d.mu.Unlock()
	what, now, until := Claiming{Wait: wait}, time.Now(), d.due
	if d.cut.until.After(now) {
		what.Wait = min(wait, d.cut.wait)
	}
	for id, p := range d.later {
		switch {
		case p.until.After(now):
			what.Skip = append(what.Skip, id)
		case p.asked: // and the server did not give it again: it is settled, or has ended
			delete(d.later, id)
			continue
		default:
			p.asked = true
		}
		if p.until.Before(until) {
			until = p.until
		}
	}
	what.Wait = max(0, min(what.Wait, until.Sub(now)).Round(time.Millisecond))
	return what
}

// take has the application join with a Welcome that was claimed, and tells the server what
// came of it. On an error the Welcome is as it was.
func (d *Device) take(ctx context.Context, w Welcome) error {
	cannot, err := d.join(ctx, w)
	if err != nil {
		return err
	}
	if cannot == nil {
		err = d.Client.Acknowledge(ctx, d.ID, w.ID, w.Ref)
	} else {
		reason, detail := cannot.told()
		d.log().Warn("a Welcome is rejected", "id", w.ID, "reason", reason, "detail", detail)
		err = d.Client.Reject(ctx, d.ID, w.ID, w.Ref, reason, detail)
	}
	if code := CodeOf(err); code == CodeNotFound || code == CodeNotDelivered {
		err = nil // the server has forgotten that it gave it: if it still has it, it gives it again
	}
	if err != nil {
		return err
	}
	delete(d.later, w.ID)
	return d.used(ctx, w.Ref)
}

// join returns nil, nil if the device is in the group of a Welcome, or why it never can be.
// A Welcome that it has joined with is never tried again, and never rejected: whether it was
// joined is looked up before it is tried, and again before it is given up, as another
// process of the application may have joined in between, which uses up the private key.
func (d *Device) join(ctx context.Context, w Welcome) (*CannotJoin, error) {
	if joined, err := d.Keys.Joined(ctx, w.ID); joined || err != nil {
		return nil, err
	}
	if w.RatchetTree == nil && w.RatchetTreeSize > 0 {
		tree, err := d.Client.RatchetTree(ctx, d.ID, w.ID)
		if err != nil && CodeOf(err) != CodeDamaged { // if it is, the application decides what it can do without
			return nil, err
		}
		w.RatchetTree = tree
	}
	err := d.Join(ctx, w)
	if err == nil {
		return nil, nil
	}
	cannot, ok := errors.AsType[*CannotJoin](err)
	if !ok {
		return nil, fmt.Errorf("join: %v", err) // not wrapped: what it asks others is no answer of this server
	}
	if joined, err := d.Keys.Joined(ctx, w.ID); joined || err != nil {
		return nil, err
	}
	return cannot, nil
}

// used deletes the KeyPackage of a Welcome that is settled, unless others may come for it.
func (d *Device) used(ctx context.Context, ref string) error {
	held, err := d.Keys.KeyPackages(ctx)
	if err != nil {
		return err
	}
	for _, k := range held {
		switch {
		case k.Ref != ref:
		case k.LastResort:
			d.due = time.Time{} // it was handed out: another one takes its place
		default:
			return d.Keys.Delete(ctx, []string{ref})
		}
	}
	return nil
}

const (
	firstPostponed = 5 * time.Second
	mostPostponed  = 10 * time.Minute
)

// postpone has a Welcome tried again after a while that doubles.
func (d *Device) postpone(id string, why error) {
	p := d.later[id]
	if p == nil {
		p = new(postponed)
		if d.later == nil {
			d.later = map[string]*postponed{}
		}
		d.later[id] = p
	}
	after := min(firstPostponed<<min(p.tries, 10), mostPostponed)
	p.tries, p.until, p.asked = p.tries+1, time.Now().Add(after), false
	d.log().Warn("a Welcome is tried again later", "id", id, "after", after, "error", why)
}

func (d *Device) log() *slog.Logger {
	if d.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return d.Log
}

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
)

func (d *Device) lowMark() int { return cmp.Or(d.Low, 20) }

// firstLook is after how long the shelf is looked after again if that went wrong, the first
// time.
const firstLook = 15 * time.Second

// lookAfterShelf tends the shelf if that is due. What goes wrong is tried again later:
// Welcomes are claimed meanwhile.
func (d *Device) lookAfterShelf(ctx context.Context) error {
	if time.Now().Before(d.due) {
		return nil
	}
	err := d.tend(ctx)
	if final(err) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		after := min(firstLook<<min(d.failures, 10), time.Hour)
		if e, ok := errors.AsType[*Error](err); ok {
			after = max(after, e.RetryAfter)
		}
		after += jitter(after / 4)
		d.failures, d.failed, d.due = d.failures+1, err, time.Now().Add(after)
		d.log().Warn("the shelf could not be looked after", "error", err, "again", after)
		return nil
	}
	every := cmp.Or(d.Every, 24*time.Hour)
	d.failures, d.failed, d.due = 0, nil, time.Now().Add(every-jitter(every/10))
	return nil
}

// tend compares what the server believes with what is held, and fills the shelf. If nothing
// is to be done, it costs a request of constant size, and one for each last resort.
func (d *Device) tend(ctx context.Context) error {
	held, err := d.Keys.KeyPackages(ctx)
	if err != nil {
		return err
	}
	compared, err := d.Client.Compare(ctx, d.ID, Digest(refsOf(held)))
	if err != nil {
		return err
	}
	d.compared = d.compared || compared.InSync
	if compared.InSync && !d.lacking(compared.Counts, held) {
		if spare, err := d.spare(ctx, held); spare || err != nil {
			return err
		}
	}
	inventory, err := d.reconcile(ctx)
	if err != nil {
		return err
	}
	return d.fill(ctx, inventory)
}

// lacking reports whether there may be too few of a cipher suite.
func (d *Device) lacking(counts []Counts, held []HeldKeyPackage) bool {
	return !d.LastResortOnly && slices.ContainsFunc(d.CipherSuites, func(suite uint16) bool {
		there := onShelf(counts, suite)
		if newestLastResort(held, suite) != nil {
			there-- // one is on the shelf at most
		}
		return there < d.lowMark()
	})
}

// onShelf returns how many of a suite are on the shelf, with those of last resort.
func onShelf(counts []Counts, suite uint16) int {
	for _, c := range counts {
		if c.CipherSuite == suite {
			return c.Available + c.NotYetValid
		}
	}
	return 0
}

func newestLastResort(held []HeldKeyPackage, suite uint16) (newest *HeldKeyPackage) {
	for i, k := range held {
		if k.LastResort && k.CipherSuite == suite && (newest == nil || k.MadeAt.After(newest.MadeAt)) {
			newest = &held[i]
		}
	}
	return newest
}

// spare reports whether a last resort of each suite is on the shelf and was handed out to
// nobody.
func (d *Device) spare(ctx context.Context, held []HeldKeyPackage) (bool, error) {
	for _, suite := range d.CipherSuites {
		newest := newestLastResort(held, suite)
		if newest == nil {
			return false, nil
		}
		state, err := d.Client.KeyPackage(ctx, newest.Ref)
		if err != nil || state.State != "available" || !state.HandedOutAt.IsZero() {
			return false, err
		}
	}
	return true, nil
}

// reconcile tells the server what is held, and publishes what the server lacks. It returns
// the inventory after that.
//
// The inventory is read before the key store. A KeyPackage that another process publishes
// meanwhile is then either in both, or the inventory has changed when the server is told.
func (d *Device) reconcile(ctx context.Context) (Inventory, error) {
	told := false
	for range 5 {
		inventory, err := d.Client.Inventory(ctx, d.ID)
		if err != nil {
			return inventory, err
		}
		held, err := d.Keys.KeyPackages(ctx)
		if err != nil {
			return inventory, err
		}
		// What differs after the server was told are Welcomes that are not settled.
		if told || inventory.Digest == Digest(refsOf(held)) {
			return inventory, nil
		}
		err = d.tell(ctx, inventory.Digest, held)
		switch {
		case err == nil:
			told = true
		case CodeOf(err) != CodeInventoryChanged:
			return inventory, err
		}
	}
	return Inventory{}, errors.New("the inventory changes all the time")
}

// tell tells the server what is held.
func (d *Device) tell(ctx context.Context, digest string, held []HeldKeyPackage) error {
	synced, err := d.Client.Sync(ctx, d.ID, digest, refsOf(held))
	if err != nil {
		return err
	}
	if len(synced.Withdrawn) > 0 {
		d.log().Warn("KeyPackages whose private keys are not here were withdrawn", "number", len(synced.Withdrawn), "fresh", synced.WithdrawnFresh)
	}
	if d.compared && synced.WithdrawnFresh > 0 {
		return ErrShared // this process has seen that all was there, and has lost nothing since
	}
	d.compared = true
	if len(synced.Spent) > 0 {
		if err := d.Keys.Delete(ctx, synced.Spent); err != nil {
			return err
		}
	}
	unknown := slices.DeleteFunc(held, func(k HeldKeyPackage) bool { return !slices.Contains(synced.Unknown, k.Ref) })
	for len(unknown) > 0 { // one request has one epoch
		epoch := unknown[0].RestoreEpoch
		n := slices.IndexFunc(unknown, func(k HeldKeyPackage) bool { return k.RestoreEpoch != epoch })
		if n < 0 {
			n = len(unknown)
		}
		n = min(n, batch)
		if _, err := d.publish(ctx, epoch, unknown[:n]); err != nil && len(invalidOf(err)) == 0 {
			return err
		}
		unknown = unknown[n:]
	}
	return nil
}

// batch is how many KeyPackages are published in one request: fewer than servers allow.
const batch = 50

// publish publishes what is in the key store. What the server does not have and never takes
// can be in no Welcome: it is deleted, the others are published, and the error is returned.
func (d *Device) publish(ctx context.Context, epoch string, list []HeldKeyPackage) (Publications, error) {
	published, err := d.Client.Publish(ctx, d.ID, epoch, bytesOf(list)...)
	refused := invalidOf(err)
	if len(refused) > 0 {
		var good []HeldKeyPackage
		var gone []string
		for i, k := range list {
			switch bad := find(refused, i); {
			case bad == nil:
				good = append(good, k)
			case bad.Code != CodeNotYours && bad.Code != CodeNotYetValid: // which may pass
				gone = append(gone, k.Ref)
			}
		}
		d.log().Error("the server refuses KeyPackages", "number", len(refused), "first", refused[0].Code, "detail", refused[0].Detail)
		if failed := d.Keys.Delete(ctx, gone); failed != nil {
			return published, failed
		}
		if len(good) > 0 && len(good) < len(list) {
			published, again := d.publish(ctx, epoch, good)
			return published, cmp.Or(again, err)
		}
	}
	if err != nil {
		return published, err
	}
	for i, k := range published.KeyPackages {
		if i < len(list) && k.Ref != list[i].Ref {
			return published, fmt.Errorf("the key store calls a KeyPackage %q, and its ref is %s: RefHash over the bare KeyPackage (RFC 9420 §5.2)", list[i].Ref, k.Ref)
		}
	}
	return published, nil
}

func invalidOf(err error) []InvalidKeyPackage {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Invalid
	}
	return nil
}

func find(refused []InvalidKeyPackage, index int) *InvalidKeyPackage {
	for i := range refused {
		if refused[i].Index == index {
			return &refused[i]
		}
	}
	return nil
}

// fill publishes what the shelf lacks.
func (d *Device) fill(ctx context.Context, inventory Inventory) error {
	for _, suite := range d.CipherSuites {
		there := onShelf(inventory.Counts, suite)
		spare := false
		for _, k := range inventory.LastResort {
			if k.CipherSuite == suite {
				there--
				spare = spare || k.HandedOutAt.IsZero()
			}
		}
		if !d.LastResortOnly && there < d.lowMark() {
			level, err := d.level(ctx, suite, there)
			if err != nil {
				return err
			}
			if err := d.make(ctx, Order{Count: level - there, CipherSuite: suite, RestoreEpoch: inventory.RestoreEpoch}); err != nil {
				return err
			}
			d.filled[suite] = filling{level, time.Now()}
		}
		if !spare {
			if err := d.make(ctx, Order{Count: 1, CipherSuite: suite, LastResort: true, RestoreEpoch: inventory.RestoreEpoch}); err != nil {
				return err
			}
		}
	}
	return nil
}

// A filling is when the shelf of a suite was filled, and up to where.
type filling struct {
	level int
	at    time.Time
}

// level returns how many KeyPackages of a suite are to be on the shelf, of which some are
// there: as many as last for twice the time of Lasts, at the rate at which they were used
// since the shelf was filled.
func (d *Device) level(ctx context.Context, suite uint16, there int) (int, error) {
	least, lasts := max(cmp.Or(d.High, 50), d.lowMark()), cmp.Or(d.Lasts, 7*24*time.Hour)
	if d.filled == nil {
		d.filled = map[uint16]filling{}
	}
	last, known := d.filled[suite]
	if !known { // by this process: then when was it?
		held, err := d.Keys.KeyPackages(ctx)
		if err != nil {
			return 0, err
		}
		for _, k := range held {
			if k.CipherSuite == suite && !k.LastResort && k.MadeAt.After(last.at) {
				last = filling{least, k.MadeAt}
			}
		}
		if last.at.IsZero() {
			return least, nil
		}
	}
	since := max(time.Since(last.at), time.Minute)
	used := max(last.level-there, 0)
	wanted := 2 * float64(used) * float64(lasts) / float64(since)
	return int(min(max(math.Ceil(wanted), float64(least)), float64(max(cmp.Or(d.Most, 200), least)))), nil
}

// make fills an order and publishes it.
func (d *Device) make(ctx context.Context, order Order) error {
	for all, left := order.Count, order.Count; left > 0; {
		order.Count = min(left, batch)
		made, err := d.Keys.Make(ctx, order)
		if err != nil || len(made) == 0 {
			return err
		}
		published, err := d.publish(ctx, order.RestoreEpoch, made)
		if e, ok := errors.AsType[*Error](err); ok && e.Code == CodeStockFull && e.Attempts == 1 {
			if err := d.fit(ctx, order.RestoreEpoch, made, e); err != nil || e.Room > 0 || left < all {
				return err
			}
			return e
		}
		if err != nil {
			return err
		}
		if status := published.KeyPackages[0].Status; status == PublishedTooShortLived {
			return fmt.Errorf("new KeyPackages are %s: they have to live for longer", status)
		}
		if published.RestoreEpoch == order.RestoreEpoch || !refusedAfterRestore(published) {
			left -= len(made)
		}
		order.RestoreEpoch = published.RestoreEpoch // the server was restored just now: these are made after that
	}
	return nil
}

func refusedAfterRestore(p Publications) bool {
	return slices.ContainsFunc(p.KeyPackages, func(k PublishedKeyPackage) bool { return k.Status == PublishedNotAfterRestore })
}

// fit publishes as many new KeyPackages as there is room for. The others never were on the
// server, and are deleted.
func (d *Device) fit(ctx context.Context, epoch string, made []HeldKeyPackage, full *Error) error {
	room := min(full.Room, len(made))
	if err := d.Keys.Delete(ctx, refsOf(made[room:])); err != nil {
		return err
	}
	if room == 0 {
		return nil
	}
	_, err := d.publish(ctx, epoch, made[:room])
	return err
}

func refsOf(held []HeldKeyPackage) []string {
	refs := make([]string, len(held))
	for i, k := range held {
		refs[i] = k.Ref
	}
	return refs
}

func bytesOf(list []HeldKeyPackage) [][]byte {
	all := make([][]byte, len(list))
	for i, k := range list {
		all[i] = k.Bytes
	}
	return all
}

// told returns reason and detail as the server takes them.
func (e *CannotJoin) told() (Reason, string) {
	reason := e.Reason
	if !slices.Contains([]Reason{ReasonNoMatchingKeyPackage, ReasonUndecryptable, ReasonDeclined, ReasonUnsupported}, reason) {
		reason = ReasonOther
	}
	detail := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, e.Detail))
	return reason, string(detail[:min(len(detail), 256)])
}

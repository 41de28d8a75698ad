package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/mls"
)

const (
	// importLines and importBytes bound a transaction of an import.
	importLines = 2000
	importBytes = 4 << 20
)

// An Importer fills a new store by events, so that all counters and timers are right. While it
// runs, the store's clock has to stand still at the latest time that the archive has seen.
type Importer struct {
	Header    *archive.Header
	Unchecked bool // KeyPackages that are no objects are taken, in tests
	Lines     int  // of a transaction, at most

	ctx       context.Context
	store     *Store
	batch     []archive.Line
	bytes     int
	importing // as of the last transaction
}

// importing says how far an import has come. Each transaction works on a copy, because it may
// have to begin again.
type importing struct {
	owner    uint64        // of the KeyPackages that come
	search   initKeySearch // where its init_keys go
	added    []initKey     // of this transaction, not written yet
	arriving welcome       // whose payload and recipients come
	left     [2]int        // bytes of its encrypted_group_info and of its ratchet_tree
	rest     []byte        // of a payload that is kept in pieces, less than one
	piece    uint32
}

// Import begins an import into a store that is new.
func (s *Store) Import(ctx context.Context, header *archive.Header) (*Importer, error) {
	im := &Importer{ctx: ctx, store: s, Header: header, Lines: importLines}
	if err := s.UseUserEncoding(ctx, header.UserEncoding); err != nil {
		return nil, err
	}
	return im, s.run(ctx, func(t *Txn) error {
		if !header.RestoredAt.IsZero() {
			t.put(KindMeta, keyRestoredAt, appendNumber(nil, Millis(header.RestoredAt)))
		}
		if header.RestoredOrder != 0 {
			t.put(KindMeta, keyRestoredOrder, numberKey(header.RestoredOrder))
		}
		if header.RestoreEpoch != "" {
			t.put(KindMeta, keyRestoreEpoch, []byte(header.RestoreEpoch))
		}
		return nil
	})
}

// Add takes the next line of the archive. It may write the record later.
func (im *Importer) Add(line archive.Line) error {
	im.batch = append(im.batch, line)
	if im.bytes += line.Size; len(im.batch) < im.Lines && im.bytes < importBytes {
		return nil
	}
	return im.apply(func(*Txn) {})
}

// apply writes the records that were gathered, and then calls more in the same transaction.
func (im *Importer) apply(more func(*Txn)) error {
	var now importing
	err := im.store.run(im.ctx, func(t *Txn) error {
		now, t.quiet = im.importing, true
		i := &importTxn{Txn: t, importing: &now, head: im.Header, unchecked: im.Unchecked}
		for _, line := range im.batch {
			if err := i.record(line.Record); err != nil {
				return archive.At(line.Number, err)
			}
		}
		i.writeInitKeys()
		more(t)
		t.writes++ // also if that was all that there is
		return nil
	})
	if err != nil {
		return err
	}
	im.importing, im.batch, im.bytes = now, im.batch[:0], 0
	return nil
}

// End writes the rest. From then on numbers go on where those of the old store ended. It also
// decides whether the shelves are retired.
func (im *Importer) End() error {
	return im.apply(func(t *Txn) {
		t.raise(im.Header.Order)
		t.forgetEvents(t.rows.Last()) // they stay behind
		if im.Header.Shelves != archive.Keep {
			t.put(KindMeta, keyRestored, []byte{1})
		}
	})
}

// An importTxn is a transaction of an import.
type importTxn struct {
	*Txn
	*importing
	head      *archive.Header
	unchecked bool
}

func (i *importTxn) record(r archive.Record) error {
	switch r := r.(type) {
	case *archive.Device:
		return i.addDevice(r)
	case *archive.KeyPackage:
		return i.addKeyPackage(r)
	case *archive.Welcome:
		return i.beginWelcome(r)
	case *archive.Data:
		i.addData(r)
	case *archive.Recipient:
		return i.addRecipient(r)
	case *archive.Token:
		return i.addToken(r)
	case *archive.Reservation:
		return i.addReservation(r)
	}
	return nil
}

func (i *importTxn) addDevice(r *archive.Device) error {
	i.writeInitKeys()
	names, name := kindNames, nameKey(r.ID())
	if r.Removed {
		names, name = kindGone, goneKey(r.ID(), r.Life)
	}
	if i.get(names, name) != nil {
		return fmt.Errorf("device %s is here twice", r.ID())
	}
	d := &device{
		number: i.next(), id: r.ID(), life: r.Life, level: stockNone, seenAt: r.SeenAt, claimed: r.ClaimOrder,
		removed: r.Removed, removedAt: r.RemovedAt, onlySince: r.LastResortsOnlySince, idle: r.Idle,
	}
	copy(d.replaced[:], r.Replaced)
	i.put(names, name, numberKey(d.number))
	i.keep(d)
	i.changed(d)
	if d.removed {
		d.tombstones.at(later(i.now, i.keepRemoved(d)))
	}
	for _, h := range r.Hints {
		i.putHint(d.number, channel(h.Channel), &hint{kind: eventKind(h.Kind), id: h.ID, at: h.At, due: h.Due, attempts: h.Attempt})
	}
	i.owner, i.search = d.number, initKeySearch{}
	return nil
}

// deviceOf returns the device with that id that had life others before it under the same id.
func (i *importTxn) deviceOf(id delivery.DeviceID, life uint64) *device {
	if d := i.device(id); d != nil && d.life == life {
		return d
	}
	if number := i.get(kindGone, goneKey(id, life)); number != nil {
		return i.deviceByNumber(readNumber(number))
	}
	return nil
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// recipientToCome stands in the row of a KeyPackage until the Welcome that matched it is read.
// No Welcome has the number 0. It stays there if that Welcome is forgotten.
var recipientToCome = recipientKey{index: 1}

func (i *importTxn) addKeyPackage(r *archive.KeyPackage) error {
	if !i.unchecked {
		if err := r.Verify(); err != nil {
			return fmt.Errorf("the KeyPackage %x: %w", r.Ref, err)
		}
	}
	d, prefix := i.deviceByNumber(i.owner), []byte(r.Ref[:refPrefix])
	if i.get(kindRefs, prefix) != nil {
		return fmt.Errorf("the KeyPackage %x is here twice", r.Ref)
	}
	k := &keyPackage{
		keyPackageKey: keyPackageKey{i.next(), shelfOf(r.Suite, r.LastResort)},
		rec: delivery.KeyPackageRecord{
			Ref: mls.KeyPackageRef(r.Ref), Suite: r.Suite, LastResort: r.LastResort, State: delivery.KeyPackageState(r.State),
			Lifetime: mls.Lifetime{NotBefore: r.NotBefore, NotAfter: r.NotAfter}, PublishedAt: r.PublishedAt, ShelfUntil: r.ShelfUntil,
			MatchableUntil: r.MatchableUntil, ReservedBy: r.ReservedBy, ReservedAt: r.ReservedAt, Abandoned: r.Abandoned,
			HandedOutAt: r.HandedOutAt, EndedAt: r.EndedAt, Open: r.Open, BeforeRestore: r.BeforeRestore, Early: r.NotYetValid, Reservation: delivery.ReservationID(r.Reservation),
			Returned: delivery.Return{
				Reservation: delivery.ReservationID(r.GivenBack), By: r.GivenBackBy, At: r.GivenBackAt, Reason: r.GivenBackReason,
			},
		},
		payload: len(r.Bytes) > 0,
		closed:  r.ClosedAt,
	}
	if r.Open > 0 {
		k.recipient = recipientToCome
	}
	if k.payload {
		i.put(kindKeyPackages, numberKey(k.number), r.Bytes)
	}
	i.put(kindRefs, prefix, append(appendNumber(numberKey(d.number), k.number), byte(k.shelf)))
	i.saveKeyPackage(d, k)
	i.added = append(i.added, initKey{k.number, initHash(r.InitKey)})
	return nil
}

func (i *importTxn) writeInitKeys() {
	if len(i.added) > 0 {
		i.noteInitKeys(&device{number: i.owner}, &i.search, i.added)
	}
	i.added = nil
}

func (i *importTxn) beginWelcome(r *archive.Welcome) error {
	if i.get(kindWelcomeIDs, r.ID[:welcomeIDPrefix]) != nil {
		return fmt.Errorf("the Welcome %s is here twice", r.ID)
	}
	w := welcome{
		number: i.next(), id: delivery.WelcomeID(r.ID), poster: r.PostedBy, suite: r.Suite, recipients: r.Recipients,
		hold: r.Hold, requireAll: r.RequireAll, postedAt: r.PostedAt, treeSize: r.Tree, context: r.Context,
		apart: r.GroupInfo > payloadPiece, infoSize: r.GroupInfo,
		postedState: postedState{holdCounted: r.HoldOverdue, releasedAt: r.ReleasedAt, cancelledAt: r.CancelledAt, lastEnd: r.EndedAt},
	}
	if r.TreeHash != (archive.Hash{}) {
		w.treeHash = r.TreeHash[:]
	}
	i.arriving, i.left, i.rest, i.piece = w, [2]int{r.GroupInfo, r.Tree}, nil, 0
	i.put(kindWelcomeIDs, w.id[:welcomeIDPrefix], numberKey(w.number))
	return nil
}

// addData keeps a payload in pieces, as putPayload does, or in the header if it is small.
func (i *importTxn) addData(r *archive.Data) {
	part, left := byte(partTree), &i.left[1]
	if r.Of == archive.GroupInfo {
		part, left = partGroupInfo, &i.left[0]
	}
	if part == partGroupInfo && !i.arriving.apart {
		i.arriving.groupInfo = slices.Concat(i.arriving.groupInfo, r.Bytes)
		return
	}
	i.rest = slices.Concat(i.rest, r.Bytes)
	for len(i.rest) >= payloadPiece {
		i.putPiece(part, payloadPiece)
	}
	if *left -= len(r.Bytes); *left > 0 {
		return
	}
	if len(i.rest) > 0 {
		i.putPiece(part, len(i.rest))
	}
	i.piece = 0
}

func (i *importTxn) putPiece(part byte, size int) {
	i.Txn.putPiece(i.arriving.number, part, i.piece, i.rest[:size:size])
	i.rest = i.rest[size:]
	i.piece++
}

func (i *importTxn) addRecipient(r *archive.Recipient) error {
	w := &i.arriving
	if r.Index == 0 {
		i.putHeader(w)
	}
	key := recipientKey{w.number, uint32(r.Index)}
	row := &postedRecipient{verdict: r.Status, ref: mls.KeyPackageRef(r.Ref), by: delivery.WelcomeID(r.By), secret: r.Secret}
	if r.Matched {
		row.verdict = ""
	}
	if id := r.ID(); id != (delivery.DeviceID{}) {
		d := i.deviceOf(id, r.Life)
		if d == nil {
			return fmt.Errorf("recipient %d of Welcome %s is device %s, which is not here", r.Index, w.id, id)
		}
		row.device = d.number
		if r.Matched {
			if err := i.addMatched(d, key, r); err != nil {
				return err
			}
		}
	}
	i.putPostedRecipient(key, row)
	if r.Index == w.recipients-1 {
		return i.endWelcome(w)
	}
	return nil
}

func (i *importTxn) addMatched(d *device, key recipientKey, r *archive.Recipient) error {
	m := &recipient{recipientKey: key, size: r.Size, order: r.Order, rec: delivery.RecipientRecord{
		State: r.State(), ReleasedAt: r.ReleasedAt, DeliveredAt: r.DeliveredAt, WithheldAt: r.WithheldAt, EndedAt: r.EndedAt,
		Until: r.Until, Reason: r.Reason, Detail: r.Detail,
	}}
	if !m.rec.State.Ended() {
		i.arriving.open++
	}
	if !r.Forgotten {
		owner, k := i.refOwner(mls.KeyPackageRef(r.Ref))
		if k == nil || owner.number != d.number {
			return fmt.Errorf("recipient %d of Welcome %s: device %s has no KeyPackage %x", r.Index, i.arriving.id, d.id, r.Ref)
		}
		if !m.rec.State.Ended() && !k.rec.LastResort && !r.Last {
			return fmt.Errorf("recipient %d of Welcome %s waits for KeyPackage %x, which another Welcome has matched since", r.Index, i.arriving.id, r.Ref)
		}
		m.kp = k.keyPackageKey
		if r.Last {
			k.recipient = key
			i.saveKeyPackage(d, k)
		}
	}
	i.saveRecipient(d, m)
	return nil
}

// endWelcome writes the state of a Welcome whose records have all been read. If a device may
// still claim it, it has to be what was posted.
func (i *importTxn) endWelcome(w *welcome) error {
	if w.open > 0 {
		if faults := i.faultsOf(w); len(faults) > 0 {
			return faults[0]
		}
	}
	if w.holdCounted {
		i.counted.holdsOver++
	}
	row := numberKey(w.number)
	switch {
	case w.open > 0:
		if w.held() && !w.holdCounted {
			i.setTimer(timerHold, w.postedAt.Add(i.limits.HoldOverdue), row)
		}
	case len(w.groupInfo) > 0 || w.apart:
		w.endedAt = w.lastEnd
		i.setTimer(timerEnded, time.Time{}, row)
	default:
		w.endedAt = w.lastEnd
		i.setTimer(timerForget, w.endedAt.Add(i.limits.OutcomesKept), row)
	}
	i.saveWelcome(w)
	w.groupInfo = nil
	return nil
}

func (i *importTxn) addToken(r *archive.Token) error {
	if i.get(kindTokens, []byte(r.ID)) != nil {
		return fmt.Errorf("token %s is here twice", r.ID)
	}
	i.putToken(delivery.Token{
		ID: r.ID, Hash: r.Hash, Owner: r.Owner(), ReadOnly: r.ReadOnly, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt, Expires: r.ExpiresAt,
	})
	return nil
}

func (i *importTxn) addReservation(r *archive.Reservation) error {
	if i.get(kindIdempotency, r.Key[:]) != nil {
		return fmt.Errorf("reservation %x is here twice", r.Key)
	}
	i.putReservation(idempotency{key: r.Key[:], request: fingerprint(r.Request)}, r.ExpiresAt, delivery.Reservation{ID: delivery.ReservationID(r.Reservation), Suite: r.Suite, Users: reservedUsers(r.Users)})
	return nil
}

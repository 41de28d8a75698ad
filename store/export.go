package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"welcomed/delivery"
	"welcomed/delivery/archive"
	"welcomed/mls"
	"welcomed/progress"
)

// Export writes what a transaction sees to emit. final means that the store will not be served
// any more. progress may be nil.
func (t *Txn) Export(ctx context.Context, final bool, p *progress.Progress, emit func(archive.Record) error) error {
	e := &exporter{Txn: t, ctx: ctx, emit: emit, progress: p}
	return Recovering(func() error { return e.all(final) })
}

// An exporter writes what a transaction sees. It keeps the rows of one device or of one Welcome
// in memory.
type exporter struct {
	*Txn
	ctx      context.Context
	emit     func(archive.Record) error
	progress *progress.Progress
}

func (e *exporter) all(final bool) error {
	total, counted := int64(0), e.rows.Totals()
	for _, n := range counted.keyPackages {
		total += n
	}
	for _, n := range counted.welcomes {
		total += n
	}
	e.progress.Begin("exporting", progress.Items, total)
	for _, part := range []func() error{func() error { return e.header(final) }, e.allDevices, e.allWelcomes, e.allTokens, e.allReservations} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) header(final bool) error {
	h := &archive.Header{SeenAt: e.seen, Shelves: archive.Retire, Order: e.rows.Last()}
	if final && e.get(KindMeta, keyRestored) == nil {
		h.Shelves = archive.Keep
	}
	h.RestoredAt, h.RestoreEpoch = e.restoredAt(), string(e.get(KindMeta, keyRestoreEpoch))
	if at := e.noted(keyAhead); at.After(h.SeenAt) {
		h.DatedAt = at
	}
	if v := e.get(KindMeta, keyRestoredOrder); v != nil {
		h.RestoredOrder = readNumber(v)
	}
	h.UserEncoding = string(e.get(KindMeta, keyUserEncoding))
	return e.emit(h)
}

// goOn returns why the export has to stop, or nil. It also forgets the devices that were
// loaded: there may be millions.
func (e *exporter) goOn() error {
	e.devices = nil
	return e.ctx.Err()
}

func (e *exporter) allDevices() error {
	for number := uint64(0); ; {
		var found bool
		for key := range e.scan(kindDevices, nil, numberKey(number+1)) {
			number, found = readNumber(key), true
			break
		}
		if !found {
			return nil
		}
		if err := errors.Join(e.goOn(), e.exportDevice(number)); err != nil {
			return err
		}
	}
}

func (e *exporter) exportDevice(number uint64) error {
	d := e.deviceByNumber(number)
	if d == nil {
		return wrong("device %d is missing", number)
	}
	r := &archive.Device{
		User: d.id.User, Device: d.id.Name, Life: d.life, SeenAt: d.seenAt, ClaimOrder: d.claimed, Removed: d.removed,
		LastResortsOnlySince: d.onlySince, Idle: d.idle && !d.removed,
	}
	r.RemovedAt, _ = e.lastRemovalOf(d)
	if d.replaced != [8]uint64{} {
		r.Replaced = slices.Clone(d.replaced[:])
	}
	r.Hints = e.hintsAbout(d)
	if err := e.emit(r); err != nil {
		return err
	}
	hashes := make(map[uint64]initHash)
	for key, row := range e.scan(kindDevices, d.key(rowInitKeys), nil) {
		for _, entry := range decodeInitKeys(key, row) {
			hashes[entry.kp] = entry.hash
		}
	}
	for _, at := range e.keyPackageRows(d) {
		row := e.get(kindDevices, at.key)
		hash, known := hashes[at.number]
		if !known {
			return wrong("a KeyPackage of device %s has no init_key", d.id)
		}
		if err := e.exportKeyPackage(d, e.gone(d, keyPackageAt(at.key, row)), hash); err != nil {
			return err
		}
	}
	return nil
}

// hintsAbout returns the hints about a device. One that is being sent may be sent again.
func (e *exporter) hintsAbout(d *device) (hints []archive.Hint) {
	for i := range channels {
		for _, kind := range delivery.HintKinds {
			if h := e.hintAt(d.number, &channels[i], eventKind(kind)); h != nil && !d.removed {
				hints = append(hints, archive.Hint{Channel: channels[i].name, Kind: kind, ID: h.id, At: h.at, Due: h.due, Attempt: h.attempts})
			}
		}
	}
	return hints
}

// A keyPackagePlace says where the row of a KeyPackage is.
type keyPackagePlace struct {
	number uint64
	key    []byte
}

// keyPackageRows returns the device's KeyPackages, oldest first.
func (e *exporter) keyPackageRows(d *device) (places []keyPackagePlace) {
	note := func(prefix, from []byte, last byte) {
		for key := range e.scan(kindDevices, prefix, from) {
			kind := key[numberBytes]
			if kind > last {
				return
			}
			key := bytes.Clone(key)
			number := key[len(key)-numberBytes:] // behind a mark if it was given back
			places = append(places, keyPackagePlace{readNumber(number), key})
		}
	}
	note(d.key(rowKeyPackage), nil, rowKeyPackage)
	note(d.key(rowTombstone), nil, rowTombstone)
	note(numberKey(d.number), d.key(rowShelf), rowShelf|0x0f)
	slices.SortFunc(places, func(a, b keyPackagePlace) int { return cmp.Compare(a.number, b.number) })
	return places
}

func (e *exporter) exportKeyPackage(d *device, k *keyPackage, hash initHash) error {
	e.progress.Add(1)
	r := k.rec
	record := &archive.KeyPackage{
		User: d.id.User, Device: d.id.Name, Ref: archive.Ref(r.Ref), Suite: r.Suite, LastResort: r.LastResort,
		State: archive.KeyPackageState(r.State), NotBefore: r.Lifetime.NotBefore, NotAfter: r.Lifetime.NotAfter,
		PublishedAt: r.PublishedAt, ShelfUntil: r.ShelfUntil, MatchableUntil: r.MatchableUntil,
		ReservedBy: r.ReservedBy, ReservedAt: r.ReservedAt, Abandoned: r.Abandoned, HandedOutAt: r.HandedOutAt,
		EndedAt: r.EndedAt, ClosedAt: k.closed, Open: r.Open, BeforeRestore: r.BeforeRestore, NotYetValid: r.Early, InitKey: archive.Start(hash),
		Reservation: uint64(r.Reservation), GivenBack: uint64(r.Returned.Reservation), GivenBackBy: r.Returned.By,
		GivenBackAt: r.Returned.At, GivenBackReason: r.Returned.Reason,
	}
	if k.payload {
		record.Bytes = cloneBytes(e.get(kindKeyPackages, numberKey(k.number)))
	}
	return e.emit(record)
}

func (e *exporter) allWelcomes() error {
	var err error
	for key := range e.scan(kindPosted, nil, nil) {
		if err = errors.Join(e.goOn(), e.exportWelcome(readNumber(key))); err != nil {
			break
		}
	}
	return err
}

func (e *exporter) exportWelcome(number uint64) error {
	w := e.welcome(number)
	if w == nil {
		return wrong("a Welcome is missing")
	}
	if e.isForgotten(number) {
		return nil
	}
	r := &archive.Welcome{
		ID: archive.Hash(w.id), PostedBy: w.poster, Suite: w.suite, Recipients: w.recipients, Hold: w.hold, RequireAll: w.requireAll,
		PostedAt: w.postedAt, ReleasedAt: w.releasedAt, CancelledAt: w.cancelledAt, EndedAt: w.lastEnd, HoldOverdue: w.holdCounted,
		Context: cloneBytes(w.context), GroupInfo: len(w.groupInfo), Tree: w.treeSize,
	}
	copy(r.TreeHash[:], w.treeHash)
	open := 0
	if w.open > 0 {
		// What a device got has ended with it, whether or not a sweep has written it.
		e.eachRecipient(number, func(_ *device, m *recipient) {
			if !m.rec.State.Ended() {
				open++
			} else if m.rec.EndedAt.After(r.EndedAt) {
				r.EndedAt = m.rec.EndedAt
			}
		})
		r.HoldOverdue = r.HoldOverdue && open > 0
	}
	switch {
	case open == 0: // nobody is given it any more, and it may have ended because of damage
		r.GroupInfo = 0
	case w.apart:
		r.GroupInfo = e.payloadSize(number, partGroupInfo)
	}
	if err := e.emit(r); err != nil {
		return err
	}
	if r.GroupInfo > 0 {
		if err := e.exportPayload(w); err != nil {
			return err
		}
	}
	var err error
	e.eachPostedRecipient(number, func(key recipientKey, r *postedRecipient) bool {
		if open == 0 {
			r.secret = nil
		}
		err = e.exportRecipient(w, key, r)
		return err == nil
	})
	return err
}

func (e *exporter) payloadSize(number uint64, part byte) (n int) {
	e.eachPiece(number, part, func(data []byte, _ bool) bool {
		n += len(data)
		return true
	})
	return n
}

func (e *exporter) exportPayload(w *welcome) error {
	emit := func(of archive.Part, data []byte) error {
		return e.emit(&archive.Data{Welcome: archive.Hash(w.id), Of: of, Bytes: data})
	}
	for data := range slices.Chunk(w.groupInfo, archive.PieceBytes) {
		if err := emit(archive.GroupInfo, bytes.Clone(data)); err != nil {
			return err
		}
	}
	if err := e.pieces(w.number, partGroupInfo, func(data []byte) error { return emit(archive.GroupInfo, data) }); err != nil {
		return err
	}
	return e.pieces(w.number, partTree, func(data []byte) error { return emit(archive.Tree, data) })
}

// pieces joins the small pieces in which a payload is kept, and emits larger ones.
func (e *exporter) pieces(number uint64, part byte, emit func([]byte) error) error {
	var gathered []byte
	var err error
	e.eachPiece(number, part, func(data []byte, _ bool) bool {
		if len(gathered)+len(data) > archive.PieceBytes {
			err, gathered = emit(gathered), nil
		}
		gathered = append(gathered, data...)
		return err == nil
	})
	if err != nil || len(gathered) == 0 {
		return err
	}
	return emit(gathered)
}

func (e *exporter) exportRecipient(w *welcome, key recipientKey, r *postedRecipient) error {
	e.progress.Add(1)
	record := &archive.Recipient{Welcome: archive.Hash(w.id), Index: int(key.index), Ref: archive.Ref(r.ref), Status: r.verdict, By: archive.Hash(r.by)}
	d := e.deviceByNumber(r.device)
	if d != nil {
		record.User, record.Device, record.Life = d.id.User, d.id.Name, d.life
	}
	if r.verdict != "" {
		return e.emit(record)
	}
	if d == nil {
		return wrong("a recipient of Welcome %s has no device", w.id)
	}
	m := e.recipient(d, key)
	if m == nil {
		return wrong("a recipient of Welcome %s has no state", w.id)
	}
	record.Matched, record.Status, record.Secret = true, m.rec.State.Status(), cloneBytes(r.secret)
	k := e.keyPackage(d, m.kp)
	record.Forgotten, record.Last = k == nil, k != nil && k.recipient == key
	record.Size, record.Order = m.size, m.order
	record.ReleasedAt, record.DeliveredAt, record.WithheldAt = m.rec.ReleasedAt, m.rec.DeliveredAt, m.rec.WithheldAt
	record.EndedAt, record.Until, record.Reason, record.Detail = m.rec.EndedAt, m.rec.Until, m.rec.Reason, m.rec.Detail
	return e.emit(record)
}

func (e *exporter) allTokens() error {
	for id, row := range e.scan(kindTokens, nil, nil) {
		t := decodeToken(string(id), row)
		err := e.emit(&archive.Token{
			ID: t.ID, Hash: t.Hash, User: t.Owner.User, Device: t.Owner.Device, Service: t.Owner.Service,
			ReadOnly: t.ReadOnly, CreatedBy: t.CreatedBy, CreatedAt: t.CreatedAt, ExpiresAt: t.Expires,
		})
		if err = errors.Join(e.goOn(), err); err != nil {
			return err
		}
	}
	return nil
}

func (e *exporter) allReservations() error {
	for key, row := range e.scan(kindIdempotency, nil, nil) {
		d := decoder(row)
		r := &archive.Reservation{ExpiresAt: d.time()}
		copy(r.Key[:], key)
		copy(r.Request[:], d.bytes())
		answer := decodeReservation(d.bytes())
		r.Suite, r.Users, r.Reservation = answer.Suite, archivedUsers(answer.Users), uint64(answer.ID)
		if err := errors.Join(e.goOn(), e.emit(r)); err != nil {
			return err
		}
	}
	return nil
}

func archivedUsers(from []delivery.ReservedUser) (users []archive.ReservedUser) {
	for _, u := range from {
		user := archive.ReservedUser{User: u.User, Status: u.Status}
		for _, d := range u.Devices {
			device := archive.ReservedDevice{Device: d.Device, Status: d.Status, Suites: d.Suites, UsableFrom: d.UsableFrom, IdleSince: d.IdleSince}
			if d.KeyPackage != nil {
				device.Ref = archive.Ref(d.KeyPackage.Ref)
			}
			user.Devices = append(user.Devices, device)
		}
		users = append(users, user)
	}
	return users
}

func reservedUsers(from []archive.ReservedUser) (users []delivery.ReservedUser) {
	for _, u := range from {
		user := delivery.ReservedUser{User: u.User, Status: u.Status}
		for _, d := range u.Devices {
			device := delivery.ReservedDevice{Device: d.Device, Status: d.Status, Suites: d.Suites, UsableFrom: d.UsableFrom, IdleSince: d.IdleSince}
			if d.Ref != "" {
				device.KeyPackage = &delivery.ListedKeyPackage{Ref: mls.KeyPackageRef(d.Ref)}
			}
			user.Devices = append(user.Devices, device)
		}
		users = append(users, user)
	}
	return users
}

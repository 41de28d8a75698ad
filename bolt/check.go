package bolt

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"

	"welcomed/delivery"
	"welcomed/mls"
)

// checkFile looks at every page and every row of a file that nobody writes to.
func checkFile(ctx context.Context, db *bbolt.DB) error {
	return db.View(func(tx *bbolt.Tx) error {
		if err := new(Store).checkFormat(tx); err != nil {
			return err
		}
		if err := checkPages(tx); err != nil {
			return err
		}
		return recovering(func() error { return checkRows(ctx, tx) })
	})
}

func (s *Store) checkFormat(tx *bbolt.Tx) error {
	return recovering(func() error {
		_, err := s.load(tx)
		if errors.Is(err, errEmpty) {
			err = errNotOurs
		}
		return err
	})
}

// checkPages returns the first of what bbolt finds.
func checkPages(tx *bbolt.Tx) (first error) {
	for err := range tx.Check() {
		if first == nil {
			first = fmt.Errorf("%w: %w", errCorrupt, err)
		}
	}
	return first
}

// A checker counts what is in a file, as state.
type checker struct {
	*txn
	ctx   context.Context
	looks int

	d    *device        // whose rows are next; nil before the first
	own  device         // its counters, as counted
	open map[uint64]int // Welcomes that its KeyPackages wait for: those that are there, less those they say
}

func checkRows(ctx context.Context, tx *bbolt.Tx) error {
	s := new(Store)
	if _, err := s.load(tx); err != nil {
		return err
	}
	want := *s.state.Load()
	t := &txn{tx: tx, rows: newRowMap()}
	loadLog(tx.Bucket(bucketLog.name), want.merged, t.rows)
	c := &checker{txn: t, ctx: ctx}
	var err error
	t.scanRows(nil, nil, func(k, v []byte) bool {
		err = c.row(k, v)
		return err == nil
	})
	if err == nil {
		err = c.endDevice()
	}
	got := c.state
	if s.format == oldestFormat {
		want.shelves = got.shelves // are not counted
	}
	if err == nil && (got.shelves != want.shelves || got.keyPackages != want.keyPackages || got.welcomes != want.welcomes || got.stock != want.stock || got.overdue != want.overdue) {
		err = wrong("there are other numbers of KeyPackages, Welcomes and devices than counted")
	}
	return err
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errCorrupt}, args...)...)
}

// row checks a row of the rows bucket.
func (c *checker) row(k, v []byte) error {
	if c.looks++; c.looks%1024 == 0 && c.ctx.Err() != nil {
		return c.ctx.Err()
	}
	c.devices = nil // remembers none: there may be millions
	switch key := k[1:]; k[0] {
	case bucketDevices.kind:
		return c.deviceRow(key, v)
	case bucketNames.kind:
		if d := c.deviceByNumber(readNumber(v)); d == nil || string(nameKey(d.id)) != string(key) {
			return wrong("a name has no device")
		}
	case bucketRefs.kind:
		if _, k := c.refNeighbour(mls.KeyPackageRef(key)); string(k.rec.Ref[:refPrefix]) != string(key) {
			return wrong("a ref has another's KeyPackage")
		}
	case bucketWelcomeIDs.kind:
		if w := c.welcome(readNumber(v)); w == nil || string(w.id[:welcomeIDPrefix]) != string(key) {
			return wrong("an id has no Welcome")
		}
	case bucketPosted.kind:
		return c.posted(readNumber(key))
	case bucketTokens.kind:
		token := decodeToken(string(key), v)
		if c.get(bucketOwners, append(ownerKey(token.Owner, true), key...)) == nil {
			return wrong("token %s is not among its owner's", token.ID)
		}
	case bucketOwners.kind:
		if c.get(bucketTokens, key[bytes.LastIndexByte(key, 0)+1:]) == nil {
			return wrong("an owner has a token that is missing")
		}
	}
	return nil
}

// posted checks a Welcome: all of its recipients are there.
func (c *checker) posted(number uint64) error {
	w := c.welcome(number)
	if w == nil {
		return wrong("a Welcome is missing")
	}
	n, open := 0, 0
	c.eachRecipient(w, func(key mailKey, r *recipient) bool {
		if n++; r.verdict == "" {
			d := c.deviceByNumber(r.device)
			if m := c.mail(d, key); !m.rec.State.Ended() {
				open++
			}
		}
		return true
	})
	if n != w.recipients || open != w.open {
		return wrong("Welcome %s has %d recipients, of which %d have not ended, but %d and %d are there", w.id, w.recipients, w.open, n, open)
	}
	return nil
}

// deviceRow checks one of the rows of a device, which begin with 0x00.
func (c *checker) deviceRow(key, v []byte) error {
	number, kind, rest := readNumber(key), key[numberBytes], key[numberBytes+1:]
	if kind == rowDevice {
		if err := c.endDevice(); err != nil {
			return err
		}
		c.d, c.own, c.open = c.deviceByNumber(number), device{}, map[uint64]int{}
		return nil
	}
	if c.d == nil || c.d.number != number {
		return wrong("device %d is missing", number)
	}
	switch kind {
	case rowPending, rowDelivered, rowHeld, rowEnded:
		c.mailRow(decodeMail(readMailKey(rest), v))
	case rowInitKeys:
		decodeInitKeys(key, v)
	case rowDoubts:
	default:
		return c.keyPackageRow(decodeKeyPackage(kind, readNumber(rest), v))
	}
	return nil
}

func (c *checker) mailRow(m *mail) {
	c.addMail(&c.own, m.rec.State, m.size, 1)
	if m.rec.State == delivery.Pending && m.order <= c.d.claimed {
		c.own.overdue++
	}
	if !m.rec.State.Ended() {
		c.open[m.kp.number]++
	}
}

func (c *checker) keyPackageRow(k *keyPackage) error {
	c.state.keyPackages[k.rec.State]++
	if k.rec.State == delivery.Available {
		c.state.shelves[k.shelf]++
		if !k.rec.LastResort {
			c.own.available++
		}
	}
	if k.rec.State == delivery.Retired {
		c.own.retired++
	}
	c.open[k.number] -= k.rec.Open
	if !k.payload {
		return nil
	}
	kp, err := mls.ParseKeyPackage(c.get(bucketKeyPackages, numberKey(k.number)))
	if err != nil || kp.Ref() != k.rec.Ref {
		return wrong("the bytes of KeyPackage %s are others", k.rec.Ref)
	}
	return nil
}

// endDevice compares the counters of the device with what was found of it.
func (c *checker) endDevice() error {
	if c.d == nil {
		return nil
	}
	d, own := c.d, &c.own
	if d.available != own.available || d.retired != own.retired || d.waiting != own.waiting || d.waitingBytes != own.waitingBytes ||
		d.pending != own.pending || d.delivered != own.delivered || d.overdue != own.overdue {
		return wrong("device %s has other numbers of KeyPackages and Welcomes than counted", d.id)
	}
	for _, n := range c.open {
		if n != 0 {
			return wrong("a KeyPackage of device %s waits for other Welcomes than are there", d.id)
		}
	}
	if c.state.overdue += int64(d.overdue); d.level != stockNone {
		c.state.stock[d.level]++
	}
	return nil
}

// full calls a disk that is full what it is called elsewhere.
func full(err error) error {
	if err != nil && noRoom(err) {
		return fmt.Errorf("%w: %w", delivery.ErrFull, err)
	}
	return err
}

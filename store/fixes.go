package store

// setOpen corrects the number of Welcomes that a KeyPackage waits for.
func (t *Txn) setOpen(of uint64, key keyPackageKey, open int) {
	d := t.deviceByNumber(of)
	k := t.keyPackage(d, key)
	k.rec.Open = open
	t.replaceKeyPackage(d, k)
}

// keepPayload corrects the row of an ended KeyPackage whose bytes are still there, so that a
// sweep removes them.
func (t *Txn) keepPayload(of uint64, key keyPackageKey) {
	d := t.deviceByNumber(of)
	k := t.keyPackage(d, key)
	k.payload = true
	t.replaceKeyPackage(d, k)
}

// replaceKeyPackage writes the row of a KeyPackage whose state has not changed, and leaves the
// counters as they are.
func (t *Txn) replaceKeyPackage(d *device, k *keyPackage) {
	kind := k.rowKind()
	if kind == rowTombstone && k.closed.IsZero() {
		k.closed = t.now
	}
	if kind != k.row || k.behind != k.lies() {
		t.del(kindDevices, d.rowOf(k))
	}
	t.put(kindDevices, d.rowFor(k), k.encode())
	if kind == rowTombstone {
		d.tombstones.at(k.nextDue(t.limits))
	}
	t.changed(d)
}

// setInitKeys replaces the init_keys that are remembered of a device.
func (t *Txn) setInitKeys(of uint64, entries []initKey) {
	d := t.deviceByNumber(of)
	for _, key := range t.keys(kindDevices, d.key(rowInitKeys), 0) {
		t.del(kindDevices, key)
	}
	for len(entries) > 0 {
		n := min(len(entries), initRowEntries)
		t.putInitKeys(d.initKeysRow(entries[0].kp), entries[:n])
		entries = entries[n:]
	}
	t.changed(d)
}

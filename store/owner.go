package store

import "bytes"

// A Place says where a row lies.
type Place struct {
	Kind *Kind
	Key  string
}

// OwnerOf returns the place that a transaction has to lock before it changes the row at key, in
// an engine in which several transactions write at a time. row is the row before the change.
// OwnerOf returns false if no lock is needed: a row of an index that is only inserted, where no
// other transaction inserts one, and the bytes of a KeyPackage and events, which are only
// inserted and deleted.
//
// The owner of a device's rows is its first row. The owner of a Welcome's rows is the row of
// its state. The owner of a row of an index is the owner of the row to which it leads. A
// transaction that holds the owner sees these rows as the last holder left them.
func OwnerOf(k *Kind, key, row []byte) (Place, bool) {
	switch k {
	case kindDevices:
		return deviceOwner(key), true
	case kindPosted, kindWelcomes:
		return Place{kindPosted, string(key[:numberBytes])}, true
	case kindTimers:
		return timerOwner(key[0], key[1+numberBytes:]), true
	case kindNames, kindRefs, kindReservations:
		return ownerNamed(kindDevices, row)
	case kindGone:
		if bytes.IndexByte(key, 0) < len(key)-1 { // of a device, and not of a user
			return ownerNamed(kindDevices, row)
		}
	case kindWelcomeIDs:
		return ownerNamed(kindPosted, row)
	case kindOwners:
		id := key[bytes.IndexByte(key, 0)+1:]
		if key[0] != '/' { // a user's, and not a service's
			id = id[bytes.IndexByte(id, 0)+1:]
		}
		return Place{kindTokens, string(id)}, true
	case kindEvents:
		if bytes.IndexByte(key, 0) < len(key)-1 { // an event, and not what a user has hidden
			return Place{}, false
		}
	case kindKeyPackages, kindFeed:
		return Place{}, false
	}
	return Place{k, string(key)}, true
}

// ownerNamed returns the owner of a row of an index, which begins with the number of a device
// or of a Welcome.
func ownerNamed(k *Kind, row []byte) (Place, bool) {
	switch {
	case len(row) < numberBytes:
		return Place{}, false
	case k == kindDevices:
		return deviceOwner(row), true
	}
	return Place{k, string(row[:numberBytes])}, true
}

func deviceOwner(key []byte) Place {
	return Place{kindDevices, string(append(key[:numberBytes:numberBytes], rowDevice))}
}

// timerOwner returns the owner of the row that an entry of timers names.
func timerOwner(kind byte, row []byte) Place {
	switch kind {
	case timerDevice, timerTombstones, timerWebhook:
		return deviceOwner(row)
	case timerIdempotency:
		return Place{kindIdempotency, string(row)}
	case timerToken:
		return Place{kindTokens, string(row)}
	}
	return Place{kindPosted, string(row)}
}

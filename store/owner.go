package store

import "bytes"

// A Place is where a row lies.
type Place struct {
	Kind *Kind
	Key  string
}

// OwnerOf returns the place that has to be locked by who changes the row at key, in an
// engine in which several transactions write at a time. row is what is there. It returns
// false if nothing has to be locked: a new row of an index is only inserted, where nobody
// else has done so, and bytes of KeyPackages are only inserted and deleted.
//
// All rows of a device are owned by its first one, all of a Welcome by the one that says
// what has become of it, and an entry of an index by whose it is. Whoever holds the owner
// finds them as its last holder has left them.
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
	case kindKeyPackages:
		return Place{}, false
	}
	return Place{k, string(key)}, true
}

// ownerNamed is the device or the Welcome whose number an entry of an index begins with.
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

// timerOwner is that of the row which an entry names.
func timerOwner(kind byte, row []byte) Place {
	switch kind {
	case timerDevice, timerTombstones:
		return deviceOwner(row)
	case timerIdempotency:
		return Place{kindIdempotency, string(row)}
	case timerToken:
		return Place{kindTokens, string(row)}
	}
	return Place{kindPosted, string(row)}
}

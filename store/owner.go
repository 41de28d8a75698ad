package store

import "bytes"

// A Place is where a row lies.
type Place struct {
	Kind *Kind
	Key  string
}

// OwnerOf returns the place that has to be locked by who changes the row at key, in an
// engine in which several transactions write at a time; false if none has to: such a row is
// written once and then only found, and goes with what it belongs to.
//
// All rows of a device are owned by its first one, all of a Welcome by the one that says
// what has become of it. Whoever holds the owner finds the others as its last holder has
// left them.
func OwnerOf(k *Kind, key []byte) (Place, bool) {
	switch k {
	case kindDevices:
		return deviceOwner(key), true
	case kindPosted, kindWelcomes:
		return Place{kindPosted, string(key[:numberBytes])}, true
	case kindTimers:
		return timerOwner(key[0], key[1+numberBytes:]), true
	case kindGone:
		if bytes.IndexByte(key, 0) < len(key)-1 { // of a device, and not of a user
			return Place{}, false
		}
	case kindNames, kindRefs, kindWelcomeIDs, kindOwners, kindKeyPackages, kindReservations:
		return Place{}, false
	}
	return Place{k, string(key)}, true
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

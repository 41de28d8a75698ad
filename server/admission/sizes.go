package admission

import "welcomed/delivery"

// How many bytes rows take in the file, beside the names and the payloads in them: keys, times,
// indices, timers, and unused space of pages. TestWhatIsStoredIsCharged compares them with a
// file that grows.
const (
	deviceBytes     = 512 // of a device, which may be new
	keyPackageBytes = 352 // of a KeyPackage and its tombstone, reserved and given back meanwhile
	welcomeBytes    = 768 // of a Welcome
	recipientBytes  = 640 // of a Welcome for one recipient, with what may be said when it is rejected
	eventsBytes     = 256 // of the events of one recipient
	eventNames      = 8   // times that these have a name in them, and as much unused space
	answerBytes     = 320 // of an answer that is remembered
	rememberedBytes = 64  // of a user or a device in it
)

// PublicationCount returns how many KeyPackages a publication stores if all of them are new.
func PublicationCount(items []delivery.NewKeyPackage) (n int) {
	for _, item := range items {
		if item.Bytes != nil {
			n++
		}
	}
	return n
}

// StoredCount returns how many KeyPackages were new.
func StoredCount(p delivery.Publications) (n int) {
	for _, item := range p.Items {
		if item.New {
			n++
		}
	}
	return n
}

// PublicationSize returns how many bytes a publication takes if all of it is new.
func PublicationSize(device delivery.DeviceID, items []delivery.NewKeyPackage) int {
	stored := make([]bool, len(items))
	for i := range stored {
		stored[i] = items[i].Bytes != nil
	}
	return sizeOf(device, items, stored)
}

// StoredSize returns how many bytes the new KeyPackages among the items take.
func StoredSize(device delivery.DeviceID, items []delivery.NewKeyPackage, p delivery.Publications) int {
	stored := make([]bool, len(items))
	for i, item := range p.Items {
		stored[i] = item.New
	}
	return sizeOf(device, items, stored)
}

func sizeOf(device delivery.DeviceID, items []delivery.NewKeyPackage, stored []bool) (n int) {
	for i, item := range items {
		if stored[i] {
			n += len(item.Bytes) + keyPackageBytes
		}
	}
	if n > 0 {
		n += deviceBytes + 3*(len(device.User)+len(device.Name))
	}
	return n
}

// PostingSize returns how many bytes a Welcome takes for recipients of which owners are known,
// with the events that tell of it: one to each device, and at most two of each to the poster.
func PostingSize(p delivery.Posting, poster delivery.Caller, owners []delivery.Owner) int {
	n := welcomeBytes + len(poster.ID()) + len(p.Welcome.Bytes()) + len(p.RatchetTree) + len(p.Context) + len(p.Welcome.Secrets)*recipientBytes
	for _, o := range owners {
		n += eventsBytes + eventNames*(len(poster.ID())+len(o.Device.User)+len(o.Device.Name))
	}
	return n
}

// NamedSize returns the least that RememberedSize can be.
func NamedSize(req delivery.ReserveRequest) (n int) {
	if req.IdempotencyKey == "" {
		return 0
	}
	n = answerBytes
	for _, user := range req.Users {
		n += rememberedBytes + 2*len(user)
	}
	for _, d := range req.Devices {
		n += rememberedBytes + len(d.Name)
	}
	return n
}

// HeldSize returns how many bytes it takes that KeyPackages say who has reserved them.
func HeldSize(caller delivery.Caller, r delivery.Reservation) (n int) {
	if r.Repeated {
		return 0
	}
	for _, user := range r.Users {
		for _, d := range user.Devices {
			if d.Status == delivery.DeviceReserved {
				n += 2 * len(caller.ID())
			}
		}
	}
	return n
}

// RememberedSize returns how many bytes an answer takes that is kept for its Idempotency-Key.
func RememberedSize(req delivery.ReserveRequest, r delivery.Reservation) (n int) {
	if req.IdempotencyKey == "" || r.Repeated {
		return 0
	}
	n = answerBytes
	for _, user := range r.Users {
		n += rememberedBytes + 2*len(user.User)
		for _, d := range user.Devices {
			n += rememberedBytes + len(d.Device)
			if d.KeyPackage != nil {
				n += len(d.KeyPackage.Ref)
			}
		}
	}
	return n
}

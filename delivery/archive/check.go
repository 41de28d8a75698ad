package archive

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// A rule is what has to hold, and what is wrong if it does not.
type rule struct {
	holds bool
	wrong string
}

func all(rules ...rule) error {
	for _, r := range rules {
		if !r.holds {
			return errors.New(r.wrong)
		}
	}
	return nil
}

func (h *Header) check() error {
	switch {
	case h.Format != formatName:
		return fmt.Errorf("it is no archive of welcomed: its format is %.40q", h.Format)
	case h.Version != formatVersion:
		return fmt.Errorf("it is of version %d and this welcomed knows %d: use another welcomed", h.Version, formatVersion)
	}
	return all(
		rule{!h.SeenAt.IsZero(), "seen_at is missing"},
		rule{h.Shelves == Retire || h.Shelves == Keep, "shelves can be keep or retire"},
		rule{h.Order <= orderMost, "order is too high"},
		rule{h.RestoredOrder <= h.Order, "restored_order is above order"},
	)
}

func (d *Device) check() error {
	seen := map[Hint]bool{}
	for _, h := range d.Hints {
		of := Hint{Channel: h.Channel, Kind: h.Kind}
		known := slices.Contains(delivery.HintChannels, h.Channel) && slices.Contains(delivery.HintKinds, h.Kind)
		if !known || seen[of] || h.ID == "" || h.Due.IsZero() || h.Attempt < 0 {
			return errors.New("a hint is for nothing that there is, is there twice, or lacks its id or when it is due")
		}
		seen[of] = true
	}
	return d.ID().Valid()
}

func (k *KeyPackage) check() error {
	state := delivery.KeyPackageState(k.State)
	ended, used := state.Ended(), state == delivery.Reserved || state == delivery.Matched || state == delivery.Consumed
	return all(
		rule{k.Suite.Known(), "the cipher suite is unknown"},
		rule{len(k.Ref) == k.Suite.RefSize(), "the ref is not as long as those of its cipher suite"},
		rule{state != 0, "state is missing"},
		rule{!k.LastResort || !used, "a last resort is never " + state.String()},
		rule{!k.PublishedAt.IsZero(), "published_at is missing"},
		rule{ended != k.EndedAt.IsZero(), "a KeyPackage that is " + state.String() + " and ended_at do not go together"},
		rule{k.Open >= 0, "open is less than nothing"},
		rule{k.LastResort || k.Open <= 1, "only a last resort has several Welcomes"},
		rule{state != delivery.Matched || k.Open == 1, "one that is matched has a Welcome"},
		rule{k.LastResort || ended || state == delivery.Matched || k.Open == 0, "one that is " + state.String() + " has no Welcome"},
		rule{(ended && k.Open == 0) != k.ClosedAt.IsZero(), "closed_at is for what has ended and nobody waits for"},
		rule{state != delivery.Reserved || !k.ReservedAt.IsZero(), "reserved_at is missing"},
		rule{ended || !k.ShelfUntil.IsZero() && !k.MatchableUntil.IsZero(), "shelf_until or matchable_until is missing"},
		// Those of one that is off the shelf may have been damaged, and dropped.
		rule{len(k.Bytes) > 0 || state != delivery.Available, "its bytes are missing"},
		rule{k.Reservation == 0 || !k.ReservedAt.IsZero(), "one with a reservation has reserved_at"},
		k.returned(),
	)
}

// returned is the rule for what was given back.
func (k *KeyPackage) returned() rule {
	if k.GivenBack == 0 {
		return rule{k.GivenBackBy == "" && k.GivenBackAt.IsZero() && k.GivenBackReason == "", "given_back is missing"}
	}
	shelved := delivery.KeyPackageState(k.State) == delivery.Available
	switch {
	case k.LastResort:
		return rule{false, "a last resort is not given back"}
	case k.GivenBackAt.IsZero():
		return rule{false, "given_back_at is missing"}
	case !k.GivenBackReason.Known():
		return rule{false, fmt.Sprintf("%.40q is no reason to give a KeyPackage back", k.GivenBackReason)}
	case k.GivenBack == k.Reservation:
		return rule{false, "what a reservation has given back it does not hold"}
	}
	return rule{!shelved || k.GivenBackReason == delivery.GivenBackUnused, "one that was given back as " + string(k.GivenBackReason) + " is not available"}
}

// Verify returns what is wrong if the bytes are not those of the KeyPackage that
// the record describes. Of a tombstone without bytes nothing can be said.
func (k *KeyPackage) Verify() error {
	if len(k.Bytes) == 0 {
		return nil
	}
	kp, err := mls.ParseKeyPackage(k.Bytes)
	if err != nil {
		return fmt.Errorf("its bytes are no KeyPackage: %w", err)
	}
	is := delivery.Publication(kp)
	sum := sha256.Sum256(is.InitKey)
	return all(
		rule{is.Ref == mls.KeyPackageRef(k.Ref), "its bytes are those of another KeyPackage"},
		rule{is.Suite == k.Suite && is.LastResort == k.LastResort, "its bytes are of another cipher suite, or a last resort or not"},
		rule{is.Lifetime == mls.Lifetime{NotBefore: k.NotBefore, NotAfter: k.NotAfter}, "its bytes have another lifetime"},
		rule{Start(sum[:len(k.InitKey)]) == k.InitKey, "its bytes have another init_key"},
	)
}

func (w *Welcome) check() error {
	return all(
		rule{w.ID != Hash{}, "its id is missing"},
		rule{w.Suite.Known(), "the cipher suite is unknown"},
		rule{w.Recipients > 0 && w.Recipients < 1<<24, "it has no recipients, or too many"},
		rule{!w.PostedAt.IsZero(), "posted_at is missing"},
		rule{w.GroupInfo >= 0 && w.Tree >= 0, "a size is less than nothing"},
		rule{w.Tree == 0 || w.TreeHash != Hash{}, "ratchet_tree_sha256 is missing"},
		rule{w.Hold || w.ReleasedAt.IsZero() && !w.HoldOverdue, "what was never held is not released or overdue"},
	)
}

func (d *Data) check() error {
	return all(
		rule{d.Of == GroupInfo || d.Of == Tree, "it is of something unknown"},
		rule{len(d.Bytes) > 0 && len(d.Bytes) <= PieceBytes, fmt.Sprintf("it has no bytes, or more than %d", PieceBytes)},
	)
}

func (r *Recipient) check() error {
	if r.Device != "" || r.User != "" || r.Matched {
		if err := r.ID().Valid(); err != nil {
			return err
		}
	}
	if !r.Matched {
		return all(
			rule{slices.Contains(delivery.Mismatches, r.Status), fmt.Sprintf("%.40q is no mismatch", r.Status)},
			rule{r.stateless(), "one that did not match has no state"},
		)
	}
	state := r.State()
	return all(
		rule{state != 0, fmt.Sprintf("%.40q is no state of a recipient", r.Status)},
		rule{r.Size > 0 && r.Size < 1<<40, "size cannot be"},
		rule{r.Order > 0, "order is missing"},
		rule{!r.Until.IsZero(), "until is missing"},
		rule{state.Ended() != r.EndedAt.IsZero(), "one that is " + state.String() + " and ended_at do not go together"},
		rule{state != delivery.Delivered || !r.DeliveredAt.IsZero(), "delivered_at is missing"},
		rule{state != delivery.Pending || !r.ReleasedAt.IsZero(), "released_at is missing"},
		rule{state.Ended() || len(r.Secret) > 0, "its secret is missing"},
		rule{state.Ended() || !r.Forgotten, "a KeyPackage that somebody waits for is not forgotten"},
		rule{!r.Last || !r.Forgotten, "last and forgotten exclude each other"},
		rule{r.By == Hash{}, "no Welcome took what matched"},
	)
}

// stateless reports whether nothing has become of the recipient.
func (r *Recipient) stateless() bool {
	times := []time.Time{r.ReleasedAt, r.DeliveredAt, r.WithheldAt, r.EndedAt, r.Until}
	return len(r.Secret) == 0 && !r.Last && !r.Forgotten && r.Size == 0 && r.Order == 0 && r.Reason == "" && r.Detail == "" &&
		!slices.ContainsFunc(times, func(t time.Time) bool { return !t.IsZero() })
}

func (t *Token) check() error {
	if err := t.Owner().Valid(); err != nil {
		return err
	}
	return all(
		rule{t.ID != "" && len(t.ID) < 256 && !strings.Contains(t.ID, "\x00"), "its id cannot be one"},
	)
}

func (r *Reservation) check() error {
	return all(
		rule{r.Key != Key{}, "its key is missing"},
		rule{!r.ExpiresAt.IsZero(), "expires_at is missing"},
	)
}

func (*end) check() error { return nil }

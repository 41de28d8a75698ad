package storetest

import (
	"context"
	"errors"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// Processes returns a store that sends each call to one of several, of which pick returns
// the index. They serve one database, as processes behind a proxy do: what holds for one
// store holds for all of them together. Close closes all.
func Processes(pick func(n int) int, stores ...delivery.Store) delivery.Store {
	return processes{pick, stores}
}

type processes struct {
	pick   func(n int) int
	stores []delivery.Store
}

// any returns one of the processes. Each looks at its clock first, as it does once a minute.
func (all processes) any() delivery.Store {
	for _, s := range all.stores {
		s.Time()
	}
	return all.stores[all.pick(len(all.stores))]
}

// Sweep has each process sweep, as it does once a minute.
func (all processes) Sweep(ctx context.Context) (sum delivery.SweepResult, err error) {
	for _, s := range all.stores {
		r, sweepErr := s.Sweep(ctx)
		err = errors.Join(err, sweepErr)
		sum.Add(r)
	}
	return sum, err
}

// Watch watches in one of the processes what may happen in another.
func (all processes) Watch(device delivery.DeviceID, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	return all.any().Watch(device, owner)
}

func (all processes) Failed() <-chan struct{} { return all.stores[0].Failed() }

func (all processes) Close() error {
	var errs []error
	for _, s := range all.stores {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

func (all processes) Publish(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	return all.any().Publish(ctx, caller, device, items)
}

func (all processes) BeforePublish(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, refs []mls.KeyPackageRef) (known map[mls.KeyPackageRef]bool, err error) {
	return all.any().BeforePublish(ctx, caller, device, refs)
}

func (all processes) Replace(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, suite mls.CipherSuite, items []delivery.NewKeyPackage) (delivery.Publications, error) {
	return all.any().Replace(ctx, caller, device, suite, items)
}

func (all processes) Inventory(ctx context.Context, caller delivery.Caller, device delivery.DeviceID) (delivery.Inventory, error) {
	return all.any().Inventory(ctx, caller, device)
}

func (all processes) Sync(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, digest delivery.Digest, refs []mls.KeyPackageRef) (delivery.SyncResult, error) {
	return all.any().Sync(ctx, caller, device, digest, refs)
}

func (all processes) Withdraw(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, ref mls.KeyPackageRef) error {
	return all.any().Withdraw(ctx, caller, device, ref)
}

func (all processes) Give(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, ref mls.KeyPackageRef) error {
	return all.any().Give(ctx, caller, device, ref)
}

func (all processes) Devices(ctx context.Context, caller delivery.Caller, user delivery.UserID) ([]delivery.DeviceInfo, error) {
	return all.any().Devices(ctx, caller, user)
}

func (all processes) RemoveDevice(ctx context.Context, caller delivery.Caller, device delivery.DeviceID) error {
	return all.any().RemoveDevice(ctx, caller, device)
}

func (all processes) RemoveUser(ctx context.Context, caller delivery.Caller, user delivery.UserID) error {
	return all.any().RemoveUser(ctx, caller, user)
}

func (all processes) List(ctx context.Context, caller delivery.Caller, user delivery.UserID, opts delivery.ListOptions) (delivery.Listing, error) {
	return all.any().List(ctx, caller, user, opts)
}

func (all processes) Reserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (delivery.Reservation, error) {
	return all.any().Reserve(ctx, caller, req)
}

func (all processes) BeforeReserve(ctx context.Context, caller delivery.Caller, req delivery.ReserveRequest) (delivery.ReserveLook, error) {
	return all.any().BeforeReserve(ctx, caller, req)
}

func (all processes) GiveBack(ctx context.Context, caller delivery.Caller, req delivery.GiveBackRequest) (delivery.GiveBackResult, error) {
	return all.any().GiveBack(ctx, caller, req)
}

func (all processes) Post(ctx context.Context, caller delivery.Caller, posting delivery.Posting) (delivery.Outcome, error) {
	return all.any().Post(ctx, caller, posting)
}

func (all processes) BeforePost(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID, refs []mls.KeyPackageRef) (delivery.PostLook, error) {
	return all.any().BeforePost(ctx, caller, id, refs)
}

func (all processes) Outcome(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (delivery.Outcome, error) {
	return all.any().Outcome(ctx, caller, id)
}

func (all processes) Release(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (delivery.Outcome, error) {
	return all.any().Release(ctx, caller, id)
}

func (all processes) Cancel(ctx context.Context, caller delivery.Caller, id delivery.WelcomeID) (delivery.Outcome, error) {
	return all.any().Cancel(ctx, caller, id)
}

func (all processes) Claim(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, opts delivery.ClaimOptions) (delivery.ClaimResult, error) {
	return all.any().Claim(ctx, caller, device, opts)
}

func (all processes) Events(ctx context.Context, caller delivery.Caller, q delivery.EventQuery) (delivery.EventPage, error) {
	return all.any().Events(ctx, caller, q)
}

func (all processes) WatchEvents(user delivery.UserID, device string, owner delivery.TokenOwner) (<-chan struct{}, func()) {
	return all.any().WatchEvents(user, device, owner)
}

func (all processes) RatchetTree(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID) ([]byte, error) {
	return all.any().RatchetTree(ctx, caller, device, id)
}

func (all processes) Acknowledge(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef) error {
	return all.any().Acknowledge(ctx, caller, device, id, ref)
}

func (all processes) Reject(ctx context.Context, caller delivery.Caller, device delivery.DeviceID, id delivery.WelcomeID, ref mls.KeyPackageRef, reason delivery.Reason, detail string) (settled int, err error) {
	return all.any().Reject(ctx, caller, device, id, ref, reason, detail)
}

func (all processes) KeyPackage(ctx context.Context, caller delivery.Caller, ref mls.KeyPackageRef) (delivery.KeyPackageStatus, error) {
	return all.any().KeyPackage(ctx, caller, ref)
}

func (all processes) AddToken(ctx context.Context, t delivery.Token) (delivery.Token, error) {
	return all.any().AddToken(ctx, t)
}

func (all processes) Token(ctx context.Context, id string) (delivery.Token, error) {
	return all.any().Token(ctx, id)
}

func (all processes) Tokens(ctx context.Context, within delivery.TokenOwner) ([]delivery.Token, error) {
	return all.any().Tokens(ctx, within)
}

func (all processes) RevokeToken(ctx context.Context, within delivery.TokenOwner, id string) error {
	return all.any().RevokeToken(ctx, within, id)
}

func (all processes) Stats(ctx context.Context) (delivery.Stats, error) {
	return all.any().Stats(ctx)
}

// KeepHints has all processes keep hints, as they are started with the same settings.
func (all processes) KeepHints(channel delivery.HintChannel, keep bool) {
	for _, s := range all.stores {
		s.KeepHints(channel, keep)
	}
}

// TakeHints takes hints of one process, and counts what none of them has kept.
func (all processes) TakeHints(ctx context.Context, channel delivery.HintChannel, most int, lease time.Duration) (delivery.TakenHints, error) {
	taken, err := all.any().TakeHints(ctx, channel, most, lease)
	for _, s := range all.stores {
		rest, restErr := s.TakeHints(ctx, channel, 0, lease)
		taken.Full, err = taken.Full+rest.Full, errors.Join(err, restErr)
	}
	return taken, err
}

func (all processes) SettleHint(ctx context.Context, hint delivery.SettledHint) error {
	return all.any().SettleHint(ctx, hint)
}

func (all processes) WaitingHints(ctx context.Context, channel delivery.HintChannel, most int) ([]delivery.Hint, error) {
	return all.any().WaitingHints(ctx, channel, most)
}

func (all processes) RetryHints(ctx context.Context, channel delivery.HintChannel) (int, error) {
	return all.any().RetryHints(ctx, channel)
}

func (all processes) WatchHints(channel delivery.HintChannel) (<-chan struct{}, func()) {
	return all.any().WatchHints(channel)
}

func (all processes) Ready(ctx context.Context) error {
	return all.any().Ready(ctx)
}

func (all processes) Time() delivery.ClockReading {
	return all.any().Time()
}

func (all processes) UserHistory(ctx context.Context, user delivery.UserID, most int) (delivery.UserHistory, error) {
	return all.any().UserHistory(ctx, user, most)
}

func (all processes) DeviceHistory(ctx context.Context, device delivery.DeviceID, most int) (delivery.DeviceHistory, error) {
	return all.any().DeviceHistory(ctx, device, most)
}

func (all processes) KeyPackageHistory(ctx context.Context, ref mls.KeyPackageRef, most int) (delivery.KeyPackageHistory, error) {
	return all.any().KeyPackageHistory(ctx, ref, most)
}

func (all processes) WelcomeHistory(ctx context.Context, id delivery.WelcomeID, most int) (delivery.WelcomeHistory, error) {
	return all.any().WelcomeHistory(ctx, id, most)
}

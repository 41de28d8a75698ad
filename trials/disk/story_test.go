//go:build linux && (amd64 || arm64)

package disk_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/delivery/storetest"
	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A story is the life of a few KeyPackages and of at most one Welcome for them.
// After each step stands what is then to be seen of it.
type story struct {
	name  string
	items [][]mlstest.Option // of its KeyPackages, each of a device of its own
	size  int                // of the Welcome's group info
	steps []step
}

type step struct {
	does string
	run  func(*play) error
	then string
}

var (
	bob   = delivery.Caller{User: "bob"}
	carol = delivery.Caller{User: "carol"}
	plain = [][]mlstest.Option{nil}
)

// stories use every event that changes something.
var stories = []story{
	{"a Welcome is held, released, claimed and acknowledged", plain, 400, []step{
		{"publish", publish(0), "available"},
		{"reserve", reserve, "reserved"},
		{"post", post(true), "matched held"},
		{"release", release, "matched pending"},
		{"claim", claim(0), "consumed delivered"},
		{"acknowledge", acknowledge, "consumed acknowledged"},
	}},
	{"a Welcome is cancelled", plain, 400, []step{
		{"publish", publish(0), "available"},
		{"post", post(true), "matched held"},
		{"cancel", cancel, "reserved cancelled"},
	}},
	{"a Welcome is rejected", plain, 400, []step{
		{"publish", publish(0), "available"},
		{"post", post(false), "matched pending"},
		{"claim", claim(0), "consumed delivered"},
		{"reject", reject, "consumed rejected"},
	}},
	{"a KeyPackage is withdrawn while its Welcome waits", plain, 400, []step{
		{"publish", publish(0), "available"},
		{"post", post(false), "matched pending"},
		{"withdraw", withdraw, "withdrawn withdrawn"},
	}},
	{"two devices are given one Welcome", [][]mlstest.Option{nil, nil}, 400, []step{
		{"the first publishes", publish(0), "available -"},
		{"the second publishes", publish(1), "available available"},
		{"post", post(false), "matched matched pending pending"},
		{"the first claims", claim(0), "consumed matched delivered pending"},
		{"the second claims", claim(1), "consumed consumed delivered delivered"},
	}},
	{"large objects have the file grow", [][]mlstest.Option{{mlstest.WithPadding(60 << 10)}}, 300 << 10, []step{
		{"publish", publish(0), "available"},
		{"post", post(false), "matched pending"},
		{"claim", claim(0), "consumed delivered"},
		{"acknowledge", acknowledge, "consumed acknowledged"},
	}},
	{"a shelf is replaced", [][]mlstest.Option{nil, nil}, 0, []step{
		{"publish", publish(0), "available -"},
		{"replace", replace, "retired available"},
	}},
	{"a last resort is used", [][]mlstest.Option{{mlstest.LastResort()}}, 400, []step{
		{"publish", publish(0), "available"},
		{"reserve", reserve, "available"},
		{"post", post(false), "available pending"},
		{"claim", claim(0), "available delivered"},
	}},
	{"a device is removed", plain, 400, []step{
		{"publish", publish(0), "available"},
		{"post", post(false), "matched pending"},
		{"remove", remove, "withdrawn withdrawn"},
	}},
	{"a device syncs", plain, 0, []step{
		{"publish", publish(0), "available"},
		{"sync", syncNone, "withdrawn"},
	}},
	{"a KeyPackage comes near its end", [][]mlstest.Option{{mlstest.WithLifetime(0, uint64(storetest.NewClock().Now().Add(36*time.Hour).Unix()))}}, 0, []step{
		{"publish", publish(0), "available|retired"},
	}},
}

// A play is a story under way.
type play struct {
	story
	ctx     context.Context
	store   delivery.Store
	kps     []delivery.NewKeyPackage
	welcome *mls.Welcome
	done    int  // steps acknowledged
	unknown bool // whether the next one happened
	given   []bool
	err     error // that no store may answer
}

var signer = mlstest.NewSigner(1, "alice")

func newPlays() []*play {
	var plays []*play
	for _, s := range stories {
		p := &play{story: s, ctx: context.Background(), given: make([]bool, len(s.items))}
		var refs []mls.KeyPackageRef
		for _, options := range s.items {
			kp, err := mls.ParseKeyPackage(signer.KeyPackage(options...))
			if err != nil {
				panic(err)
			}
			p.kps = append(p.kps, delivery.Publication(kp))
			refs = append(refs, p.kps[len(p.kps)-1].Ref)
		}
		if s.size > 0 {
			w, err := mls.ParseWelcome(mlstest.WelcomeSize(s.size, 1, refs...))
			if err != nil {
				panic(err)
			}
			p.welcome = w
		}
		plays = append(plays, p)
	}
	return plays
}

func (p *play) device(i int) delivery.DeviceID {
	return delivery.DeviceID{User: p.user(), Name: fmt.Sprint(i)}
}

func (p *play) user() delivery.UserID {
	return delivery.UserID(strings.ReplaceAll(p.name, " ", "-"))
}

func (p *play) self(i int) delivery.Caller {
	return delivery.Caller{User: p.user(), Device: fmt.Sprint(i)}
}

func (p *play) id() delivery.WelcomeID { return delivery.IDOf(bob, p.welcome.Bytes()) }

func publish(i int) func(*play) error {
	return func(p *play) error {
		_, err := p.store.Publish(p.ctx, p.self(i), p.device(i), p.kps[i:i+1])
		return err
	}
}

func replace(p *play) error {
	_, err := p.store.Replace(p.ctx, p.self(0), p.device(0), 0, p.kps[1:])
	return err
}

func reserve(p *play) error {
	answer, err := p.store.Reserve(p.ctx, bob, delivery.ReserveRequest{
		Devices: []delivery.DeviceID{p.device(0)}, IdempotencyKey: string(p.user())})
	if err != nil {
		return err
	}
	got := answer.Users[0].Devices[0]
	if got.KeyPackage == nil || got.KeyPackage.Ref != p.kps[0].Ref {
		return fmt.Errorf("reserved %s", got.Status)
	}
	return nil
}

func post(hold bool) func(*play) error {
	return func(p *play) error {
		_, err := p.store.Post(p.ctx, bob, delivery.Posting{Welcome: p.welcome, Hold: hold, RequireAll: true})
		return err
	}
}

func release(p *play) error { _, err := p.store.Release(p.ctx, bob, p.id()); return err }
func cancel(p *play) error  { _, err := p.store.Cancel(p.ctx, bob, p.id()); return err }

func claim(i int) func(*play) error {
	return func(p *play) error {
		r, err := p.store.Claim(p.ctx, p.self(i), p.device(i), delivery.ClaimOptions{})
		if err != nil {
			return err
		}
		if len(r.Deliveries) != 1 || r.Deliveries[0].Ref != p.kps[i].Ref {
			return fmt.Errorf("claimed %d Welcomes", len(r.Deliveries))
		}
		if p.given[i] && !r.Deliveries[0].Redelivered {
			return errors.New("given twice as if it were new")
		}
		if !strings.HasSuffix(string(r.Deliveries[0].Welcome), string(p.welcome.EncryptedGroupInfo)) {
			return errors.New("another group info than was posted")
		}
		p.given[i] = true
		return nil
	}
}

func acknowledge(p *play) error {
	return p.store.Acknowledge(p.ctx, p.self(0), p.device(0), p.id(), "")
}

func reject(p *play) error {
	_, err := p.store.Reject(p.ctx, p.self(0), p.device(0), p.id(), "", delivery.ReasonOther, "")
	return err
}

func withdraw(p *play) error { return p.store.Withdraw(p.ctx, p.self(0), p.device(0), p.kps[0].Ref) }
func remove(p *play) error   { return p.store.RemoveDevice(p.ctx, p.self(0), p.device(0)) }

func syncNone(p *play) error {
	inventory, err := p.store.Inventory(p.ctx, p.self(0), p.device(0))
	if err != nil {
		return err
	}
	_, err = p.store.Sync(p.ctx, p.self(0), p.device(0), inventory.Digest, nil)
	return err
}

// seen is what can be seen of the play: the state of each KeyPackage and, if it
// is there, of the Welcome for each recipient.
func (p *play) seen() (string, error) {
	var words []string
	for _, k := range p.kps {
		status, err := p.store.KeyPackage(p.ctx, delivery.Unauthenticated(), k.Ref)
		switch {
		case errors.Is(err, delivery.ErrNotFound):
			words = append(words, "-")
		case err != nil:
			return "", err
		default:
			words = append(words, status.State.String())
		}
	}
	if p.welcome != nil {
		outcome, err := p.store.Outcome(p.ctx, bob, p.id())
		if err != nil && !errors.Is(err, delivery.ErrNotFound) {
			return "", err
		}
		for _, r := range outcome.Recipients {
			words = append(words, string(r.Status))
		}
	}
	return strings.Join(words, " "), nil
}

// expected is what may be seen of the play.
func (p *play) expected() []string {
	want := strings.TrimSuffix(strings.Repeat("- ", len(p.kps)), " ")
	if p.done > 0 {
		want = p.steps[p.done-1].then
	}
	if p.unknown {
		want += "|" + p.steps[p.done].then
	}
	return strings.Split(want, "|")
}

// at is the play as it was when done steps had been acknowledged, and the next
// may have been under way.
func (p *play) at(done int) *play {
	q := *p
	q.done, q.unknown, q.err = done, done < len(p.steps), nil
	q.given = make([]bool, len(p.given))
	claims := 0
	for _, s := range p.steps[:done] {
		if strings.Contains(s.does, "claim") {
			q.given[claims] = true
			claims++
		}
	}
	return &q
}

// next takes the next step. A store may answer that it is full or is not sure;
// anything else goes to err.
func (p *play) next() {
	if p.done == len(p.steps) || p.unknown {
		return
	}
	switch err := p.steps[p.done].run(p); {
	case err == nil:
		p.done++
	case errors.Is(err, delivery.ErrFull):
	case errors.Is(err, delivery.ErrOutcomeUnknown):
		p.unknown = true
	default:
		p.err = fmt.Errorf("%s: %s: %w", p.name, p.steps[p.done].does, err)
	}
}

// check compares what is there with what was acknowledged, and takes the remaining
// steps. A step that may have happened is repeated, and gives the answer that was lost.
func (p *play) check() error {
	got, err := p.seen()
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if !slices.Contains(p.expected(), got) {
		return fmt.Errorf("%s: %q is there, want %q", p.name, got, p.expected())
	}
	if p.done > 0 && strings.Contains(p.steps[p.done-1].does, "claim") && got == p.steps[p.done-1].then {
		if err := p.steps[p.done-1].run(p); err != nil {
			return fmt.Errorf("%s: claim again: %w", p.name, err)
		}
	}
	for p.unknown = false; p.done < len(p.steps); {
		s := p.steps[p.done]
		if err := s.run(p); err != nil {
			return fmt.Errorf("%s: %s, after a restart: %w", p.name, s.does, err)
		}
		p.done++
		if got, err := p.seen(); err != nil || !slices.Contains(strings.Split(s.then, "|"), got) {
			return fmt.Errorf("%s: %s, after a restart: %q is there, want %q: %v", p.name, s.does, got, s.then, err)
		}
	}
	return nil
}

// checkTakers sees whether anybody else is handed what had been taken.
func checkTakers(store delivery.Store, plays []*play) error {
	for _, p := range plays {
		final := strings.Fields(p.steps[len(p.steps)-1].then)
		for i := range p.kps {
			answer, err := store.Reserve(p.ctx, carol, delivery.ReserveRequest{Devices: []delivery.DeviceID{p.device(i)}})
			if err != nil {
				return err
			}
			for _, u := range answer.Users {
				for _, d := range u.Devices {
					if d.KeyPackage == nil {
						continue
					}
					k := slices.IndexFunc(p.kps, func(k delivery.NewKeyPackage) bool { return k.Ref == d.KeyPackage.Ref })
					if k < 0 || !strings.Contains(final[k], "available") {
						return fmt.Errorf("%s: %s is handed to carol too", p.name, d.KeyPackage.Ref)
					}
				}
			}
		}
	}
	return nil
}

// forget lets a long time pass, after which nothing may be left.
func forget(store delivery.Store, advance func(time.Duration)) error {
	for range 4 {
		advance(200 * 24 * time.Hour)
		if _, err := store.Sweep(context.Background()); err != nil {
			return err
		}
	}
	stats, err := store.Stats(context.Background())
	if err != nil {
		return err
	}
	for state, n := range stats.KeyPackages {
		if n != 0 {
			return fmt.Errorf("%d KeyPackages are %s for ever", n, state)
		}
	}
	for state, n := range stats.Welcomes {
		if n != 0 {
			return fmt.Errorf("%d Welcomes are %s for ever", n, state)
		}
	}
	return nil
}

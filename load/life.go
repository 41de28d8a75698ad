package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"welcomed/mls"
	"welcomed/mls/mlstest"
)

// A Life is what a population goes through. Groups are created in bursts. Half of
// them have one joiner, one in a hundred has a hundred or more, one in a thousand
// a thousand. A third is held until its Commit is through. Some devices wait for
// their Welcomes in long-polls, the others look for them a while later. All
// acknowledge and refill their shelves. Most devices just lie there.
type Life struct {
	Callers    int // that create a group each in a burst; as many claim
	Bursts     int
	Every      time.Duration // from one burst to the next; later if the one before takes longer
	LongPolls  int           // devices that wait
	MostJoined int           // of a group
	Limit      time.Duration // no burst begins after it; 0: none
}

// What a life is measured by. The delivery is from the beginning of the request
// that lets joiners have the Welcome until one that waits for it has it whole.
const (
	reserve     = "reserve"
	post        = "post"
	postHeld    = "post held"
	release     = "release"
	delivery    = "delivery"
	claim       = "claim"
	acknowledge = "ack"
)

const (
	heldShare = 1.0 / 3
	away      = 500 * time.Millisecond // until a device that does not wait looks for a Welcome
	settling  = 30 * time.Second       // until a Welcome that nobody is given is lost
)

// Check returns an error if a population of n devices is too small or the server
// would refuse the groups.
func (l Life) Check(limits Limits, n int) error {
	if l.LongPolls > n {
		return fmt.Errorf("%d devices cannot hold %d long-polls", n, l.LongPolls)
	}
	return Groups{Joiners: min(l.MostJoined, n)}.Check(limits)
}

// A Lived is what came of a Life.
type Lived struct {
	Measures []Measure
	Bursts   int // that began
	Late     int // of them, because the one before took too long
	Groups   int
	Joined   int // recipients of all groups
	Largest  int // group
	Empty    int // shelves from which nothing could be reserved
	Signed   int // KeyPackages that had to be made while the clock ran
}

// A living is a Life that goes on.
type living struct {
	*Population
	Life
	wait    time.Duration
	start   time.Time
	info    []byte           // encrypted_group_info of all Welcomes
	secret  []byte           // what follows new_member, of all entries of all Welcomes
	online  map[*member]bool // who waits in a long-poll
	visits  chan visit
	ending  chan struct{} // closed when no more groups are created
	records *records
	due     ledger

	bursts, late, groups, joined, largest, empty, signed atomic.Int64
}

type visit struct {
	who *member
	at  time.Time
}

// Live lives. On an error the measures are those made so far.
func (p *Population) Live(ctx context.Context, life Life) (Lived, error) {
	if err := life.Check(p.driver.target.About.Limits, len(p.members)); err != nil {
		return Lived{}, err
	}
	if err := p.prepareSpares(ctx); err != nil {
		return Lived{}, err
	}
	l := &living{
		Population: p,
		Life:       life,
		wait:       min(20*time.Second, time.Duration(p.driver.target.About.Limits.Wait)*time.Second),
		info:       mlstest.Random(400),
		secret:     secretForNobody(p.driver.suite),
		online:     make(map[*member]bool, life.LongPolls),
		visits:     make(chan visit, 1<<16),
		ending:     make(chan struct{}),
		records:    newRecords(reserve, post, postHeld, release, delivery, claim, acknowledge, p.refilling()),
		due:        ledger{invitations: make(map[mls.KeyPackageRef]*invitation)},
	}
	for _, i := range rand.Perm(len(p.members))[:life.LongPolls] {
		l.online[p.members[i]] = true
	}
	return l.live(ctx)
}

// secretForNobody returns an entry of a Welcome without its new_member.
func secretForNobody(suite mls.CipherSuite) []byte {
	nobody := make([]byte, suite.RefSize())
	return mlstest.EncryptedGroupSecrets(suite, mls.KeyPackageRef(nobody))[len(mlstest.Vector(nobody)):]
}

// live has everybody do their part until the last Welcome has arrived.
func (l *living) live(ctx context.Context) (lived Lived, err error) {
	target := l.driver.target
	conns, hangUp, err := target.dialAll(ctx, 2*l.Callers)
	if err != nil {
		return Lived{}, err
	}
	defer hangUp()
	living, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	stopPolls, err := l.startPolls(living, fail)
	if err != nil {
		return Lived{}, err
	}
	l.start = time.Now()
	var visitors sync.WaitGroup
	for _, c := range conns[l.Callers:] {
		visitors.Go(func() { note(fail, l.visit(living, c)) })
	}
	note(fail, l.create(living, conns[:l.Callers]))
	close(l.ending)
	close(l.visits)
	visitors.Wait()
	note(fail, l.due.settle(living, settling))
	stopPolls()
	return l.lived(), context.Cause(living)
}

// note ends everything because of an error, if it is one.
func note(fail context.CancelCauseFunc, err error) {
	if err != nil {
		fail(err)
	}
}

func (l *living) lived() Lived {
	return Lived{
		Measures: l.records.measures(l.Callers, time.Since(l.start)),
		Bursts:   int(l.bursts.Load()),
		Late:     int(l.late.Load()),
		Groups:   int(l.groups.Load()),
		Joined:   int(l.joined.Load()),
		Largest:  int(l.largest.Load()),
		Empty:    int(l.empty.Load()),
		Signed:   int(l.signed.Load()),
	}
}

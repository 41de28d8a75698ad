package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"welcomed/delivery"
	"welcomed/mls"
)

// What a record is about.
const (
	publish     = "publish"
	replace     = "replace"
	syncRefs    = "sync"
	withdraw    = "withdraw"
	remove      = "remove"
	inventory   = "inventory"
	listUser    = "list"
	listDevices = "devices"
	readStatus  = "status"
	reserve     = "reserve"
	post        = "post"
	release     = "release"
	cancel      = "cancel"
	readOutcome = "outcome"
	claim       = "claim"
	acknowledge = "acknowledge"
	reject      = "reject"
)

// changing are the operations that change something, in the order of a life.
var changing = []string{publish, replace, syncRefs, withdraw, remove, reserve, post, release, cancel, claim, acknowledge, reject}

// An attempt is one time that a request was sent. What was sent between call and
// ret is in the order of these numbers.
type attempt struct {
	call, ret int64
	lost      bool // no answer came
}

// A record is a request that was answered, after as many attempts as it took,
// with what the last one was told.
type record struct {
	what       string
	client     string
	device     *device       // whose path it was; nil where there is none
	user       string        // of a list
	welcome    *welcome      // posted, or asked about
	key        string        // Idempotency-Key
	attempts   []attempt     // the last one was answered
	status     int           // of the answer
	code       string        // of the answer, if it is a problem
	sent       []*keyPackage // that the request names
	suite      mls.CipherSuite
	told       map[*keyPackage]string    // what the answer says of each
	recipients map[*keyPackage]recipient // what it says of each recipient
	given      []given                   // by a claim
	skipped    []*welcome                // by a claim
	epoch      string                    // that a publication names
	shelved    bool                      // what a publication names was made after the last restore
	complete   bool                      // the answer would name what it does not name
	filtered   bool                      // by a claim: it gives only what is for sent
	present    map[*device]bool          // in the answer to devices
	wholly     bool                      // cancelled, by an outcome
}

// A given is one Welcome in the answer to a claim.
type given struct {
	welcome     *welcome
	kp          *keyPackage
	redelivered bool
}

func (r *record) answered() attempt { return r.attempts[len(r.attempts)-1] }

func (r *record) lost() []attempt { return r.attempts[:len(r.attempts)-1] }

func (r *record) good() bool { return r.status < 300 }

func (r *record) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d–%d %s: %s", r.attempts[0].call, r.answered().ret, r.client, r.what)
	if r.device != nil {
		fmt.Fprintf(&b, " %s", r.device.id)
	}
	if r.welcome != nil {
		fmt.Fprintf(&b, " Welcome %d", r.welcome.number)
	}
	if r.key != "" {
		fmt.Fprintf(&b, " key %s", r.key)
	}
	if r.epoch != "" {
		fmt.Fprintf(&b, " epoch %s", r.epoch)
	}
	for _, a := range r.lost() {
		fmt.Fprintf(&b, ", no answer (%d–%d)", a.call, a.ret)
	}
	fmt.Fprintf(&b, ", answered %d %s", r.status, r.code)
	return b.String()
}

// about is the record as one object sees it.
func (r *record) about(kp *keyPackage) string {
	text := r.String()
	if kp == nil {
		return text
	}
	if told, ok := r.told[kp]; ok {
		text += ", told " + told
	}
	for _, g := range r.given {
		if g.kp == kp {
			text += fmt.Sprintf(", given Welcome %d, redelivered %t", g.welcome.number, g.redelivered)
		}
	}
	return text
}

// A life is what became of one object, as far as the records tell.
type life[S comparable] struct {
	name    string
	kp      *keyPackage // that it is about; nil for others
	states  []S         // one of these, when the events begin
	events  []event[S]
	records []*record // all that ever had to do with it
	posted  bool      // a Welcome was posted for it
}

// add notes what a record means to the object: each attempt without an answer may
// have happened as lost says, and the last has as told says.
func (l *life[S]) add(r *record, lost, told step[S]) {
	if lost != nil {
		for _, a := range r.lost() {
			l.events = append(l.events, event[S]{r, a.call, a.ret, true, lost})
		}
	}
	if told != nil {
		l.events = append(l.events, event[S]{r, r.answered().call, r.answered().ret, false, told})
	}
}

// throughout notes what happened once, whichever attempt it was.
func (l *life[S]) throughout(r *record, told step[S]) {
	l.events = append(l.events, event[S]{r, r.attempts[0].call, r.answered().ret, false, told})
}

// A keyPackage is one that a client has made.
type keyPackage struct {
	ref        mls.KeyPackageRef
	device     *device
	suite      mls.CipherSuite
	lastResort bool
	bytes      []byte
	epoch      string // that the device knew when it was made
	life       life[state]
	recipients map[*welcome]*life[state] // of a last resort, for which any number of Welcomes may come
}

// A device is one of a user.
type device struct {
	id          delivery.DeviceID
	suite       mls.CipherSuite
	life        life[bool] // whether it exists
	keyPackages []*keyPackage
	removed     bool          // since a backup was kept
	warm        []*keyPackage // those that may still change, or have records that were not looked at
}

// A welcomeState is what became of a Welcome as a whole.
type welcomeState string

const (
	absent    welcomeState = "not there"
	there     welcomeState = "there"
	cancelled welcomeState = "cancelled"
)

// A welcome is one that a client has made.
type welcome struct {
	number     uint32
	id         delivery.WelcomeID
	recipients []*keyPackage // in the order of secrets[]
	slices     map[*keyPackage][sha256.Size]byte
	tree       [sha256.Size]byte
	treeSize   int
	context    []byte
	hold       bool
	requireAll bool
	life       life[welcomeState]
}

// Books are what the clients have made and were told.
type books struct {
	ticks       atomic.Int64
	mu          sync.Mutex
	records     []*record // not looked at yet
	keyPackages map[mls.KeyPackageRef]*keyPackage
	welcomes    map[delivery.WelcomeID]*welcome
	byNumber    []*welcome
	devices     map[delivery.DeviceID]*device
	reserved    map[string]*keptReservation
	restored    bool   // at any time
	epoch       string // of the last restore
}

// A keptReservation is the answer to the first request with an Idempotency-Key.
type keptReservation struct {
	first *record
	body  []byte
}

func newBooks() *books {
	return &books{
		keyPackages: make(map[mls.KeyPackageRef]*keyPackage),
		welcomes:    make(map[delivery.WelcomeID]*welcome),
		devices:     make(map[delivery.DeviceID]*device),
		reserved:    make(map[string]*keptReservation),
	}
}

func (b *books) tick() int64 { return b.ticks.Add(1) }

func (b *books) add(r *record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
}

// take returns the records that were not looked at yet.
func (b *books) take() []*record {
	b.mu.Lock()
	defer b.mu.Unlock()
	records := b.records
	b.records = nil
	return records
}

// addDevice notes a device, which does not exist before it publishes.
func (b *books) addDevice(id delivery.DeviceID, suite mls.CipherSuite) *device {
	b.mu.Lock()
	defer b.mu.Unlock()
	d := &device{id: id, suite: suite, life: life[bool]{name: "device " + id.String(), states: []bool{false}}}
	b.devices[id] = d
	return d
}

// addKeyPackage notes a KeyPackage before it is published.
func (b *books) addKeyPackage(d *device, bare []byte, lastResort bool) *keyPackage {
	parsed, err := mls.ParseKeyPackage(bare)
	if err != nil {
		panic(err) // we have made it
	}
	kp := &keyPackage{ref: parsed.Ref(), device: d, suite: parsed.CipherSuite, lastResort: lastResort, bytes: bare}
	kp.life = life[state]{name: "KeyPackage " + kp.ref.String(), kp: kp, states: []state{{}}}
	if lastResort {
		kp.recipients = make(map[*welcome]*life[state])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.keyPackages[kp.ref] = kp
	d.keyPackages = append(d.keyPackages, kp)
	d.warm = append(d.warm, kp)
	return kp
}

// addWelcome notes a Welcome before it is posted.
func (b *books) addWelcome(bare []byte, recipients []*keyPackage) *welcome {
	parsed, err := mls.ParseWelcome(bare)
	if err != nil {
		panic(err)
	}
	w := &welcome{id: delivery.IDOf(delivery.Unauthenticated(), bare), recipients: recipients, slices: make(map[*keyPackage][sha256.Size]byte)}
	for i, kp := range recipients {
		w.slices[kp] = sha256.Sum256(parsed.Slice(i))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byNumber = append(b.byNumber, w)
	w.number = uint32(len(b.byNumber))
	w.life = life[welcomeState]{name: fmt.Sprintf("Welcome %d (%s)", w.number, w.id), states: []welcomeState{absent}}
	b.welcomes[w.id] = w
	return w
}

func (b *books) keyPackage(ref mls.KeyPackageRef) *keyPackage {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keyPackages[ref]
}

func (b *books) welcome(id delivery.WelcomeID) *welcome {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.welcomes[id]
}

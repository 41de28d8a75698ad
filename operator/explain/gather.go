package explain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"welcomed/delivery"
	"welcomed/mls"
)

// How much is gathered at most.
const (
	mostDevices    = 60
	mostRows       = 200 // KeyPackages, and Welcomes, of a device
	mostRecipients = 20
)

// ErrQuestion: the text is not a question.
var ErrQuestion = errors.New("not a user, a device or a ref")

// Parse reads a question in words: a user, a user and a device with a space or a slash between
// them, or a ref. A text that can be a ref is taken for one. OfUser asks about a user of that
// name.
func Parse(text string) (Question, error) {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == '/' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
	if len(words) == 1 {
		if ref, err := mls.ParseKeyPackageRef(strings.ToLower(words[0])); err == nil {
			return Question{Ref: ref}, nil
		}
	}
	switch len(words) {
	case 1:
		return OfUser(words[0], "")
	case 2:
		return OfUser(words[0], words[1])
	}
	return Question{}, fmt.Errorf("%w: want USER, USER DEVICE, USER/DEVICE or a ref in hexadecimal", ErrQuestion)
}

// OfUser asks about a user, or about one of their devices if it is not empty.
func OfUser(user, device string) (Question, error) {
	if err := delivery.ValidIdentifier(user); err != nil {
		return Question{}, fmt.Errorf("%w: user id: %w", ErrQuestion, err)
	}
	if device != "" {
		if err := delivery.ValidIdentifier(device); err != nil {
			return Question{}, fmt.Errorf("%w: device id: %w", ErrQuestion, err)
		}
	}
	return Question{User: delivery.UserID(user), Device: device}, nil
}

// OfRef asks about a KeyPackage, or about a Welcome by its id.
func OfRef(text string) (Question, error) {
	ref, err := mls.ParseKeyPackageRef(strings.ToLower(text))
	if err != nil {
		return Question{}, fmt.Errorf("%w: a ref is 64, 96 or 128 hexadecimal digits", ErrQuestion)
	}
	return Question{Ref: ref}, nil
}

// OfObject asks about an MLS object: a Welcome, or a KeyPackage.
func OfObject(b []byte) (Question, error) {
	w, err := mls.ReadWelcome(b)
	if err == nil {
		return Question{Object: w}, nil
	}
	if kp, kpErr := mls.ReadKeyPackage(b); kpErr == nil {
		return Question{Ref: kp.Ref()}, nil
	}
	return Question{}, fmt.Errorf("%w: neither a Welcome nor a KeyPackage: %w", ErrQuestion, err)
}

// A Memory remembers what was refused. A server has one, a file has none.
type Memory interface {
	// Since is from when on it remembers.
	Since() time.Time
	// Devices are those of a user of which it remembers something.
	Devices(user delivery.UserID) []string
	// OfDevice is what a Device says of refusals.
	OfDevice(d delivery.DeviceID) (refused, strangers, unmatched, unserved []Refusal)
	// OfCaller is what Facts says of Asked.
	OfCaller(user delivery.UserID) []Refusal
	// OfRef is which Welcomes that named the KeyPackage were refused.
	OfRef(ref mls.KeyPackageRef) []Refusal
}

// Gather collects the facts for a question from a store, and from the memory of a server unless
// that is nil. about has facts that are known already. Its Now is used if the store knows
// nothing.
func Gather(ctx context.Context, from delivery.Histories, memory Memory, about Facts) (Facts, error) {
	g := &gathering{ctx: ctx, from: from, memory: memory, Facts: about}
	if memory != nil {
		g.Remembers = memory.Since()
	}
	var err error
	switch {
	case g.Object != nil:
		err = g.object(g.Object)
	case g.Ref != "":
		err = g.ref()
	default:
		err = g.user()
	}
	return g.Facts, err
}

type gathering struct {
	ctx    context.Context
	from   delivery.Histories
	memory Memory
	Facts
}

func (g *gathering) user() error {
	u, err := g.from.UserHistory(g.ctx, g.User, max(mostDevices, g.Limits.DevicesPerUser))
	if err != nil {
		return err
	}
	g.Now, g.Own = u.At, u.Devices
	shown := u.Devices[:min(mostDevices, len(u.Devices))]
	g.MoreDevices = u.More + len(u.Devices) - len(shown)
	var names []string
	for _, d := range shown {
		names = append(names, d.Name)
	}
	if g.memory != nil {
		g.Asked = g.memory.OfCaller(g.User)
		for _, name := range g.memory.Devices(g.User) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if g.Device != "" {
		names, g.MoreDevices = []string{g.Device}, 0
	}
	for _, name := range names {
		d, err := g.device(delivery.DeviceID{User: g.User, Name: name})
		if err != nil {
			return err
		}
		if d.Known || len(d.Refused)+len(d.Strangers) > 0 {
			g.Devices = append(g.Devices, d)
		}
	}
	return nil
}

func (g *gathering) device(id delivery.DeviceID) (d Device, err error) {
	d.DeviceHistory, err = g.from.DeviceHistory(g.ctx, id, mostRows)
	switch {
	case err == nil:
		d.Known, g.Now = true, d.At
	case errors.Is(err, delivery.ErrNotFound):
		d.DeviceHistory.Device, err = id, nil
	default:
		return d, err
	}
	if g.memory != nil {
		d.Refused, d.Strangers, d.Unmatched, d.Unserved = g.memory.OfDevice(id)
	}
	return d, err
}

// ref asks about a KeyPackage. If none has that ref, it may be the id of a Welcome.
func (g *gathering) ref() error {
	k, err := g.keyPackage(g.Ref)
	if err != nil {
		return err
	}
	if !k.Known && len(g.Ref) == len(delivery.WelcomeID{}) {
		found, err := g.posted(delivery.WelcomeID([]byte(g.Ref)), nil)
		if err != nil || found {
			return err
		}
	}
	g.KeyPackages = []KeyPackage{k}
	return nil
}

func (g *gathering) keyPackage(ref mls.KeyPackageRef) (k KeyPackage, err error) {
	k.KeyPackageHistory, err = g.from.KeyPackageHistory(g.ctx, ref, mostRows)
	k.Ref = ref
	switch {
	case err == nil:
		k.Known = true
		k.Owner, err = g.device(k.KeyPackageHistory.Device)
		g.Now = k.At
	case errors.Is(err, delivery.ErrNotFound):
		err = nil
	}
	if err == nil && g.memory != nil {
		k.Unmatched = g.memory.OfRef(ref)
	}
	return k, err
}

// object asks about a Welcome in a file.
func (g *gathering) object(w *mls.Welcome) error {
	refs := refsOf(w)
	refs, more := refs[:min(len(refs), mostRecipients)], max(0, len(refs)-mostRecipients)
	var recipients []KeyPackage
	for _, ref := range refs {
		k, err := g.keyPackage(ref)
		if err != nil {
			return err
		}
		recipients = append(recipients, k)
	}
	// Its id is made with its poster, who is one of those that did something with
	// its KeyPackages.
	for _, c := range posters(recipients) {
		if found, err := g.posted(delivery.IDOf(c, w.Bytes()), recipients); err != nil || found {
			return err
		}
	}
	g.Welcome = &Welcome{WelcomeHistory: delivery.WelcomeHistory{Suite: w.CipherSuite}, Recipients: recipients, More: more}
	return nil
}

func posters(recipients []KeyPackage) []delivery.Caller {
	ids := map[string]bool{"": true}
	for _, k := range recipients {
		ids[k.ReservedBy] = true
		for _, m := range k.Welcomes {
			ids[m.PostedBy] = true
		}
	}
	var callers []delivery.Caller
	for id := range ids {
		if service, ok := strings.CutPrefix(id, "service/"); ok {
			callers = append(callers, delivery.Caller{Service: service})
		} else {
			callers = append(callers, delivery.Caller{User: delivery.UserID(id)})
		}
	}
	return callers
}

// posted asks about a Welcome by its id; known are recipients that were asked about
// already.
func (g *gathering) posted(id delivery.WelcomeID, known []KeyPackage) (found bool, err error) {
	h, err := g.from.WelcomeHistory(g.ctx, id, mostRecipients)
	if errors.Is(err, delivery.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	w := &Welcome{Posted: true, WelcomeHistory: h, More: h.More}
	for i, r := range h.Recipients {
		k := KeyPackage{}
		if i < len(known) && known[i].Ref == r.Ref {
			k = known[i]
		} else if k, err = g.keyPackage(r.Ref); err != nil {
			return false, err
		}
		if !r.Matched {
			k.Verdict = r.Status
		}
		w.Recipients = append(w.Recipients, k)
	}
	g.Now, g.Welcome = h.At, w
	return true, nil
}

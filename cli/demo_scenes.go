package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
)

const (
	alicePath  = "/v1/users/alice"
	phonePath  = alicePath + "/devices/phone"
	shelfPath  = phonePath + "/key-packages"
	claimPath  = phonePath + "/claim"
	postPath   = "/v1/welcomes"
	statusPath = "/v1/key-packages/"
)

// playDemo plays all scenes, in order.
func playDemo(ctx context.Context, base string, o demoObjects, out io.Writer) error {
	p := &plot{demoObjects: o}
	fmt.Fprintf(out, "#1 is KeyPackage %s\n#2 is KeyPackage %s\n\n", short(o.ref1), short(o.ref2))
	for i, next := range p.scenes() {
		if err := next().play(ctx, i+1, base, out); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "\nEvery answer was as promised.")
	return err
}

// A plot is what the devices of the demo have learned so far.
type plot struct {
	demoObjects
	id string // of the Welcome
}

// scenes returns the founding scenario. Each is made when the ones before it
// have been played.
func (p *plot) scenes() []func() scene {
	return []func() scene{
		func() scene {
			return scene{"Alice's phone publishes KeyPackage #1 and goes offline.", "POST", shelfPath, p.keyPackage1, 201, p.stored(p.ref1)}
		},
		func() scene {
			return scene{"Bob looks up what Alice has on the shelf.", "GET", alicePath + "/key-packages", nil, 200, p.listed(p.ref1)}
		},
		func() scene {
			return scene{"Bob adds Alice to a group: his Welcome names #1.", "POST", postPath, p.welcome, 201, p.posted}
		},
		func() scene {
			return scene{"Carol saw #1 too; she learns at once that it is taken.", "POST", postPath, p.late, 409, p.refused("taken")}
		},
		func() scene {
			return scene{"Alice's phone is back and publishes KeyPackage #2.", "POST", shelfPath, p.keyPackage2, 201, p.stored(p.ref2)}
		},
		func() scene {
			return scene{"It claims: the Welcome and #1 are consumed together.", "POST", claimPath, nil, 200, p.claimed(false)}
		},
		func() scene {
			return scene{"So #1 is consumed …", "GET", statusPath + p.ref1, nil, 200, p.state("consumed")}
		},
		func() scene {
			return scene{"… and #2 is still there for the next one.", "GET", statusPath + p.ref2, nil, 200, p.state("available")}
		},
		func() scene {
			return scene{"The reply was lost. Claiming again gives the same Welcome.", "POST", claimPath, nil, 200, p.claimed(true)}
		},
		func() scene {
			return scene{"Alice has joined, and acknowledges.", "POST", phonePath + "/welcomes/" + p.id + "/ack", nil, 204, nothing}
		},
		func() scene {
			return scene{"Nothing is left to claim.", "POST", claimPath, nil, 200, p.claimedNone}
		},
		func() scene {
			return scene{"A late Welcome for #1 can never be opened; its author is told.", "POST", postPath, p.later, 409, p.refused("consumed")}
		},
		func() scene {
			return scene{"Bob sees that Alice has joined.", "GET", postPath + "/" + p.id, nil, 200, p.joined}
		},
		func() scene {
			return scene{"Only #2 is on the shelf.", "GET", alicePath + "/key-packages", nil, 200, p.listed(p.ref2)}
		},
	}
}

// name returns what the demo calls a KeyPackage.
func (p *plot) name(ref string) string {
	switch ref {
	case p.ref1:
		return "#1"
	case p.ref2:
		return "#2"
	}
	return ref
}

func nothing(body []byte) (string, error) {
	if len(body) > 0 {
		return "", fmt.Errorf("an answer without a body has one: %s", body)
	}
	return "", nil
}

// answer decodes a JSON answer, whatever else is in it.
func answer[T any](body []byte) (v T, err error) {
	if err = json.Unmarshal(body, &v); err != nil {
		err = fmt.Errorf("read the answer: %w", err)
	}
	return v, err
}

// expect returns an error unless what was promised is true.
func expect(promised bool, promise string, body []byte) error {
	if promised {
		return nil
	}
	return fmt.Errorf("expected that %s: %s", promise, bytes.TrimSpace(body))
}

type refAndStatus struct{ Ref, Status string }

func (p *plot) stored(ref string) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		a, err := answer[struct {
			KeyPackages []refAndStatus `json:"key_packages"`
			Stock       struct{ Available int }
		}](body)
		if err != nil {
			return "", err
		}
		ok := len(a.KeyPackages) == 1 && a.KeyPackages[0] == refAndStatus{ref, "stored"} && a.Stock.Available == 1
		return fmt.Sprintf("%s is stored, %d available", p.name(ref), a.Stock.Available), expect(ok, "it is stored, and the only one", body)
	}
}

func (p *plot) listed(ref string) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		a, err := answer[struct {
			Devices []struct {
				Device      string
				KeyPackages []struct{ Ref string } `json:"key_packages"`
			}
		}](body)
		if err != nil {
			return "", err
		}
		ok := len(a.Devices) == 1 && len(a.Devices[0].KeyPackages) == 1 && a.Devices[0].KeyPackages[0].Ref == ref
		return "phone has " + p.name(ref), expect(ok, "it lists "+ref, body)
	}
}

type postAnswer struct {
	ID, Code   string
	Recipients []refAndStatus
}

func (p *plot) posted(body []byte) (string, error) {
	a, err := answer[postAnswer](body)
	if err != nil {
		return "", err
	}
	p.id = a.ID
	ok := len(a.ID) == 64 && len(a.Recipients) == 1 && a.Recipients[0] == refAndStatus{p.ref1, "pending"}
	return "Welcome " + short(a.ID) + " is pending for #1", expect(ok, "it is pending for "+p.ref1, body)
}

func (p *plot) refused(verdict string) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		a, err := answer[postAnswer](body)
		if err != nil {
			return "", err
		}
		ok := a.Code == "no_matching_key_package" && len(a.Recipients) == 1 && a.Recipients[0] == refAndStatus{p.ref1, verdict}
		return a.Code + ": #1 is " + verdict, expect(ok, p.ref1+" is "+verdict, body)
	}
}

type claimAnswer struct {
	Welcomes []struct {
		ID, Ref     string
		Welcome     []byte
		Redelivered bool
	}
	Stock struct{ Available int }
}

func (p *plot) claimed(again bool) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		a, err := answer[claimAnswer](body)
		if err != nil {
			return "", err
		}
		if err := expect(len(a.Welcomes) == 1, "it gives one Welcome", body); err != nil {
			return "", err
		}
		got := a.Welcomes[0]
		// The Welcome has one recipient, so the slice is the whole.
		ok := got.ID == p.id && got.Ref == p.ref1 && got.Redelivered == again && bytes.Equal(got.Welcome, p.welcome)
		return fmt.Sprintf("Welcome %s for %s, %d bytes, redelivered: %v, %d available",
			short(got.ID), p.name(got.Ref), len(got.Welcome), got.Redelivered, a.Stock.Available), expect(ok, "it is Bob's Welcome for "+p.ref1, body)
	}
}

func (p *plot) claimedNone(body []byte) (string, error) {
	a, err := answer[claimAnswer](body)
	if err != nil {
		return "", err
	}
	return "no Welcomes", expect(len(a.Welcomes) == 0, "it gives none", body)
}

func (p *plot) state(state string) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		a, err := answer[struct{ Ref, State string }](body)
		if err != nil {
			return "", err
		}
		return p.name(a.Ref) + " is " + a.State, expect(a.State == state, "it is "+state, body)
	}
}

func (p *plot) joined(body []byte) (string, error) {
	a, err := answer[postAnswer](body)
	if err != nil {
		return "", err
	}
	ok := len(a.Recipients) == 1 && a.Recipients[0] == refAndStatus{p.ref1, "acknowledged"}
	return "#1 has acknowledged", expect(ok, p.ref1+" has acknowledged", body)
}

// short abbreviates a ref or an id.
func short(id string) string { return id[:min(8, len(id))] + "…" }

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"welcomed/client"
	"welcomed/mls"
	"welcomed/trials/harness"
)

// probeEvery is how many Welcomes are posted for each that is only tried: what
// is tried is charged too.
const probeEvery = 8

// takeListed lists some KeyPackages of a user and posts a Welcome for them.
func (m *attacker) takeListed(ctx context.Context) error {
	users, free := m.targets.choose(1)
	defer m.targets.release(users)
	user := users[0]
	most := m.targets.batch(user)
	a, err := m.ask(ctx, "GET", fmt.Sprintf("%s?limit=%d", harness.ListPath(user), most), nil)
	if err != nil {
		return err
	}
	if a.Problem().Code == "pair_budget" {
		m.targets.leaveAlone(user, a.RetryAfter())
	}
	if !a.Good() {
		return nil
	}
	refs, err := readListed(a.Body)
	if err != nil || len(refs) == 0 {
		m.targets.leaveAlone(user, aWhile)
		return err
	}
	if m.posts++; m.posts%probeEvery == 0 {
		if _, err := m.ask(ctx, "POST", harness.AllWelcomes+"?dry_run=1", welcomeFor(refs[0])); err != nil {
			return err
		}
	}
	if !free {
		return nil // another connection posts for these
	}
	return m.post(ctx, user, refs)
}

// readListed returns the refs in a listing that are no last resort.
func readListed(body []byte) (refs []mls.KeyPackageRef, err error) {
	var listing client.Listing
	if err := json.Unmarshal(body, &listing); err != nil {
		return nil, err
	}
	for _, d := range listing.Devices {
		for _, k := range d.KeyPackages {
			ref, err := mls.ParseKeyPackageRef(k.Ref)
			if err != nil {
				return nil, err
			}
			if !k.LastResort {
				refs = append(refs, ref)
			}
		}
	}
	return refs, nil
}

// post posts a Welcome for what was listed. Where that is more than may be taken,
// there will be fewer in the next.
func (m *attacker) post(ctx context.Context, user string, refs []mls.KeyPackageRef) error {
	a, err := m.ask(ctx, "POST", harness.AllWelcomes, welcomeFor(refs...))
	if err != nil {
		return err
	}
	switch code := a.Problem().Code; {
	case a.Status == http.StatusCreated:
		m.took()
	case code == "pair_budget" && len(refs) == 1:
		m.targets.leaveAlone(user, a.RetryAfter())
	case code == "pair_budget":
		m.targets.halve(user)
	}
	return err
}

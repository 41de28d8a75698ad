package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"welcomed/delivery"
	"welcomed/mls"
)

// probeEvery is how many Welcomes are posted for each that is only tried: what
// is tried is charged too.
const probeEvery = 8

// takeListed lists some KeyPackages of a user and posts a Welcome for them.
func (m *mallory) takeListed(ctx context.Context) error {
	users, free := m.marks.choose(1)
	defer m.marks.leave(users)
	user := users[0]
	most := m.marks.batch(user)
	a, err := m.ask(ctx, request{method: "GET", path: fmt.Sprintf("/v1/users/%s/key-packages?limit=%d", user, most)})
	if err != nil {
		return err
	}
	if a.problem.Code == "pair_budget" {
		m.marks.rest(user, a.retryAfter)
	}
	if a.status >= 300 {
		return nil
	}
	refs, err := readListed(a.body)
	if err != nil || len(refs) == 0 {
		m.marks.rest(user, aWhile)
		return err
	}
	if m.posts++; m.posts%probeEvery == 0 {
		if _, err := m.ask(ctx, posting("?dry_run=1", refs[:1])); err != nil {
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
	var listing struct {
		Devices []struct {
			KeyPackages []struct {
				Ref        string
				LastResort bool `json:"last_resort"`
			} `json:"key_packages"`
		}
	}
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

func posting(query string, refs []mls.KeyPackageRef) request {
	return request{method: "POST", path: "/v1/welcomes" + query, body: welcomeFor(refs...), object: true}
}

// post posts a Welcome for what was listed. Where that is more than may be taken,
// there will be fewer in the next.
func (m *mallory) post(ctx context.Context, user delivery.UserID, refs []mls.KeyPackageRef) error {
	a, err := m.ask(ctx, posting("", refs))
	switch {
	case err != nil:
	case a.status == http.StatusCreated:
		m.took()
	case a.problem.Code == "pair_budget" && len(refs) == 1:
		m.marks.rest(user, a.retryAfter)
	case a.problem.Code == "pair_budget":
		m.marks.halve(user)
	}
	return err
}

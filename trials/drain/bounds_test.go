package main

import (
	"encoding/json"
	"flag"
	"slices"
	"strings"
	"testing"
	"time"

	"welcomed/client"
)

func TestWhatMayBeGone(t *testing.T) {
	one := attack{way: reserveOne, budgets: true, attackers: 1, connections: 64, devices: 5}
	many := one
	many.attackers = 20
	for _, row := range []struct {
		what     string
		attack   attack
		after    time.Duration
		one, all int
	}{
		{"at once", one, 0, 100, 20_000},
		{"a minute later, rounded up", one, time.Minute, 101, 20_334},
		{"an hour later", one, time.Hour, 120, 40_000},
		{"twenty, whom the budget of the one user stops", many, 0, 1_000, 400_000},
		{"twenty, an hour later", many, time.Hour, 1_200, 800_000},
	} {
		if one, all := row.attack.most(row.after); one != row.one || all != row.all {
			t.Errorf("%s: %d of one and %d of all, want %d and %d", row.what, one, all, row.one, row.all)
		}
	}
	many.attackers = 5
	if one, _ := many.most(0); one != 5*100 {
		t.Errorf("five attackers: %d, want what each may take of the one", one)
	}
}

func TestAResultIsWrongIf(t *testing.T) {
	c := &config{}
	c.Flags(flag.NewFlagSet("drain", flag.ContinueOnError)) // which sets what is not asked for
	good := result{attack: attack{way: reserveOne, budgets: true, attackers: 1, connections: 64, devices: 5}, one: 100, all: 20_000, longest: c.patience}
	if err := good.check(c); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*result){
		"101 KeyPackages of one user are gone, at most 100": func(r *result) { r.one++ },
		"20001 KeyPackages are gone, at most 20000":         func(r *result) { r.all++ },
		"waited 2.5s for POST /claim":                       func(r *result) { r.longest, r.slowest = 2500*time.Millisecond, "POST /claim" },
		"this was no attack":                                func(r *result) { r.one = 0 },
	} {
		bad := good
		change(&bad)
		if err := bad.check(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want: %s", err, want)
		}
		bad.budgets = false
		if err := bad.check(c); err != nil {
			t.Errorf("without budgets nothing is promised, but %v", err)
		}
	}
}

func TestLastResortsAreNoStock(t *testing.T) {
	var i client.Inventory
	answer := `{"counts":[{"cipher_suite":1,"available":5},{"cipher_suite":2,"available":3}],"last_resort":[{},{}]}`
	if err := json.Unmarshal([]byte(answer), &i); err != nil {
		t.Fatal(err)
	}
	if n := onShelf(i); n != 6 {
		t.Errorf("%d on the shelf, want 6", n)
	}
}

func TestNobodyIsChosenTwiceAtATime(t *testing.T) {
	m := newTargets([]string{"alice", "bob"})
	m.leaveAlone("bob", time.Hour)
	first, free := m.choose(2)
	if !free || !slices.Equal(first, []string{"alice"}) {
		t.Errorf("chose %v", first)
	}
	if second, free := m.choose(2); free || len(second) != 1 {
		t.Errorf("chose %v, although nobody is free", second)
	}
}

package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// targets are the users and what an attacker knows of each. Two connections do not ask
// for the same user at a time, because both would be charged.
type targets struct {
	mu     sync.Mutex
	users  []string
	byUser map[string]*target
}

type target struct {
	busy  int
	until time.Time // attackers leave the user alone until then
	batch int       // KeyPackages that are listed and named at once
}

// firstBatch is a quarter of what one may take of another at once.
const firstBatch = 25

func newTargets(users []string) *targets {
	m := &targets{users: users, byUser: make(map[string]*target, len(users))}
	for _, user := range users {
		m.byUser[user] = &target{batch: firstBatch}
	}
	return m
}

// choose returns up to n users who may have KeyPackages left. They are busy until
// release. If there is no such user, choose returns any one, and free is false.
func (m *targets) choose(n int) (chosen []string, free bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, first := time.Now(), rand.IntN(len(m.users))
	for i := range m.users {
		user := m.users[(first+i)%len(m.users)]
		if k := m.byUser[user]; len(chosen) < n && k.busy == 0 && now.After(k.until) {
			chosen = append(chosen, user)
		}
	}
	if free = len(chosen) > 0; !free {
		chosen = []string{m.users[first]}
	}
	for _, user := range chosen {
		m.byUser[user].busy++
	}
	return chosen, free
}

func (m *targets) release(users []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range users {
		m.byUser[user].busy--
	}
}

// leaveAlone keeps choose from returning a user for a time.
func (m *targets) leaveAlone(user string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until := time.Now().Add(d); until.After(m.byUser[user].until) {
		m.byUser[user].until = until
	}
}

func (m *targets) batch(user string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byUser[user].batch
}

func (m *targets) halve(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.byUser[user]
	k.batch = max(1, k.batch/2)
}

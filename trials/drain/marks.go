package main

import (
	"math/rand/v2"
	"sync"
	"time"
)

// marks are the users of whom something may be had. Two connections do not try
// the same one at a time, because both would be charged.
type marks struct {
	mu     sync.Mutex
	users  []string
	byUser map[string]*mark
}

type mark struct {
	busy  int
	until time.Time // nothing can be had before
	batch int       // KeyPackages that are listed and named at once
}

// firstBatch is a quarter of what one may take of another at once.
const firstBatch = 25

func newMarks(users []string) *marks {
	m := &marks{users: users, byUser: make(map[string]*mark, len(users))}
	for _, user := range users {
		m.byUser[user] = &mark{batch: firstBatch}
	}
	return m
}

// choose returns up to n users, who are busy until they are left. If there is
// nothing to be had of anybody, it is somebody whom one can at least ask, and free
// is false.
func (m *marks) choose(n int) (chosen []string, free bool) {
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

func (m *marks) leave(users []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, user := range users {
		m.byUser[user].busy--
	}
}

// rest leaves a user alone for a time.
func (m *marks) rest(user string, d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if until := time.Now().Add(d); until.After(m.byUser[user].until) {
		m.byUser[user].until = until
	}
}

func (m *marks) batch(user string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byUser[user].batch
}

func (m *marks) halve(user string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.byUser[user]
	k.batch = max(1, k.batch/2)
}

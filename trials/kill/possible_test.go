package main

import (
	"slices"
	"testing"
)

// write and read are events of a register that holds a number.
func write(v int, call, ret int64) event[int] {
	return event[int]{call: call, ret: ret, step: func(int) []int { return []int{v} }}
}

func read(v int, call, ret int64) event[int] {
	return event[int]{call: call, ret: ret, step: func(s int) []int { return only(s, s == v) }}
}

func maybe(e event[int]) event[int] {
	e.optional = true
	return e
}

func TestPossible(t *testing.T) {
	for _, row := range []struct {
		name   string
		events []event[int]
		to     []int // nothing: there is no order
	}{
		{"nothing happens", nil, []int{0}},
		{"what was written is read", []event[int]{write(1, 1, 2), read(1, 3, 4)}, []int{1}},
		{"what was written is not read", []event[int]{write(1, 1, 2), read(0, 3, 4)}, nil},
		{"what is being written may be read or not", []event[int]{write(1, 1, 6), read(0, 2, 3), read(1, 4, 5)}, []int{1}},
		{"what was read once cannot be unread", []event[int]{write(1, 1, 6), read(1, 2, 3), read(0, 4, 5)}, nil},
		{"two are written at once", []event[int]{write(1, 1, 4), write(2, 2, 3)}, []int{1, 2}},
		{"one after the other is one order", []event[int]{write(1, 1, 2), write(2, 3, 4)}, []int{2}},
		{"a read tells the order", []event[int]{write(1, 1, 4), write(2, 2, 3), read(1, 5, 6)}, []int{1}},
		{"what had no answer may have happened", []event[int]{maybe(write(1, 1, 2)), read(1, 3, 4)}, []int{1}},
		{"what had no answer may not have happened", []event[int]{maybe(write(1, 1, 2)), read(0, 3, 4)}, []int{0}},
		{"what had no answer leaves both", []event[int]{maybe(write(1, 1, 2))}, []int{0, 1}},
		{"it cannot happen later", []event[int]{maybe(write(1, 1, 2)), read(0, 3, 4), read(1, 5, 6)}, nil},
		{"it cannot happen earlier", []event[int]{read(1, 1, 2), maybe(write(1, 3, 4))}, nil},
		{"two can change places though a third is under way", []event[int]{write(3, 1, 8), write(1, 2, 5), write(2, 3, 4), read(1, 6, 7)}, []int{1, 3}},
	} {
		t.Run(row.name, func(t *testing.T) {
			to, wrong := possible([]int{0}, row.events)
			slices.Sort(to)
			if !slices.Equal(slices.Compact(to), row.to) || (wrong != nil) != (row.to == nil) {
				t.Errorf("it may be in %v (wrong: %t), want %v", to, wrong != nil, row.to)
			}
		})
	}
}

// Package admission bounds what callers take of a server, so that no caller keeps the others
// out.
//
// There are two kinds of bounds.
//
// What is taken at the same time is given back when the request ends. [Caps] are the numbers.
// [Connections] bounds open connections. [Capacity] bounds running requests, waiting claims and
// memory; a [Usage] is what one request has of it. A [PerKey] allows two requests at a time to
// do something costly for the same user.
//
// What is taken over time comes back at a rate. These are token buckets in memory, see
// [Budgets]. [KeyPackages] bounds what callers take of other users, [Account] what is stored
// for a user, and [CheckTime] processor time.
//
// Code that uses a budget does three things, from top to bottom. It charges, which may refuse.
// It does what was charged for. It settles to what was really taken. It has to charge first:
// otherwise forty requests at once would all find the budget as it was before the first of
// them.
//
// Two rules look like too much and are not:
//
//   - Of requests, waiting claims, memory and names, a party holds at most half of what
//     nobody holds. It is one comparison (see pool and pairs). With a fixed share for each
//     party, as many parties as there are shares would keep everybody else out. With halves
//     there is always something left for the next one.
//   - Signature checks and large bodies are charged by the time that they take. A publication
//     that is refused for a bad signature stores nothing, so no other budget bounds it. A
//     check with P-521 takes thirty times as long as one with Ed25519, so a number of checks
//     would be too high for one or too low for the other.
//
// The package knows the types of package delivery, but neither routes nor stores. A refusal is
// an error with a name ([ErrOverloaded] and others), from which package server makes an answer.
// Its files depend on each other in this order:
//
//	errors
//	caps <- pool <- usage
//	caps <- connections (with unread)
//	perkey
//	buckets <- pairs
//	buckets <- budgets <- keypackages, checktime
//	sizes
package admission

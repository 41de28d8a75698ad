// Package admission bounds what callers take of a server, so that nobody keeps the others
// out.
//
// There are two kinds of bounds.
//
// What is taken at the same time is given back when the request ends. [Caps] are the
// numbers. [Connections] bounds what is open, [Capacity] requests under way, claims that
// wait, and memory; a [Usage] is what one request has of it. A [PerKey] lets two requests
// at a time do something costly for the same user.
//
// What is taken as time goes by comes back at a rate: these are token buckets in memory,
// see [Budgets]. [KeyPackages] bounds what callers take of other users, [Account] what is
// stored for a user, [CheckTime] processor time.
//
// Whoever uses a budget does three things, from top to bottom: it charges, which may
// refuse; it does what was charged for; it settles what was really taken. All is charged
// before it is taken: otherwise forty requests at once would find a budget as it was
// before the first of them.
//
// Two rules look like too much and are not:
//
//   - Of requests, waiting claims, memory and names a party holds at most half of what
//     nobody holds. It is one comparison (see pool and pairs). With a fixed share for
//     each, as many parties as there are shares would keep everybody else out; with
//     halves there is always something for whoever comes next.
//   - Signature checks and large bodies are charged by the time that they take. A
//     publication that is refused for a bad signature stores nothing, so no other budget
//     bounds it; and a check of P-521 takes thirty times what one of Ed25519 takes, so a
//     number of checks would be too many of one or too few of the other.
//
// The package knows the types of package delivery, and neither routes nor stores. What is
// refused is an error with a name ([ErrOverloaded] and others), which package server makes
// an answer of. Its files depend on each other in this order:
//
//	errors
//	caps <- pool <- usage
//	caps <- connections (with unread)
//	perkey
//	buckets <- pairs
//	buckets <- budgets <- keypackages, checktime
//	sizes
package admission

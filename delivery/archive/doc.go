// Package archive writes down everything that a store holds, so that another one
// can take it up, of the same kind or not. It knows nothing of how either keeps
// it, and this comment is the format, version 2.
//
// An archive is text: one JSON object a line, each of which begins with its type,
// in this order.
//
//	header        once: format, version, written_at, written_by; seen_at is the
//	              latest time that the store has seen; shelves and restored_at are
//	              explained below; no order in the archive is above order
//	device        a device, also one that is known only because it was removed, and
//	key_package   … behind it its KeyPackages, oldest first. One that has ended and
//	              for which nobody waits may have no bytes any more: the tombstone
//	welcome       what the recipients of a Welcome share; Welcomes are in the order
//	              in which they were posted, each with
//	data          … the pieces of its encrypted_group_info and then of its
//	              ratchet_tree, unless they were put away when it ended, and
//	recipient     … each entry of its secrets[], in their order
//	token         a bearer token; of its secret there is only the hash
//	reservation   the answer that a request with an Idempotency-Key gets again
//	end           once: how many lines of each type there are, and the SHA-256 of
//	              all bytes in front of this line
//
// What is empty, zero or false is left out. Times are RFC 3339 in UTC, as exact as
// the store had them; one that keeps them less exactly cuts them off. Hashes, refs
// and the ids of Welcomes are lower-case hex, other bytes standard base64, the two
// ends of a lifetime decimal strings of seconds. Names and states are those of the
// API. An application's names for users and devices, the times at which they met
// and the devices' words about Welcomes that they rejected are in it as they are,
// so an archive is as secret as the database. It is not encrypted.
//
// Some fields are not in the API:
//
//   - order, claim_order: numbers that only grow, one sequence for the whole store.
//     A recipient's is when it was given last or, while it is pending, when it
//     became so; a device's is that of its last claim. What is pending below it is
//     overdue. What has been delivered is delivered again in this order.
//   - init_key: the first 8 bytes of the SHA-256 of the KeyPackage's init_key, by
//     which a device is kept from using one twice.
//   - closed_at: when a KeyPackage had ended and nobody waited for it any more.
//   - open: how many recipients that have not ended wait for the KeyPackage.
//   - last, forgotten: whether the KeyPackage says that this Welcome matched it last,
//     and whether it is not here any more, as that was long ago.
//   - before_restore: the KeyPackage may have been handed out before the store went
//     back to a backup, and to whom is not known.
//   - size: how many bytes of a mailbox a recipient takes.
//   - hints: about what somebody is still to be told, see [delivery.Hint].
//   - key, request: the first 16 bytes of SHA-256(caller, 0x00, Idempotency-Key)
//     and the SHA-256 of the request, as [delivery.Store] has them compared.
//
// # Shelves
//
// Moving is not restoring, and yet it has the same danger: what the old store
// hands out after the archive was written, the new one would hand out again, and a
// KeyPackage that two adders are given breaks what this server is for. So header
// says what is to be done with the shelves:
//
//   - retire: the store was or could have been used since. The new one treats
//     the archive as a restored backup: when it is opened, every KeyPackage that
//     could be handed out is retired, last-resort ones excepted, and devices
//     refill. No Welcome is lost by that, as retired ones still match.
//   - keep: nobody will serve the old store again, as an export that is final has
//     made sure of: it needs the store to be stopped and marks it, behind the last
//     record and before the line that makes the archive a whole one. The new store
//     goes on where the old one stopped.
//
// A store that is marked can be exported again, if the archive was lost on its
// way, and can be made a restored backup, with its shelves retired. What no mark
// can notice is one archive that is imported twice, into stores that both serve:
// an archive that says keep is for one store.
//
// restored_at is when the store itself was last put back to a backup, and
// restore_epoch says which restore that was: see [delivery.Restore]. A store that
// treats the archive as a restored backup sets both anew.
package archive

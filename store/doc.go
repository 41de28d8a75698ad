// Package store decides every event of a delivery.Store, and defines the rows in which it keeps
// everything. It knows no database. An Engine keeps the rows and runs the events, each in a
// transaction over Rows. Package bolt is the engine of one file. Memory is an engine in memory.
//
// An Event is one decision. Its Look finds out on a snapshot what there is to do, and its Run
// carries that out. Both are written once, for all engines.
//
// The rest of this comment describes the rows, in version 5 of their format. Migrate brings
// versions 3 and 4 to it. There is one row for each KeyPackage and one for each recipient, which
// is one (Welcome, ref). A row gets another key when its state changes, so the key says the state,
// and no index has to be updated. The rows of one device lie side by side. If several
// transactions write at a time, OwnerOf says which row each has to lock.
//
// One sequence numbers devices, KeyPackages and Welcomes in the order of their arrival. In keys,
// numbers and times in milliseconds have 6 bytes, big-endian, so that keys sort as numbers do. An
// index in secrets[] has 3 bytes. The table has the name of each kind of rows, and its code if
// kinds lie in one place:
//
//	meta            "format" → uint32
//	                "restored" → present until Start has retired all shelves
//	                "restored_at" → when Start last did that; "restored_order" → the number
//	                that it had then, above all numbers of before; "restore_epoch" →
//	                the text that names that restore, see delivery.Restore
//	                "id" → a text that only this database and its backups have; a database of
//	                an earlier format gets one when it is opened
//	                "user_encoding" → how user ids are made of an identity provider's
//	                subjects, from version 5 on
//	                "backed_up_at" → when the last backup was known to be safe
//	                "set_back" → for each time that the clock was set back: a number, and a
//	                time before which everything with a lower number has happened
//	                "ahead" → the latest time that was written while a jump of the clock was
//	                not believed, until that time has come or the clock was set back
//	                "events_from" → the number up to which events are forgotten
//	                "moved" → when it was exported for good; no server opens it after that
//	                "summed_from" → number of the first Welcome whose rows have checksums, and
//	                a checksum of that number; Welcomes from before version 5 have none
//	key_packages    kp → the bare KeyPackage
//	welcomes        welcome 0x00 → header with its length in front, checksum; context,
//	                encrypted_group_info, checksum
//	                welcome 0x01 piece(3) → ratchet tree, in pieces of half a page, each with
//	                its checksum
//	                welcome 0x02 index → verdict, ref, device with their length in front,
//	                checksum; what follows the ref in EncryptedGroupSecrets, checksum
//	                welcome 0x03 piece(3) → encrypted_group_info, if it is larger than a
//	                piece, likewise; then the header ends with its size
//	names n         user 0x00 device → number of the device that exists
//	gone g          user 0x00 device 0x00 ^life(6) → number of a device that was removed;
//	                life counts those with that id before it
//	                user 0x00 → when all devices of a user were removed, some again
//	device_rows d   device kind …, all rows of one device:
//	                  0x00               → the device; if it was removed, its other rows
//	                                       are as before until a sweep has ended them.
//	                                       Behind flags, from version 5 on: last resorts,
//	                                       how many on the shelf are not yet valid, and
//	                                       whether it is idle
//	                  0x10 welcome index → state of a recipient that is pending
//	                  0x11 welcome index → … that is delivered and not settled
//	                  0x20 kp            → state of a KeyPackage whose private key the
//	                                       device needs although it is not on the shelf
//	                  0x30 welcome index → state of a recipient that is held
//	                  0x31 welcome index → … that has ended
//	                  0x40 kp            → state of a KeyPackage that has ended: the tombstone
//	                  0x50 kp            → up to 32 of: kp less the one before, start of the
//	                                       hash of its init_key(8)
//	                  0x6s kp            → state of a KeyPackage on the shelf; s is its
//	                                       suite, doubled, + 1 for a last resort; from
//	                                       version 5 on a flag says that it was not yet
//	                                       valid when a sweep looked last
//	                  0x6s 0xff kp       → … of one that was given back: it lies behind the others
//	                  0x71 channel kind  → hint: that somebody is to be told of an event
//	refs r          first 8 bytes of a KeyPackageRef → device, kp, s
//	welcome_ids i   first 16 bytes of a WelcomeID → welcome
//	posted p        welcome → the state of the Welcome
//	timers t        kind, due, row → empty; stale when the row says another time
//	idempotency k   hash of caller and Idempotency-Key(16) → due, hash of the request (version
//	                5: of its fields, earlier ones: of JSON), the answer
//	tokens a        id of a token → hash of its secret, owner, rights, times
//	reservations v  id of a reservation(8) kp → device, s: what it holds or has given back
//	owners o        owner of a token, id → empty; the owner is user 0x00 device 0x00,
//	                or a slash, the name of a service and 0x00
//	events e        teller 0x00 number(6) → an event: kind, time, and what it tells; the teller
//	                is a user, or the ID of another caller who has posted
//	                user 0x00 → number: events of the user up to it are hidden
//	feed f          number → time(6), teller: all events in their order; of a row that hides
//	                events time(6), 0x00, user
//
// A checksum is the CRC-32C (Castagnoli) of the row's key and of the bytes between the checksum
// before it, or the start of the row, and itself. The bytes of a KeyPackage need none, because
// its ref is their hash. Rows from before version 5 have neither checksums nor lengths in front.
// What each field means is in delivery.Store.
//
// Rows are sequences of unsigned varints, of byte strings with their length in front, and of
// times. A time is in milliseconds since 1970, or in days after the time in front of it.
package store

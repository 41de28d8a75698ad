// Package bolt keeps a delivery.Store in one bbolt file. It is the only
// importer of bbolt, and this comment is the file format, version 1.
//
// Payloads are written once and never rewritten. States live in small rows,
// and the rows of one device lie side by side, so that an event of a device
// dirties few pages. All numbers are big-endian, so that keys sort as numbers
// do. One sequence numbers devices, KeyPackages and Welcomes in the order of
// their arrival.
//
//	meta          "format" → uint32; "state" → sequence, latest time seen, totals;
//	              "restored" → present until an opening has retired all shelves
//	names         user ‖ 0x00 ‖ device → device number
//	devices       device number ‖ kind ‖ …, all rows of one device:
//	              0x00                               → the device
//	              0x10 suite(2) last-resort(1) kp(8) → empty; what is on the shelf
//	              0x20 kp(8)                         → state row, while the device needs the private key
//	              0x30 0x01 welcome(8) index(4)      → empty; pending, never given
//	              0x30 0x02 order(8) welcome(8) index(4) → empty; given, not settled
//	              0x40 welcome(8) index(4)           → state row of one (Welcome, ref)
//	              0x50 kp(8)                         → state row of an ended KeyPackage: the tombstone
//	              0x60 hash of init_key(16)          → kp(8)
//	refs          first 16 bytes of a KeyPackageRef → device number, kp(8)
//	key_packages  kp(8) → the bare KeyPackage
//	welcomes      welcome(8) → header
//	welcome_ids   first 16 bytes of a WelcomeID → welcome(8)
//	recipients    welcome(8) index(4) → verdict, ref, device number, encrypted group secrets
//	payloads      welcome(8) 0x00 → encrypted_group_info; 0x01 → ratchet tree
//	timers        kind ‖ due in ms(8) ‖ row → empty; stale when the row has another due time
//	idempotency   hash of caller and key(16) → due, hash of the request, the answer
//
// Rows are sequences of unsigned varints, of byte strings with their length in
// front, and of times in milliseconds since 1970 (0: none).
package bolt

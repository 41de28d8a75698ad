package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"welcomed/delivery"
)

// An eventPlace is a place in the feed: behind which number, and in which restore epoch that
// was given.
type eventPlace struct {
	number  uint64
	epoch   string
	foreign bool // the cursor is well-formed, and not of this database
}

// A cursor is an AES block in base32, a dot and the restore epoch. The block has the number, 6
// bytes that are random in the cursor of a place and zero in that of an event, and 4 bytes of
// zero. Numbers are given to what all users do: readers who saw them, or whether they have
// changed, would see when others are active. An event has the same cursor each time.
const eventNonce, eventCheck = numberBytes, 2 * numberBytes

var eventBase32 = base32.StdEncoding.WithPadding(base32.NoPadding)

// eventCipher returns what cursors are encrypted with. No caller knows the id of the database,
// and its backups have the same.
func eventCipher(id []byte) cipher.Block {
	key := sha256.Sum256(append([]byte("cursors of events "), id...))
	block, err := aes.NewCipher(key[:aes.BlockSize])
	if err != nil {
		panic(err) // the key has a length that AES has
	}
	return block
}

// eventCursor is that of an event, and placeCursor that of a place between events.
func (s *Store) eventCursor(number uint64) string {
	return s.sealCursor(numberKey(number), make([]byte, eventCheck-eventNonce))
}

func (s *Store) placeCursor(number uint64) string {
	nonce := make([]byte, eventCheck-eventNonce)
	_, _ = rand.Read(nonce) // never fails
	return s.sealCursor(numberKey(number), nonce)
}

func (s *Store) sealCursor(number, nonce []byte) string {
	var block [aes.BlockSize]byte
	copy(block[copy(block[:], number):], nonce)
	s.cursors.Encrypt(block[:], block[:])
	return eventBase32.EncodeToString(block[:]) + "." + s.restore.Epoch
}

func (s *Store) readEventCursor(text string) (p eventPlace, err error) {
	sealed, epoch, _ := strings.Cut(text, ".")
	block, err := eventBase32.DecodeString(sealed)
	if err != nil || len(block) != aes.BlockSize || len(sealed) != eventBase32.EncodedLen(len(block)) || // without newlines, which are passed over
		epoch == "" || len(epoch) > 64 || strings.Trim(epoch, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return p, fmt.Errorf("%w: not a cursor of events", delivery.ErrBadCursor)
	}
	s.cursors.Decrypt(block, block)
	foreign := [aes.BlockSize - eventCheck]byte(block[eventCheck:]) != [aes.BlockSize - eventCheck]byte{}
	return eventPlace{readNumber(block[:numberBytes]), epoch, foreign}, nil
}

package backup

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// How much memory compression takes: KeyPackages are mostly random bytes, and a
// larger window finds no more.
const (
	window     = 1 << 20
	mostWindow = 8 << 20 // of a file that is read
)

// The first bytes of what seal writes.
var (
	magicCompressed = []byte{0x28, 0xb5, 0x2f, 0xfd}
	magicEncrypted  = []byte("age-encryption.org/v1\n")
)

// Recipients are who can read a backup; none: everybody.
type Recipients []age.Recipient

// ParseRecipients reads public keys of age with commas between them.
func ParseRecipients(list string) (Recipients, error) {
	if strings.TrimSpace(list) == "" {
		return nil, nil
	}
	recipients, err := age.ParseRecipients(strings.NewReader(strings.ReplaceAll(list, ",", "\n")))
	if err != nil {
		return nil, errors.New("not a list of public keys of age like age1…: age-keygen makes them")
	}
	return recipients, nil
}

// String returns the keys as ParseRecipients reads them.
func (r Recipients) String() string {
	keys := make([]string, len(r))
	for i, recipient := range r {
		keys[i] = fmt.Sprint(recipient)
	}
	return strings.Join(keys, ",")
}

// Identities are the private keys that read backups.
type Identities []age.Identity

// ParseIdentities reads private keys of age, as age-keygen writes them.
func ParseIdentities(r io.Reader) (Identities, error) {
	identities, err := age.ParseIdentities(r)
	if err != nil {
		return nil, errors.New("there is no private key of age in it (AGE-SECRET-KEY-…)")
	}
	return identities, nil
}

// Compress returns a writer that compresses into w, and encrypts to the
// recipients, if there are any. All of it is there when it is closed.
func Compress(w io.Writer, to Recipients) (io.WriteCloser, error) {
	encrypted, err := Encrypt(w, to)
	if err != nil {
		return nil, err
	}
	packed := &packer{to: &counter{Writer: encrypted}}
	packed.Encoder, err = zstd.NewWriter(packed.to, zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(window))
	if err != nil {
		return nil, err
	}
	return closers{packed, []io.Closer{packed, encrypted}}, nil
}

// A packer compresses. What becomes so small that bounded would not unpack it, as
// Welcomes full of zeros do which anybody can post, it makes longer by frames that
// are skipped (RFC 8878 §3.1.2).
type packer struct {
	*zstd.Encoder
	to    *counter
	plain int64
}

// packStep is how much is packed before its size is looked at. What the encoder has not
// written yet counts as nothing, so it is much less than freeGrowth.
const packStep = 1 << 20

func (p *packer) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		step := min(int64(len(b)), packStep-p.plain%packStep)
		var wrote int
		wrote, err = p.Encoder.Write(b[:step])
		n, b, p.plain = n+wrote, b[step:], p.plain+step
		if err == nil && p.plain%packStep == 0 {
			err = p.lengthen()
		}
	}
	return n, err
}

// lengthen writes a frame that is skipped, if there is too little for what is packed.
func (p *packer) lengthen() error {
	const head = 8
	missing := (p.plain-freeGrowth/2)/mostGrowth - p.to.n
	if missing <= 0 {
		return nil
	}
	if err := p.Encoder.Close(); err != nil {
		return err
	}
	frame := make([]byte, head+missing)
	binary.LittleEndian.PutUint32(frame, 0x184d2a50)
	binary.LittleEndian.PutUint32(frame[4:], uint32(missing))
	if _, err := p.to.Write(frame); err != nil {
		return err
	}
	p.Encoder.Reset(p.to)
	return nil
}

// A counter counts what is written.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.Writer.Write(b)
	c.n += int64(n)
	return n, err
}

// Encrypt is Compress without the compression.
func Encrypt(w io.Writer, to Recipients) (io.WriteCloser, error) {
	if len(to) == 0 {
		return closers{w, nil}, nil
	}
	return age.Encrypt(w, to...)
}

// A closers is a writer into which others write, which are closed before it.
type closers struct {
	io.Writer
	inside []io.Closer
}

func (c closers) Close() error {
	for _, inner := range c.inside {
		if err := inner.Close(); err != nil {
			return err
		}
	}
	return nil
}

// ErrEncrypted: a backup cannot be read without another private key.
var ErrEncrypted = errors.New("it is encrypted")

// Plain returns the database that is in a backup, however it was written: that is
// seen by its first bytes.
func Plain(r io.Reader, with Identities) (io.ReadCloser, error) {
	read := &counted{Reader: r}
	b := bufio.NewReaderSize(read, 64<<10)
	if begins(b, magicEncrypted) {
		if len(with) == 0 {
			return nil, fmt.Errorf("%w, and there is no private key", ErrEncrypted)
		}
		plain, err := age.Decrypt(b, with...)
		if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
			return nil, fmt.Errorf("%w, and to none of these private keys", ErrEncrypted)
		}
		if err != nil {
			return nil, err
		}
		b = bufio.NewReaderSize(plain, 64<<10)
	}
	if !begins(b, magicCompressed) {
		return io.NopCloser(b), nil
	}
	plain, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(mostWindow))
	if err != nil {
		return nil, err
	}
	return &bounded{ReadCloser: plain.IOReadCloser(), read: read}, nil
}

// A few bytes can be said to be very many. Databases become a fifth of their size, as
// most of what is in them is random, and a packer sees to it that none becomes much less.
const (
	mostGrowth = 20      // times what was read
	freeGrowth = 8 << 20 // bytes that are not looked at
)

type counted struct {
	io.Reader
	n int64
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.n += int64(n)
	return n, err
}

// bounded fails where what is unpacked is no database, by its size.
type bounded struct {
	io.ReadCloser
	read *counted
	n    int64
}

func (p *bounded) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if p.n += int64(n); p.n > freeGrowth+mostGrowth*p.read.n {
		return 0, fmt.Errorf("%d bytes were unpacked from %d: no backup of a database is packed so well", p.n, p.read.n)
	}
	return n, err
}

func begins(b *bufio.Reader, magic []byte) bool {
	head, _ := b.Peek(len(magic))
	return bytes.Equal(head, magic)
}

package bolt

import (
	"fmt"
	"io"

	berrors "go.etcd.io/bbolt/errors"
)

// Stream returns a reader of r, which should be a copy of a database. It checks the meta pages,
// and that there are no more bytes than they say. It returns an error instead of bytes that
// cannot be of such a copy.
func Stream(r io.Reader) io.Reader { return &stream{from: r} }

type stream struct {
	from io.Reader
	head []byte // not given to the reader yet
	left int64  // bytes behind the head that may come
	open bool   // the head was read
}

func (s *stream) Read(b []byte) (int, error) {
	if !s.open {
		if err := s.begin(); err != nil {
			return 0, err
		}
	}
	if len(s.head) > 0 {
		n := copy(b, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	// One byte more than may come tells a stream that goes on from one that ends.
	n, err := s.from.Read(b[:min(int64(len(b)), s.left+1)])
	if s.left -= int64(n); s.left < 0 {
		return 0, fmt.Errorf("it is corrupt or not a database: %w: it is longer than its meta pages say", berrors.ErrInvalid)
	}
	return n, err
}

func (s *stream) begin() error {
	head, err := io.ReadAll(io.LimitReader(s.from, 2*pageSize))
	if err != nil {
		return err
	}
	if len(head) < 2*pageSize { // whoever looks at it says what it is not
		s.open, s.head = true, head
		return nil
	}
	_, meta := newestOf(head)
	if meta == nil {
		return fmt.Errorf("it is corrupt or not a database: %w: it has no meta page", berrors.ErrInvalid)
	}
	pages := number(meta[metaPages:])
	if pages < 2 || pages > 1<<50/pageSize {
		return fmt.Errorf("it is corrupt or not a database: %w: its meta page says that it has %d pages", berrors.ErrInvalid, pages)
	}
	s.open, s.head, s.left = true, head, int64(pages-2)*pageSize
	return nil
}

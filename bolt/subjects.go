package bolt

import (
	"cmp"
	"context"
	"fmt"
)

// keyUserEncoding is how user ids are made of an identity provider's subjects, as
// UseUserEncoding was told; empty or missing: they are the ids.
var keyUserEncoding = []byte("user_encoding")

// UseUserEncoding notes how user ids are made of an identity provider's subjects,
// empty for not at all. It returns an error if the store knows devices of users that
// were named otherwise: they would be strangers, and a subject could be another
// user's encoding.
func (s *Store) UseUserEncoding(ctx context.Context, encoding string) error {
	var noted string
	var known bool
	look := func(t *txn) error {
		noted, known = string(t.get(bucketMeta, keyUserEncoding)), len(t.keys(bucketNames, nil, 1)) > 0
		return nil
	}
	if err := s.view(ctx, look); err != nil || noted == encoding {
		return err
	}
	if known {
		return fmt.Errorf("database %s has users whose ids are made with the encoding %s of an identity provider's subjects, not %s: go on with that one, or begin with a new database",
			s.path, cmp.Or(noted, "none"), cmp.Or(encoding, "none"))
	}
	return s.writer.do(ctx, 0, func(t *txn) error {
		t.put(bucketMeta, keyUserEncoding, []byte(encoding))
		return nil
	})
}

package postgres

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// statement is each event as one statement, and so as one round trip. A claim
// writes one small row and leaves the large ones as they are.
type statement struct {
	pool  *pgxpool.Pool
	claim *atomic.Int64 // the last id given to a claim
}

func newStatement(pool *pgxpool.Pool) statement { return statement{pool, new(atomic.Int64)} }

func (s statement) Publish(ctx context.Context, ref []byte, device string, keyPackage []byte) error {
	return s.get(ctx, nil, `
		INSERT INTO key_packages (ref, device, body) VALUES ($1, $2, $3)
		ON CONFLICT (ref) DO NOTHING RETURNING NULL::bytea`, ref, device, keyPackage)
}

func (s statement) Reserve(ctx context.Context, device string) (keyPackage []byte, err error) {
	err = s.get(ctx, &keyPackage, `
		UPDATE key_packages SET state = 1 WHERE ref = (
			SELECT ref FROM key_packages WHERE device = $1 AND state = 0
			ORDER BY published LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING body`, device)
	return keyPackage, err
}

func (s statement) Post(ctx context.Context, ref, welcome []byte) error {
	return s.get(ctx, nil, `
		WITH matched AS (UPDATE key_packages SET state = 2 WHERE ref = $1 AND state < 2 RETURNING ref)
		INSERT INTO welcomes (ref, body) SELECT ref, $2 FROM matched RETURNING NULL::bytea`, ref, welcome)
}

func (s statement) Claim(ctx context.Context, ref []byte) (welcome []byte, err error) {
	err = s.get(ctx, &welcome, `
		INSERT INTO consumed (ref, claim)
		SELECT w.ref, $2 FROM welcomes w JOIN key_packages k USING (ref) WHERE w.ref = $1
		ON CONFLICT (ref) DO UPDATE SET claim = consumed.claim WHERE consumed.claim = excluded.claim
		RETURNING (SELECT body FROM welcomes WHERE ref = $1)`, ref, s.claim.Add(1))
	return welcome, err
}

func (s statement) Acknowledge(ctx context.Context, ref []byte) error {
	return s.get(ctx, nil, `
		UPDATE consumed SET acknowledged = true WHERE ref = $1 AND NOT acknowledged
		RETURNING NULL::bytea`, ref)
}

// get runs a statement that returns one row with what the event gives. No row
// is a refusal.
func (s statement) get(ctx context.Context, into *[]byte, sql string, args ...any) error {
	if into == nil {
		into = new([]byte)
	}
	return found(s.pool.QueryRow(ctx, sql, args...).Scan(into))
}

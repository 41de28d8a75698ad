package postgres

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgxpool"
)

// coalesced is many events of one kind in one statement: the API process drains
// what has queued up while the statements before were under way.
type coalesced struct {
	claim                                   atomic.Int64 // the last id given to a claim
	publish, reserve, post, claims, settles *coalescer
}

// claimForm is how a claim and its acknowledgement are said.
type claimForm struct{ claim, acknowledge string }

// flipClaims rewrites the state in both rows of a pair.
var flipClaims = claimForm{
	claim: `
		WITH consumed AS (
			UPDATE key_packages k SET state = 3 FROM unnest($1::bytea[], $2::bigint[]) AS r(ref, claim)
			WHERE k.ref = r.ref AND k.state = 2 RETURNING k.ref)
		UPDATE welcomes w SET state = 1 FROM consumed c WHERE w.ref = c.ref AND w.state = 0
		RETURNING w.ref, w.body`,
	acknowledge: `
		UPDATE welcomes w SET state = 2 FROM unnest($1::bytea[]) AS r(ref)
		WHERE w.ref = r.ref AND w.state = 1 RETURNING w.ref, NULL::bytea`,
}

// tombClaims writes one small row and leaves the pair as it is.
var tombClaims = claimForm{
	claim: `
		INSERT INTO consumed (ref, claim)
		SELECT w.ref, r.claim FROM unnest($1::bytea[], $2::bigint[]) AS r(ref, claim)
		JOIN welcomes w ON w.ref = r.ref JOIN key_packages k ON k.ref = r.ref
		ON CONFLICT (ref) DO UPDATE SET claim = consumed.claim WHERE consumed.claim = excluded.claim
		RETURNING ref, (SELECT body FROM welcomes w WHERE w.ref = consumed.ref)`,
	acknowledge: `
		UPDATE consumed c SET acknowledged = true FROM unnest($1::bytea[]) AS r(ref)
		WHERE c.ref = r.ref AND NOT c.acknowledged RETURNING c.ref, NULL::bytea`,
}

func newCoalesced(pool *pgxpool.Pool, f claimForm) *coalesced {
	return &coalesced{
		publish: newCoalescer(pool, `
			INSERT INTO key_packages (ref, device, body)
			SELECT * FROM unnest($1::bytea[], $2::text[], $3::bytea[])
			ON CONFLICT (ref) DO NOTHING RETURNING ref, NULL::bytea`, bytesColumn, textColumn, bytesColumn),
		reserve: newCoalescer(pool, `
			WITH picked AS (
				SELECT k.ref FROM unnest($1::text[]) AS r(device) CROSS JOIN LATERAL (
					SELECT ref FROM key_packages WHERE device = r.device AND state = 0
					ORDER BY published LIMIT 1 FOR UPDATE SKIP LOCKED) k)
			UPDATE key_packages k SET state = 1 FROM picked p WHERE k.ref = p.ref
			RETURNING convert_to(k.device, 'UTF8'), k.body`, textColumn),
		post: newCoalescer(pool, `
			WITH matched AS (
				UPDATE key_packages k SET state = 2 FROM unnest($1::bytea[]) AS r(ref)
				WHERE k.ref = r.ref AND k.state < 2 RETURNING k.ref)
			INSERT INTO welcomes (ref, body)
			SELECT m.ref, r.body FROM matched m JOIN unnest($1::bytea[], $2::bytea[]) AS r(ref, body) USING (ref)
			RETURNING ref, NULL::bytea`, bytesColumn, bytesColumn),
		claims:  newCoalescer(pool, f.claim, bytesColumn, numberColumn),
		settles: newCoalescer(pool, f.acknowledge, bytesColumn),
	}
}

func (c *coalesced) Publish(ctx context.Context, ref []byte, device string, keyPackage []byte) error {
	_, err := c.publish.do(ctx, string(ref), ref, device, keyPackage)
	return err
}

func (c *coalesced) Reserve(ctx context.Context, device string) ([]byte, error) {
	return c.reserve.do(ctx, device, device)
}

func (c *coalesced) Post(ctx context.Context, ref, welcome []byte) error {
	_, err := c.post.do(ctx, string(ref), ref, welcome)
	return err
}

func (c *coalesced) Claim(ctx context.Context, ref []byte) ([]byte, error) {
	return c.claims.do(ctx, string(ref), ref, c.claim.Add(1))
}

func (c *coalesced) Acknowledge(ctx context.Context, ref []byte) error {
	_, err := c.settles.do(ctx, string(ref), ref)
	return err
}

func (c *coalesced) close() {
	for _, q := range []*coalescer{c.publish, c.reserve, c.post, c.claims, c.settles} {
		q.close()
	}
}

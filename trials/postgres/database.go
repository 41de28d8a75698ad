package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

//go:embed schema.sql
var schema string

// poolSize is how many connections an API process holds at most.
const poolSize = 16

// ErrRefused is returned for an event whose turn has not come or is over.
var ErrRefused = errors.New("refused")

// A Row is what Fill loads. One without a Welcome is on the shelf.
type Row struct {
	Ref                 []byte
	Device              string
	KeyPackage, Welcome []byte
}

const template = "filled"

// Fill makes the database that Open makes copies of.
func (c *Cluster) Fill(ctx context.Context, rows []Row) error {
	if _, err := c.admin.Exec(ctx, "CREATE DATABASE "+template); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, c.url(template))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, schema); err != nil {
		return err
	}
	if err := load(ctx, conn, rows); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "VACUUM ANALYZE")
	return err
}

func load(ctx context.Context, conn *pgx.Conn, rows []Row) error {
	var keyPackages, welcomes [][]any
	for _, r := range rows {
		state := int16(0)
		if r.Welcome != nil {
			state = 2
			welcomes = append(welcomes, []any{r.Ref, r.Welcome})
		}
		keyPackages = append(keyPackages, []any{r.Ref, r.Device, state, r.KeyPackage})
	}
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"key_packages"}, []string{"ref", "device", "state", "body"}, pgx.CopyFromRows(keyPackages))
	if err != nil {
		return err
	}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"welcomes"}, []string{"ref", "body"}, pgx.CopyFromRows(welcomes))
	return err
}

// copied is the copy of the filled database that is used.
const copied = "copied"

// A Database is a copy of the filled one.
type Database struct {
	cluster *Cluster
	pool    *pgxpool.Pool
}

// Open makes a copy of the filled database. There is one at a time.
func (c *Cluster) Open(ctx context.Context) (*Database, error) {
	d := &Database{cluster: c}
	create := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy", copied, template)
	if _, err := c.admin.Exec(ctx, create); err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(c.url(copied))
	if err != nil {
		return nil, err
	}
	config.MaxConns = poolSize
	if d.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, err
	}
	return d, nil
}

// Census counts the pairs by where they are in their life.
func (d *Database) Census(ctx context.Context) (map[string]int, error) {
	rows, err := d.pool.Query(ctx, "SELECT coalesce(stage, 'torn'), count(*) FROM lives GROUP BY stage")
	if err != nil {
		return nil, err
	}
	found := make(map[string]int)
	var stage string
	var n int
	_, err = pgx.ForEachRow(rows, []any{&stage, &n}, func() error {
		found[stage] = n
		return nil
	})
	return found, err
}

// Close drops the database, or leaves that to the end of the cluster if a call
// was broken off.
func (d *Database) Close() error {
	d.pool.Close()
	if d.cluster.admin.IsClosed() {
		return nil
	}
	_, err := d.cluster.admin.Exec(context.Background(), "DROP DATABASE "+copied)
	return err
}

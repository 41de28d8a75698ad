-- The first design's tables: a state in each row, matched by the ref of the
-- KeyPackage. Room is left on each page, so that a state can be rewritten
-- beside the row it replaces without touching an index.
CREATE TABLE key_packages (
    ref       bytea PRIMARY KEY,
    device    text NOT NULL,
    state     smallint NOT NULL DEFAULT 0, -- 0 available, 1 reserved, 2 matched, 3 consumed
    published timestamptz NOT NULL DEFAULT now(),
    body      bytea NOT NULL
) WITH (fillfactor = 70);

CREATE INDEX key_packages_of_device ON key_packages (device, published);

CREATE TABLE welcomes (
    ref    bytea PRIMARY KEY,
    state  smallint NOT NULL DEFAULT 0, -- 0 pending, 1 delivered, 2 acknowledged
    posted timestamptz NOT NULL DEFAULT now(),
    body   bytea NOT NULL
) WITH (fillfactor = 70);

-- Where each pair is in its life. No row of it is null unless the rows of a pair
-- disagree.
CREATE VIEW lives AS
SELECT CASE
    WHEN w.state = 2 AND k.state = 3 THEN 'acknowledged'
    WHEN w.state = 1 AND k.state = 3 THEN 'claimed'
    WHEN w.state = 0 AND k.state = 2 THEN 'posted'
    WHEN w.ref IS NULL AND k.state = 1 THEN 'reserved'
    WHEN w.ref IS NULL AND k.state = 0 THEN 'shelf' END AS stage
FROM key_packages k
LEFT JOIN welcomes w USING (ref);

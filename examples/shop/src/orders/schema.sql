CREATE TABLE IF NOT EXISTS orders (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('pending', 'paid', 'failed')),
    -- Why it failed, for people.
    reason TEXT,
    -- The items as JSON: they are written once and read as a whole.
    items TEXT NOT NULL,
    total_cents INTEGER NOT NULL CHECK (total_cents >= 0),
    placed_at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT;

CREATE INDEX IF NOT EXISTS orders_pending ON orders (placed_at) WHERE status = 'pending';

CREATE TABLE IF NOT EXISTS stock (
    sku TEXT PRIMARY KEY,
    -- The last line of defence: whatever the program does, nothing is sold twice.
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT;

CREATE TABLE IF NOT EXISTS reservations (
    id TEXT PRIMARY KEY,
    released INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE IF NOT EXISTS reserved (
    reservation TEXT NOT NULL REFERENCES reservations (id),
    sku TEXT NOT NULL REFERENCES stock (sku),
    quantity INTEGER NOT NULL CHECK (quantity > 0)
) STRICT;

CREATE INDEX IF NOT EXISTS reserved_by_reservation ON reserved (reservation);

CREATE TABLE IF NOT EXISTS payments (
    id TEXT PRIMARY KEY,
    amount_cents INTEGER NOT NULL CHECK (amount_cents >= 0),
    token TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('paid', 'declined', 'void'))
) STRICT;

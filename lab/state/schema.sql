-- What one file holds. Every time is microseconds of the Unix epoch.
BEGIN IMMEDIATE;

-- numbers that must outlive the rows they were made from
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO counters VALUES ('revocations', 0), ('handles', 0), ('used', 0);

-- every token there is to know about; revoked: its place among the revocations, NULL while it is good
CREATE TABLE IF NOT EXISTS tokens (
    token_id TEXT PRIMARY KEY,
    principal_id TEXT,
    expires_us INTEGER NOT NULL,
    revoked INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS tokens_of ON tokens (principal_id);
CREATE INDEX IF NOT EXISTS tokens_expire ON tokens (expires_us);
CREATE INDEX IF NOT EXISTS tokens_revoked ON tokens (revoked) WHERE revoked IS NOT NULL;

-- one window per key: the times of its admissions, packed 64-bit integers, oldest first
CREATE TABLE IF NOT EXISTS windows (
    key TEXT PRIMARY KEY,
    admitted BLOB NOT NULL,
    empty_us INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS windows_empty ON windows (empty_us);

CREATE TABLE IF NOT EXISTS handles (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    handle_id TEXT UNIQUE NOT NULL,
    created_us INTEGER NOT NULL,
    expires_us INTEGER NOT NULL,
    meta BLOB NOT NULL,
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS handles_expire ON handles (expires_us);

CREATE TABLE IF NOT EXISTS traces (
    seq INTEGER PRIMARY KEY,
    action_id TEXT UNIQUE NOT NULL,
    prev_hash TEXT NOT NULL,
    record_hash TEXT NOT NULL,
    payload TEXT NOT NULL
);

-- the hash of the last trace that was dropped
CREATE TABLE IF NOT EXISTS checkpoint (one INTEGER PRIMARY KEY CHECK (one = 1), hash TEXT NOT NULL);

-- tokens set aside from the budget, until settled or overdue
CREATE TABLE IF NOT EXISTS leases (
    name TEXT PRIMARY KEY,
    amount INTEGER NOT NULL,
    overdue_us INTEGER NOT NULL
) WITHOUT ROWID;

PRAGMA user_version = 1;
COMMIT;

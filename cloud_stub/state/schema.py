"""The tables of the hub's state. A version is never changed; a change is a further row of `MIGRATIONS`."""

APPLICATION_ID = 0x5A484231
"""Marks a database file as ours (``ZHB1``)."""

Migration = tuple[str, ...]
"""SQL statements that make one version out of the one before."""

MIGRATIONS: tuple[Migration, ...] = (
    (
        "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TABLE devices (
            device_id TEXT PRIMARY KEY,
            generation_id TEXT NOT NULL,
            etag TEXT NOT NULL,
            status TEXT NOT NULL,
            status_reason TEXT,
            status_updated TEXT NOT NULL,
            auth TEXT NOT NULL,
            primary_secret BLOB,
            secondary_secret BLOB,
            iot_edge INTEGER NOT NULL,
            produced INTEGER NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TRIGGER device_made AFTER INSERT ON devices BEGIN
            INSERT INTO counters VALUES ('devices', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1;
        END""",
        """CREATE TRIGGER device_deleted AFTER DELETE ON devices BEGIN
            UPDATE counters SET value = value - 1 WHERE name = 'devices';
        END""",
        """CREATE TABLE twins (
            device_id TEXT PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
            version INTEGER NOT NULL,
            etag INTEGER NOT NULL,
            desired TEXT NOT NULL,
            desired_metadata TEXT NOT NULL,
            desired_version INTEGER NOT NULL,
            reported TEXT NOT NULL,
            reported_metadata TEXT NOT NULL,
            reported_version INTEGER NOT NULL,
            tags TEXT NOT NULL,
            model_id TEXT NOT NULL
        ) WITHOUT ROWID""",
        """CREATE TABLE sessions (
            device_id TEXT PRIMARY KEY REFERENCES devices ON DELETE CASCADE,
            number INTEGER NOT NULL,
            connected INTEGER NOT NULL,
            connection_updated TEXT NOT NULL,
            last_activity TEXT NOT NULL,
            channels TEXT
        ) WITHOUT ROWID""",
        """CREATE TABLE c2d (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            device_id TEXT NOT NULL REFERENCES devices ON DELETE CASCADE,
            message_id TEXT NOT NULL,
            bag TEXT NOT NULL,
            body BLOB NOT NULL,
            ack TEXT NOT NULL,
            enqueued_at REAL NOT NULL,
            expires_at REAL NOT NULL,
            locked_until REAL,
            delivery_count INTEGER NOT NULL,
            due_at REAL NOT NULL
        )""",
        "CREATE INDEX c2d_of_device ON c2d (device_id, sequence)",
        "CREATE INDEX c2d_due ON c2d (due_at)",
        """CREATE TABLE feedback (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            device_id TEXT NOT NULL,
            generation_id TEXT NOT NULL,
            message_id TEXT NOT NULL,
            status_code TEXT NOT NULL,
            happened_at REAL NOT NULL,
            batch TEXT,
            locked_until REAL,
            delivery_count INTEGER NOT NULL
        )""",
        "CREATE INDEX feedback_of_batch ON feedback (batch)",
    ),
    (
        """CREATE TABLE campaigns (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            campaign_id TEXT NOT NULL UNIQUE,
            plan TEXT NOT NULL,
            course TEXT NOT NULL,
            created_at REAL NOT NULL
        )""",
        """CREATE TABLE campaign_members (
            number INTEGER NOT NULL REFERENCES campaigns ON DELETE CASCADE,
            serial TEXT NOT NULL,
            position INTEGER NOT NULL,
            stage INTEGER NOT NULL,
            standing TEXT NOT NULL,
            since REAL NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            computer TEXT NOT NULL,
            mainboard TEXT NOT NULL,
            called INTEGER NOT NULL,
            PRIMARY KEY (number, serial)
        ) WITHOUT ROWID""",
    ),
)

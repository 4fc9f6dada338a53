-- Alerts to people. `target` says in which form and where a channel's messages go; what is secret of it is in `sealed`.
-- `free_at` is when the channel may get another message.
CREATE TABLE alert_channels (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    target TEXT NOT NULL,
    sealed BLOB NOT NULL,
    free_at TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- `seen` is the last event that was looked at for this route.
CREATE TABLE alert_routes (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    events TEXT NOT NULL,
    severity TEXT NOT NULL,
    tenant TEXT,
    window_s INTEGER NOT NULL,
    quiet TEXT,
    seen INTEGER NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE TABLE alert_receivers (
    route_id TEXT NOT NULL REFERENCES alert_routes (id) ON DELETE CASCADE,
    channel_id TEXT NOT NULL REFERENCES alert_channels (id),
    PRIMARY KEY (route_id, channel_id)
) STRICT;
CREATE INDEX alert_receivers_of_channel ON alert_receivers (channel_id);

-- A message gathers events of its group until it is due. It holds no text: that is made of its events when it is sent,
-- so that what was erased is not told. `subject` and `group_key` name no artist. `events` is how many were told.
CREATE TABLE alert_messages (
    id TEXT NOT NULL PRIMARY KEY,
    channel_id TEXT NOT NULL REFERENCES alert_channels (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    group_key TEXT NOT NULL,
    type TEXT NOT NULL,
    phase TEXT NOT NULL,
    severity TEXT NOT NULL,
    is_test INTEGER NOT NULL,
    state TEXT NOT NULL,
    events INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    due_at TEXT NOT NULL,
    next_at TEXT NOT NULL,
    lease_owner TEXT,
    lease_until TEXT,
    status INTEGER,
    problem TEXT,
    finished_at TEXT
) STRICT;
CREATE UNIQUE INDEX alert_messages_gathering ON alert_messages (channel_id, group_key)
    WHERE state = 'gathering';
CREATE INDEX alert_messages_open ON alert_messages (channel_id, due_at, id) WHERE finished_at IS NULL;
CREATE INDEX alert_messages_ended ON alert_messages (finished_at) WHERE finished_at IS NOT NULL;

-- Each event is told once to a channel, however many routes lead it there.
CREATE TABLE alert_events (
    channel_id TEXT NOT NULL REFERENCES alert_channels (id) ON DELETE CASCADE,
    event_seq INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    message_id TEXT NOT NULL REFERENCES alert_messages (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_id, event_seq)
) STRICT;
CREATE INDEX alert_events_of_message ON alert_events (message_id, event_seq);
CREATE INDEX alert_events_by_event ON alert_events (event_seq);

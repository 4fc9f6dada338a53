-- Alerts to people. `target` says in which form and where a channel's messages go; what is secret of it is in `sealed`.
-- `free_at` is when the channel may get another message.
CREATE TABLE backline.alert_channels (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    target JSONB NOT NULL,
    sealed BYTEA NOT NULL,
    free_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- `seen` is the last event that was looked at for this route.
CREATE TABLE backline.alert_routes (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    events JSONB NOT NULL,
    severity TEXT NOT NULL,
    tenant TEXT,
    window_s BIGINT NOT NULL,
    quiet JSONB,
    seen BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

CREATE TABLE backline.alert_receivers (
    route_id UUID NOT NULL REFERENCES backline.alert_routes (id) ON DELETE CASCADE,
    channel_id UUID NOT NULL REFERENCES backline.alert_channels (id),
    PRIMARY KEY (route_id, channel_id)
);
CREATE INDEX alert_receivers_of_channel ON backline.alert_receivers (channel_id);

-- A message gathers events of its group until it is due. It holds no text: that is made of its events when it is sent,
-- so that what was erased is not told. `subject` and `group_key` name no artist. `events` is how many were told.
CREATE TABLE backline.alert_messages (
    id UUID PRIMARY KEY,
    channel_id UUID NOT NULL REFERENCES backline.alert_channels (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    group_key TEXT NOT NULL,
    type TEXT NOT NULL,
    phase TEXT NOT NULL,
    severity TEXT NOT NULL,
    is_test BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    events BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    next_at TIMESTAMPTZ NOT NULL,
    lease_owner TEXT,
    lease_until TIMESTAMPTZ,
    status BIGINT,
    problem TEXT,
    finished_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX alert_messages_gathering ON backline.alert_messages (channel_id, group_key)
    WHERE state = 'gathering';
CREATE INDEX alert_messages_open ON backline.alert_messages (channel_id, due_at, id) WHERE finished_at IS NULL;
CREATE INDEX alert_messages_ended ON backline.alert_messages (finished_at) WHERE finished_at IS NOT NULL;

-- Each event is told once to a channel, however many routes lead it there.
CREATE TABLE backline.alert_events (
    channel_id UUID NOT NULL REFERENCES backline.alert_channels (id) ON DELETE CASCADE,
    event_seq BIGINT NOT NULL REFERENCES backline.events (seq) ON DELETE CASCADE,
    message_id UUID NOT NULL REFERENCES backline.alert_messages (id) ON DELETE CASCADE,
    PRIMARY KEY (channel_id, event_seq)
);
CREATE INDEX alert_events_of_message ON backline.alert_events (message_id, event_seq);
CREATE INDEX alert_events_by_event ON backline.alert_events (event_seq);

-- Who is told of events, and how far each of them has been told.

-- `seen` is the last event that was looked at for this webhook. `secret` and `previous_secret` are sealed; the latter signs too until
-- `previous_until`. `disabled_reason` says why Backline itself switched it off.
CREATE TABLE webhooks (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    url TEXT NOT NULL,
    events JSONB NOT NULL,
    tenant TEXT,
    secret BYTEA NOT NULL,
    previous_secret BYTEA,
    previous_until TIMESTAMPTZ,
    enabled BOOLEAN NOT NULL,
    disabled_reason TEXT,
    seen BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- `line`: events of the same line are delivered one after the other, in the order of `event_seq`. `next_at` is when a delivery may be tried; that
-- of one that waits behind another is a hint only, since the head of the line comes first. A lease holds until `lease_until`, whatever becomes of its owner.
CREATE TABLE deliveries (
    webhook_id UUID NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_seq BIGINT NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
    event_id UUID NOT NULL,
    artist_id UUID,
    line TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    first_tried_at TIMESTAMPTZ,
    next_at TIMESTAMPTZ NOT NULL,
    lease_owner TEXT,
    lease_until TIMESTAMPTZ,
    status BIGINT,
    problem TEXT,
    finished_at TIMESTAMPTZ,
    PRIMARY KEY (webhook_id, event_seq)
);
CREATE INDEX deliveries_due ON deliveries (webhook_id, next_at, event_seq) WHERE state = 'waiting';
CREATE INDEX deliveries_lines ON deliveries (webhook_id, line, event_seq) WHERE state = 'waiting';
CREATE INDEX events_by_time ON events (occurred_at);
CREATE INDEX deliveries_parked ON deliveries (webhook_id) WHERE state = 'parked';
CREATE INDEX deliveries_by_event ON deliveries (event_seq);
CREATE INDEX deliveries_by_artist ON deliveries (artist_id) WHERE artist_id IS NOT NULL;

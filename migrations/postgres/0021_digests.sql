-- Digests of a tenant's numbers, sent to people again and again by a channel of alerts. `days` is every day, or a day
-- of the week; `hour` is by the clocks of `timezone`. `next_at` is when it is due next.
CREATE TABLE backline.alert_digests (
    id UUID PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    channel_id UUID NOT NULL REFERENCES backline.alert_channels (id),
    tenant TEXT NOT NULL,
    days TEXT NOT NULL,
    hour BIGINT NOT NULL,
    timezone TEXT NOT NULL,
    quiet JSONB,
    next_at TIMESTAMPTZ NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX alert_digests_of_channel ON backline.alert_digests (channel_id);

-- A digest that is to be sent is a message without events. Its text is made when it is sent, of what is stored then.
ALTER TABLE backline.alert_messages
    ADD COLUMN digest_id UUID REFERENCES backline.alert_digests (id) ON DELETE CASCADE;
ALTER TABLE backline.alert_messages ADD COLUMN digest_day DATE;

-- The digest of a day is one message, however many hosts find it due. What a person asks for is apart.
CREATE UNIQUE INDEX alert_messages_of_digest ON backline.alert_messages (digest_id, digest_day)
    WHERE digest_id IS NOT NULL AND NOT is_test;

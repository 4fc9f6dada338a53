-- What the things that an act was about were before and after it. Of an entry about an artist this goes with the artist,
-- as the entry does; no other entry has anything of an artist in it.
ALTER TABLE backline.audit ADD COLUMN state_before JSONB;
ALTER TABLE backline.audit ADD COLUMN state_after JSONB;

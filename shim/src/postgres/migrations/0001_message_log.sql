-- Message logs: one row per channel, one row per message. All objects are created in the first schema of the search
-- path, and the functions store that path. Append and expire are functions, so that each is one statement, one round
-- trip and one transaction, which holds the lock of the channel's row only for its own duration.

-- The log as a whole, in one row: its epoch, and the timeline of the server on which the epoch was created.
CREATE TABLE log (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch text NOT NULL,
    server_timeline text NOT NULL
);

-- A channel: its head offset, and the oldest retained offset (head + 1 if there is none) with the time of that message.
-- `epoch` and `server_timeline` are set if the channel was imported from another store with its own epoch.
CREATE TABLE channels (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    head bigint NOT NULL,
    first bigint NOT NULL,
    first_at bigint NOT NULL,
    epoch text,
    server_timeline text
) WITH (fillfactor = 50);

-- A message. No foreign key: only the functions below write to the table, and the check would cost every append a
-- look-up.
CREATE TABLE messages (
    channel bigint NOT NULL,
    log_offset bigint NOT NULL,
    sent_at bigint NOT NULL,
    sender text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (channel, log_offset)
);
CREATE UNIQUE INDEX messages_ids ON messages (channel, id, sender, role);

-- The timeline of the server changes when a replica is promoted and when a backup is restored to a point in time.
-- Acknowledged messages may then be missing and their offsets be assigned again. Managed services that do not permit
-- the function have shared storage instead, which loses no committed transaction; their timeline is constant.
DO $do$
BEGIN
    PERFORM pg_walfile_name(pg_current_wal_lsn());
    CREATE FUNCTION timeline() RETURNS text LANGUAGE sql STABLE RETURN left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR undefined_function THEN
    CREATE FUNCTION timeline() RETURNS text LANGUAGE sql IMMUTABLE RETURN ''::text;
END
$do$;

-- Returns the epoch for readers, which differs on another timeline.
CREATE FUNCTION effective_epoch(epoch text, server_timeline text) RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN server_timeline = timeline() THEN epoch ELSE epoch || '-' || timeline() END;

-- Starts a new epoch in all channels. To be called after a dump was restored or messages were changed manually.
CREATE FUNCTION start_epoch() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE log SET epoch = replace(gen_random_uuid()::text, '-', ''), server_timeline = timeline();
    UPDATE channels SET epoch = NULL, server_timeline = NULL WHERE epoch IS NOT NULL;
END
$$;

INSERT INTO log (epoch, server_timeline) VALUES (replace(gen_random_uuid()::text, '-', ''), timeline());

-- Appends one message, or returns the offset of its first append. The increment of the head locks the channel until the
-- transaction ends.
CREATE FUNCTION append(
    channel_name text, sender_name text, sender_role text, message_id text, sent bigint, message_body text,
    OUT epoch text, OUT log_offset bigint, OUT sent_at bigint, OUT duplicate boolean
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    owner channels;
BEGIN
    UPDATE channels AS c SET head = c.head + 1, first_at = CASE WHEN c.first > c.head THEN sent ELSE c.first_at END
        WHERE c.name = channel_name RETURNING c.* INTO owner;
    IF NOT FOUND THEN
        INSERT INTO channels AS c (name, head, first, first_at) VALUES (channel_name, 1, 1, sent)
            ON CONFLICT (name) DO UPDATE SET head = c.head + 1 RETURNING c.* INTO owner;
    END IF;
    append.log_offset := owner.head;
    append.sent_at := sent;
    INSERT INTO messages VALUES (owner.id, owner.head, sent, sender_name, sender_role, message_id, message_body)
        ON CONFLICT (channel, id, sender, role) DO NOTHING;
    append.duplicate := NOT FOUND;
    IF append.duplicate THEN
        UPDATE channels AS c SET head = c.head - 1 WHERE c.id = owner.id;
        SELECT m.log_offset, m.sent_at INTO STRICT append.log_offset, append.sent_at FROM messages AS m
            WHERE m.channel = owner.id AND m.id = message_id AND m.sender = sender_name AND m.role = sender_role;
    END IF;
    SELECT effective_epoch(coalesce(owner.epoch, l.epoch), coalesce(owner.server_timeline, l.server_timeline))
        INTO STRICT append.epoch FROM log AS l;
END
$$;

-- Inserts messages of another store at their offsets, with the epoch that clients know. A channel without messages
-- starts after `after_offset`; offsets up to the head are treated as already imported. Returns 'done', 'epoch' (the
-- channel has messages of another epoch) or 'missing_range' (there are offsets between the head and the first of these
-- messages).
CREATE FUNCTION import(
    channel_name text, source_epoch text, after_offset bigint,
    offsets bigint[], times bigint[], senders text[], roles text[], ids text[], bodies text[]
) RETURNS text LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    owner channels;
    current_epoch text;
    first_new bigint;
BEGIN
    INSERT INTO channels (name, head, first, first_at, epoch, server_timeline)
        VALUES (channel_name, after_offset, after_offset + 1, coalesce(times[1], 0), source_epoch, timeline())
        ON CONFLICT (name) DO NOTHING;
    SELECT c.* INTO STRICT owner FROM channels AS c WHERE c.name = channel_name FOR NO KEY UPDATE;
    SELECT effective_epoch(coalesce(owner.epoch, l.epoch), coalesce(owner.server_timeline, l.server_timeline))
        INTO STRICT current_epoch FROM log AS l;
    IF current_epoch <> source_epoch THEN
        RETURN 'epoch';
    END IF;
    SELECT min(o) INTO first_new FROM unnest(offsets) AS o WHERE o > owner.head;
    IF coalesce(first_new <> owner.head + 1, after_offset > owner.head) THEN
        RETURN 'missing_range';
    END IF;
    INSERT INTO messages (channel, log_offset, sent_at, sender, role, id, body)
        SELECT owner.id, added.* FROM unnest(offsets, times, senders, roles, ids, bodies) AS added (o, t, s, r, i, b)
        WHERE added.o > owner.head;
    UPDATE channels AS c SET
        head = greatest(c.head, (SELECT max(o) FROM unnest(offsets) AS o)),
        first_at = CASE WHEN c.first <= c.head THEN c.first_at
            ELSE coalesce(
                (SELECT m.sent_at FROM messages AS m WHERE m.channel = owner.id AND m.log_offset = c.first),
                c.first_at) END
        WHERE c.id = owner.id;
    RETURN 'done';
END
$$;

-- Deletes messages that exceed the retention limits, oldest first: checks `page` channels after `after_channel` and
-- deletes at most `budget` messages. Returns the channel after which the next call continues (0: from the beginning).
-- Skips channels that are locked by an append.
CREATE FUNCTION expire(
    after_channel bigint, max_messages bigint, too_old bigint, page integer, budget integer,
    OUT next bigint, OUT dropped bigint
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    owner record;
    sweep_end bigint;
    first_kept bigint;
    deleted bigint;
BEGIN
    dropped := 0;
    SELECT coalesce(max(checked.id), 0) INTO next
        FROM (SELECT c.id FROM channels AS c WHERE c.id > after_channel ORDER BY c.id LIMIT page) AS checked;
    FOR owner IN
        SELECT c.id, c.head, c.first FROM channels AS c
        WHERE c.id > after_channel AND c.id <= next AND c.first <= c.head
            AND (c.head - c.first >= max_messages OR c.first_at <= too_old)
        ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        sweep_end := least(owner.first + budget - dropped, owner.head + 1);
        SELECT m.log_offset INTO first_kept FROM messages AS m
            WHERE m.channel = owner.id AND m.log_offset >= greatest(owner.first, owner.head - max_messages + 1)
                AND m.log_offset < sweep_end AND m.sent_at > too_old
            ORDER BY m.log_offset LIMIT 1;
        first_kept := coalesce(first_kept, sweep_end);
        DELETE FROM messages AS m
            WHERE m.channel = owner.id AND m.log_offset >= owner.first AND m.log_offset < first_kept;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        dropped := dropped + deleted;
        UPDATE channels AS c SET first = first_kept, first_at = coalesce(
            (SELECT m.sent_at FROM messages AS m WHERE m.channel = owner.id AND m.log_offset = first_kept), c.first_at)
            WHERE c.id = owner.id;
        IF dropped >= budget THEN
            next := owner.id - 1;
            EXIT;
        END IF;
    END LOOP;
END
$$;

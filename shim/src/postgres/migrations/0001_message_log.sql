-- Message logs: a row a channel, a row a message. Everything is made in the schema that is first on the search path, and the
-- functions remember that path. Appends and expiry are functions, so that each is one statement, one round trip, one
-- transaction, with the channel's row locked no longer than that.

-- The log as a whole: its epoch, and the server's timeline on which that was made.
CREATE TABLE log (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    epoch text NOT NULL,
    born text NOT NULL
);

-- A channel: the last offset that was given out, and the oldest that is kept (one past the head when none is) with its time.
-- `epoch` and `born` are set where a channel came from another store with an epoch of its own.
CREATE TABLE channels (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    head bigint NOT NULL,
    first bigint NOT NULL,
    first_at bigint NOT NULL,
    epoch text,
    born text
) WITH (fillfactor = 50);

-- A message. No foreign key: only the functions below write here, and the check would cost every append a look-up.
CREATE TABLE messages (
    channel bigint NOT NULL,
    place bigint NOT NULL,
    sent_at bigint NOT NULL,
    author text COLLATE "C" NOT NULL,
    role text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (channel, place)
);
CREATE UNIQUE INDEX messages_ids ON messages (channel, id, author, role);

-- The server's timeline changes when a replica takes over, and when a backup is restored to a point in time: then messages that
-- were acknowledged may be missing, and their offsets are given out again. Services that keep the function to themselves
-- have shared storage instead, which loses none.
DO $do$
BEGIN
    PERFORM pg_walfile_name(pg_current_wal_lsn());
    CREATE FUNCTION timeline() RETURNS text LANGUAGE sql STABLE RETURN left(pg_walfile_name(pg_current_wal_lsn()), 8);
EXCEPTION WHEN feature_not_supported OR insufficient_privilege OR undefined_function THEN
    CREATE FUNCTION timeline() RETURNS text LANGUAGE sql IMMUTABLE RETURN ''::text;
END
$do$;

-- What readers are told as the epoch: another one on another timeline.
CREATE FUNCTION incarnation(epoch text, born text) RETURNS text LANGUAGE sql STABLE
RETURN CASE WHEN born = timeline() THEN epoch ELSE epoch || '-' || timeline() END;

-- Begins another epoch in all channels: to be called after a dump was restored, or messages were changed by hand.
CREATE FUNCTION begin_epoch() RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    UPDATE log SET epoch = replace(gen_random_uuid()::text, '-', ''), born = timeline();
    UPDATE channels SET epoch = NULL, born = NULL WHERE epoch IS NOT NULL;
END
$$;

INSERT INTO log (epoch, born) VALUES (replace(gen_random_uuid()::text, '-', ''), timeline());

-- Appends one message, or finds where it was appended before. The raised head locks the channel until the transaction ends.
CREATE FUNCTION append(
    channel_name text, author_name text, author_role text, message_id text, sent bigint, message_body text,
    OUT epoch text, OUT place bigint, OUT sent_at bigint, OUT duplicate boolean
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
    append.place := owner.head;
    append.sent_at := sent;
    INSERT INTO messages VALUES (owner.id, owner.head, sent, author_name, author_role, message_id, message_body)
        ON CONFLICT (channel, id, author, role) DO NOTHING;
    append.duplicate := NOT FOUND;
    IF append.duplicate THEN
        UPDATE channels AS c SET head = c.head - 1 WHERE c.id = owner.id;
        SELECT m.place, m.sent_at INTO STRICT append.place, append.sent_at FROM messages AS m
            WHERE m.channel = owner.id AND m.id = message_id AND m.author = author_name AND m.role = author_role;
    END IF;
    SELECT incarnation(coalesce(owner.epoch, l.epoch), coalesce(owner.born, l.born)) INTO STRICT append.epoch FROM log AS l;
END
$$;

-- Writes messages of another store at the places that they have, with the epoch that clients know them by. A channel without
-- messages begins behind `behind`; places up to the head are taken as written. Answers 'done', 'epoch' (the channel has messages
-- of another one) or 'hole' (it ends before these begin).
CREATE FUNCTION import(
    channel_name text, its_epoch text, behind bigint,
    places bigint[], times bigint[], authors text[], roles text[], ids text[], bodies text[]
) RETURNS text LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    owner channels;
    told text;
    begins bigint;
BEGIN
    INSERT INTO channels (name, head, first, first_at, epoch, born)
        VALUES (channel_name, behind, behind + 1, coalesce(times[1], 0), its_epoch, timeline()) ON CONFLICT (name) DO NOTHING;
    SELECT c.* INTO STRICT owner FROM channels AS c WHERE c.name = channel_name FOR NO KEY UPDATE;
    SELECT incarnation(coalesce(owner.epoch, l.epoch), coalesce(owner.born, l.born)) INTO STRICT told FROM log AS l;
    IF told <> its_epoch THEN
        RETURN 'epoch';
    END IF;
    SELECT min(p) INTO begins FROM unnest(places) AS p WHERE p > owner.head;
    IF coalesce(begins <> owner.head + 1, behind > owner.head) THEN
        RETURN 'hole';
    END IF;
    INSERT INTO messages (channel, place, sent_at, author, role, id, body)
        SELECT owner.id, given.* FROM unnest(places, times, authors, roles, ids, bodies) AS given (p, t, a, r, i, b)
        WHERE given.p > owner.head;
    UPDATE channels AS c SET
        head = greatest(c.head, (SELECT max(p) FROM unnest(places) AS p)),
        first_at = CASE WHEN c.first <= c.head THEN c.first_at
            ELSE coalesce((SELECT m.sent_at FROM messages AS m WHERE m.channel = owner.id AND m.place = c.first), c.first_at) END
        WHERE c.id = owner.id;
    RETURN 'done';
END
$$;

-- Drops what is too much or too old, oldest first: looks at `page` channels behind `behind`, drops at most `budget` messages,
-- and says behind which channel to go on (0 begins anew). Channels that are being written to are left for the next time.
CREATE FUNCTION expire(
    behind bigint, most bigint, too_old bigint, page integer, budget integer, OUT next bigint, OUT dropped bigint
) LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    owner record;
    beyond bigint;
    kept bigint;
    gone bigint;
BEGIN
    dropped := 0;
    SELECT coalesce(max(looked.id), 0) INTO next
        FROM (SELECT c.id FROM channels AS c WHERE c.id > behind ORDER BY c.id LIMIT page) AS looked;
    FOR owner IN
        SELECT c.id, c.head, c.first FROM channels AS c
        WHERE c.id > behind AND c.id <= next AND c.first <= c.head AND (c.head - c.first >= most OR c.first_at <= too_old)
        ORDER BY c.id FOR NO KEY UPDATE SKIP LOCKED
    LOOP
        beyond := least(owner.first + budget - dropped, owner.head + 1);
        SELECT m.place INTO kept FROM messages AS m
            WHERE m.channel = owner.id AND m.place >= greatest(owner.first, owner.head - most + 1) AND m.place < beyond
                AND m.sent_at > too_old
            ORDER BY m.place LIMIT 1;
        kept := coalesce(kept, beyond);
        DELETE FROM messages AS m WHERE m.channel = owner.id AND m.place >= owner.first AND m.place < kept;
        GET DIAGNOSTICS gone = ROW_COUNT;
        dropped := dropped + gone;
        UPDATE channels AS c SET first = kept, first_at = coalesce(
            (SELECT m.sent_at FROM messages AS m WHERE m.channel = owner.id AND m.place = kept), c.first_at)
            WHERE c.id = owner.id;
        IF dropped >= budget THEN
            next := owner.id - 1;
            EXIT;
        END IF;
    END LOOP;
END
$$;

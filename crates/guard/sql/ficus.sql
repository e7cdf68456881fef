-- The database side of a transfer: guard rows, apply rows and the functions that change them.
-- Installed alike in the source and in the target database; idempotent. Every function is one local
-- transaction with its compare-and-set inside; replaying one returns the row as it is.
--
-- SQLSTATEs:  FC001 a write to a fenced table      FC002 the guard is not in the expected state
--             FC003 the server is not the one the guard was installed on (failover, restored backup)

CREATE SCHEMA IF NOT EXISTS ficus;

CREATE TABLE IF NOT EXISTS ficus.guard (
    capability  text PRIMARY KEY,
    state       text NOT NULL CHECK (state IN ('OPEN', 'FENCED', 'MOVED')),
    epoch       bigint NOT NULL,
    -- epoch this side was prepared for as the next owner, 0 when it was not
    prepared    bigint NOT NULL DEFAULT 0,
    deadline    timestamptz,
    barrier_lsn pg_lsn,
    -- where this database's WAL stood when it was prepared: nothing local lies before it
    pinned_lsn  pg_lsn,
    system_id   text NOT NULL,
    timeline    integer NOT NULL,
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE IF NOT EXISTS ficus.guard_table (
    capability text NOT NULL,
    relation   text NOT NULL,
    PRIMARY KEY (capability, relation)
);

-- name is the same on both sides ("public.ticket.id"); sequence is this side's own
CREATE TABLE IF NOT EXISTS ficus.guard_sequence (
    capability text NOT NULL,
    name       text NOT NULL,
    sequence   text NOT NULL,
    PRIMARY KEY (capability, name)
);

-- One row for each stream that applies into this database. lsn is the commit end of the last source
-- transaction applied; it changes in the very transaction that writes that transaction's rows.
CREATE TABLE IF NOT EXISTS ficus.apply (
    stream            text PRIMARY KEY,
    capability        text NOT NULL,
    kind              text NOT NULL CHECK (kind IN ('forward', 'reverse', 'reference')),
    mode              text NOT NULL CHECK (mode IN ('apply', 'stopped')),
    epoch             bigint NOT NULL DEFAULT 1,
    lsn               pg_lsn NOT NULL,
    barrier_seen      bigint NOT NULL DEFAULT 0,
    barrier_sequences jsonb NOT NULL DEFAULT '{}',
    slot              text NOT NULL,
    peer_system_id    text NOT NULL,
    peer_timeline     integer NOT NULL,
    copied            boolean NOT NULL DEFAULT false,
    paused            boolean NOT NULL DEFAULT false,
    gave_up           text -- why nobody tries the stream again by itself
);
ALTER TABLE ficus.apply ADD COLUMN IF NOT EXISTS gave_up text;
-- Grows with every change to how the stream's tables stand: an applier that knows an older one starts again.
ALTER TABLE ficus.apply ADD COLUMN IF NOT EXISTS tables bigint NOT NULL DEFAULT 0;

-- How each table of a stream stands: copied, current, or waiting with its changes parked. What a change
-- of state means is in cdc/src/tables/state.rs. key and lsn say where the trouble is, missed that parked
-- changes were dropped, and shape what the columns were when the mapping last fitted.
CREATE TABLE IF NOT EXISTS ficus.copy (
    stream      text NOT NULL,
    source      text NOT NULL,
    target      text NOT NULL,
    state       text NOT NULL,
    rows_copied bigint NOT NULL DEFAULT 0,
    reason      text NOT NULL DEFAULT '',
    PRIMARY KEY (stream, source)
);
ALTER TABLE ficus.copy ADD COLUMN IF NOT EXISTS key text,
    ADD COLUMN IF NOT EXISTS lsn pg_lsn,
    ADD COLUMN IF NOT EXISTS missed boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS skips boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS skipped bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS shape text,
    ADD COLUMN IF NOT EXISTS complete_lsn pg_lsn;
ALTER TABLE ficus.copy DROP CONSTRAINT IF EXISTS copy_state_check;
ALTER TABLE ficus.copy ADD CONSTRAINT copy_state_check CHECK (state IN
    ('pending', 'copying', 'ready', 'quarantined', 'changed', 'resyncing', 'replaying'));

-- The log's own messages of tables that wait, in its order, each written with the stream's position.
CREATE TABLE IF NOT EXISTS ficus.parked (
    stream  text NOT NULL,
    source  text NOT NULL,
    seq     bigint GENERATED ALWAYS AS IDENTITY,
    xid     bigint NOT NULL,
    lsn     pg_lsn NOT NULL,
    message bytea NOT NULL,
    PRIMARY KEY (stream, source, seq)
);

-- The ranges of the primary key that were staged: up_to is a range's last key, NULL for the last range,
-- snapshot what the range was read with.
CREATE TABLE IF NOT EXISTS ficus.chunk (
    stream   text NOT NULL,
    source   text NOT NULL,
    number   integer NOT NULL,
    up_to    text[],
    snapshot text NOT NULL,
    PRIMARY KEY (stream, source, number)
);

-- Copies of tables that are made while their changes are parked; the applier creates and drops them.
CREATE SCHEMA IF NOT EXISTS ficus_stage;

-- Indexes that a copy took away, to be built after it: a row comes with the DROP and goes with the CREATE.
CREATE TABLE IF NOT EXISTS ficus.copy_index (
    stream     text NOT NULL,
    source     text NOT NULL,
    relation   text NOT NULL,
    name       text PRIMARY KEY,
    definition text NOT NULL
);

-- What the last comparison of every row found; in the target database, written by the replicator.
CREATE TABLE IF NOT EXISTS ficus.verification (
    capability       text PRIMARY KEY,
    rows             bigint NOT NULL,
    missing          bigint NOT NULL,
    extra            bigint NOT NULL,
    different        bigint NOT NULL,
    repaired         bigint NOT NULL,
    samples          text[] NOT NULL,
    finished_unix_ms bigint NOT NULL,
    clean_unix_ms    bigint NOT NULL
);

-- The body only raises: a trigger that read a state row would leak under REPEATABLE READ.
CREATE OR REPLACE FUNCTION ficus.refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'writes to %.% are fenced: another side owns them', TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'FC001', HINT = 'retry through the proxy; see ficus status';
END $$;

CREATE OR REPLACE FUNCTION ficus.lock_guard(p_capability text) RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
    v_system_id text := (SELECT system_identifier::text FROM pg_control_system());
    v_timeline integer := (SELECT timeline_id FROM pg_control_checkpoint());
BEGIN
    SELECT * INTO g FROM ficus.guard WHERE capability = p_capability FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'capability % has no guard here', p_capability
            USING ERRCODE = 'FC002', HINT = 'run: ficus start ' || p_capability;
    END IF;
    IF g.system_id <> v_system_id OR g.timeline <> v_timeline THEN
        RAISE EXCEPTION 'guard of % was installed on server % timeline %, this is % timeline %',
            p_capability, g.system_id, g.timeline, v_system_id, v_timeline USING ERRCODE = 'FC003';
    END IF;
    RETURN g;
END $$;

CREATE OR REPLACE FUNCTION ficus.set_triggers(p_capability text, p_on boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    r text;
BEGIN
    FOR r IN SELECT relation FROM ficus.guard_table WHERE capability = p_capability ORDER BY relation LOOP
        IF p_on THEN
            EXECUTE 'ALTER TABLE ' || r || ' ENABLE ALWAYS TRIGGER ficus_guard';
        ELSE
            EXECUTE 'ALTER TABLE ' || r || ' DISABLE TRIGGER ficus_guard';
        END IF;
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION ficus.short_locks(p_lock_timeout_ms integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'on', true);
    PERFORM set_config('lock_timeout', p_lock_timeout_ms || 'ms', true);
    BEGIN
        -- autovacuum yields after deadlock_timeout: let it do so before lock_timeout is over
        PERFORM set_config('deadlock_timeout', greatest(10, p_lock_timeout_ms / 10) || 'ms', true);
    EXCEPTION WHEN insufficient_privilege THEN NULL;
    END;
END $$;

-- OPEN(e) -> FENCED(e+1). Waits for the writers of the capability's tables, turns the triggers on,
-- reads the sequences and writes the barrier into the WAL, all in one transaction.
CREATE OR REPLACE FUNCTION ficus.fence(p_capability text, p_epoch bigint, p_ttl_ms integer, p_lock_timeout_ms integer)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
    v_tables text := (SELECT string_agg(relation, ', ' ORDER BY relation) FROM ficus.guard_table WHERE capability = p_capability);
    v_sequences jsonb := '{}';
    s record;
    v_last bigint;
BEGIN
    PERFORM ficus.short_locks(p_lock_timeout_ms);
    IF v_tables IS NULL THEN
        RAISE EXCEPTION 'capability % has no tables here', p_capability USING ERRCODE = 'FC002';
    END IF;
    EXECUTE 'LOCK TABLE ' || v_tables || ' IN SHARE ROW EXCLUSIVE MODE';
    g := ficus.lock_guard(p_capability);
    IF g.state = 'FENCED' AND g.epoch = p_epoch + 1 THEN
        RETURN g;
    END IF;
    IF g.state <> 'OPEN' OR g.epoch <> p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%), expected OPEN(%)', p_capability, g.state, g.epoch, p_epoch USING ERRCODE = 'FC002';
    END IF;
    PERFORM ficus.set_triggers(p_capability, true);
    FOR s IN SELECT name, sequence FROM ficus.guard_sequence WHERE capability = p_capability LOOP
        EXECUTE 'SELECT last_value FROM ' || s.sequence INTO v_last;
        v_sequences := v_sequences || jsonb_build_object(s.name, v_last);
    END LOOP;
    UPDATE ficus.guard SET state = 'FENCED', epoch = p_epoch + 1, changed_at = clock_timestamp(),
        deadline = clock_timestamp() + make_interval(secs => p_ttl_ms / 1000.0),
        barrier_lsn = pg_current_wal_insert_lsn()
    WHERE capability = p_capability RETURNING * INTO g;
    PERFORM pg_logical_emit_message(true, 'ficus.barrier', jsonb_build_object(
        'capability', p_capability, 'epoch', p_epoch + 1, 'sequences', v_sequences)::text);
    RETURN g;
END $$;

-- FENCED(E) -> OPEN(E+1). By anyone once the deadline has passed; before it only by who holds the fence (p_force).
CREATE OR REPLACE FUNCTION ficus.expire(p_capability text, p_epoch bigint, p_force boolean)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
BEGIN
    PERFORM ficus.short_locks(2000);
    g := ficus.lock_guard(p_capability);
    IF g.state = 'OPEN' AND g.epoch = p_epoch + 1 THEN
        RETURN g;
    END IF;
    IF g.state <> 'FENCED' OR g.epoch <> p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%), expected FENCED(%)', p_capability, g.state, g.epoch, p_epoch USING ERRCODE = 'FC002';
    END IF;
    IF NOT p_force AND clock_timestamp() < g.deadline THEN
        RAISE EXCEPTION 'fence of % at % has not reached its deadline', p_capability, p_epoch USING ERRCODE = 'FC002';
    END IF;
    PERFORM ficus.set_triggers(p_capability, false);
    UPDATE ficus.guard SET state = 'OPEN', epoch = p_epoch + 1, deadline = NULL, changed_at = clock_timestamp()
    WHERE capability = p_capability RETURNING * INTO g;
    RETURN g;
END $$;

-- On the new owner: the barrier E was applied here, so inbound apply stops, sequences move past the old owner's.
CREATE OR REPLACE FUNCTION ficus.prepare(p_capability text, p_epoch bigint, p_gap bigint)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
    a ficus.apply;
    s record;
    v_last bigint;
BEGIN
    PERFORM ficus.short_locks(1000);
    g := ficus.lock_guard(p_capability);
    IF g.state = 'MOVED' AND g.prepared = p_epoch THEN
        RETURN g;
    END IF;
    SELECT * INTO a FROM ficus.apply WHERE capability = p_capability AND kind <> 'reference' FOR UPDATE;
    IF g.state <> 'MOVED' OR g.prepared <> 0 OR g.epoch >= p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%) prepared %, expected MOVED(<%) prepared 0', p_capability, g.state, g.epoch, g.prepared, p_epoch USING ERRCODE = 'FC002';
    END IF;
    IF a.mode IS DISTINCT FROM 'apply' OR a.barrier_seen IS DISTINCT FROM p_epoch THEN
        RAISE EXCEPTION 'barrier % of % was not applied here (mode %, seen %)', p_epoch, p_capability, a.mode, a.barrier_seen USING ERRCODE = 'FC002';
    END IF;
    UPDATE ficus.apply SET mode = 'stopped', epoch = epoch + 1 WHERE stream = a.stream;
    FOR s IN SELECT name, sequence FROM ficus.guard_sequence WHERE capability = p_capability LOOP
        EXECUTE 'SELECT last_value FROM ' || s.sequence INTO v_last;
        PERFORM setval(s.sequence::regclass, greatest(v_last, coalesce((a.barrier_sequences ->> s.name)::bigint, 0)) + p_gap);
    END LOOP;
    UPDATE ficus.guard SET prepared = p_epoch, pinned_lsn = pg_current_wal_insert_lsn(), changed_at = clock_timestamp()
    WHERE capability = p_capability RETURNING * INTO g;
    RETURN g;
END $$;

-- On the new owner after an abort: the old owner's epoch (p_proof, read by the caller) is past E, so E can never be decided.
CREATE OR REPLACE FUNCTION ficus.unprepare(p_capability text, p_epoch bigint, p_proof bigint)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
BEGIN
    PERFORM ficus.short_locks(1000);
    g := ficus.lock_guard(p_capability);
    IF g.prepared = 0 AND g.state = 'MOVED' THEN
        RETURN g;
    END IF;
    IF g.state <> 'MOVED' OR g.prepared <> p_epoch OR p_proof <= p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%) prepared %, expected MOVED prepared % with proof of a later epoch', p_capability, g.state, g.epoch, g.prepared, p_epoch USING ERRCODE = 'FC002';
    END IF;
    UPDATE ficus.apply SET mode = 'apply', epoch = epoch + 1, barrier_seen = 0 WHERE capability = p_capability AND kind <> 'reference';
    UPDATE ficus.guard SET prepared = 0, changed_at = clock_timestamp() WHERE capability = p_capability RETURNING * INTO g;
    RETURN g;
END $$;

-- The point of no return, on the old owner: FENCED(E) -> MOVED(E) before the deadline. p_prepared is what the
-- caller read on the new owner. Arms the stream that will carry the new owner's writes back here.
CREATE OR REPLACE FUNCTION ficus.decide(p_capability text, p_epoch bigint, p_prepared bigint, p_margin_ms integer)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
BEGIN
    PERFORM ficus.short_locks(1000);
    g := ficus.lock_guard(p_capability);
    IF g.state = 'MOVED' AND g.epoch = p_epoch THEN
        RETURN g;
    END IF;
    IF g.state <> 'FENCED' OR g.epoch <> p_epoch OR p_prepared <> p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%), expected FENCED(%) and the new owner prepared for it, not for %', p_capability, g.state, g.epoch, p_epoch, p_prepared USING ERRCODE = 'FC002';
    END IF;
    IF clock_timestamp() >= g.deadline - make_interval(secs => p_margin_ms / 1000.0) THEN
        RAISE EXCEPTION 'fence of % at % is too close to its deadline', p_capability, p_epoch USING ERRCODE = 'FC002';
    END IF;
    UPDATE ficus.apply SET mode = 'apply', epoch = epoch + 1, barrier_seen = 0 WHERE capability = p_capability AND kind <> 'reference';
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no stream of % applies here: there would be no way back', p_capability USING ERRCODE = 'FC002';
    END IF;
    UPDATE ficus.guard SET state = 'MOVED', prepared = 0, deadline = NULL, changed_at = clock_timestamp()
    WHERE capability = p_capability RETURNING * INTO g;
    RETURN g;
END $$;

-- On the new owner: MOVED(<E) -> OPEN(E). p_decided is the epoch at which the caller read the old owner MOVED.
CREATE OR REPLACE FUNCTION ficus.open(p_capability text, p_epoch bigint, p_decided bigint)
RETURNS ficus.guard
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    g ficus.guard;
BEGIN
    PERFORM ficus.short_locks(1000);
    g := ficus.lock_guard(p_capability);
    IF g.state = 'OPEN' AND g.epoch = p_epoch THEN
        RETURN g;
    END IF;
    IF g.state <> 'MOVED' OR g.epoch >= p_epoch OR g.prepared <> p_epoch OR p_decided <> p_epoch THEN
        RAISE EXCEPTION 'guard of % is %(%) prepared %, expected MOVED(<%) prepared for it and decided, not %', p_capability, g.state, g.epoch, g.prepared, p_epoch, p_decided USING ERRCODE = 'FC002';
    END IF;
    PERFORM ficus.set_triggers(p_capability, false);
    UPDATE ficus.guard SET state = 'OPEN', epoch = p_epoch, deadline = NULL, changed_at = clock_timestamp()
    WHERE capability = p_capability RETURNING * INTO g;
    RETURN g;
END $$;

-- What a watcher needs: the guard, whether its fence is overdue, and the state of the inbound transfer stream.
CREATE OR REPLACE FUNCTION ficus.view()
RETURNS TABLE (capability text, state text, epoch bigint, prepared bigint, overdue boolean, mode text, barrier_seen bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT g.capability, g.state, g.epoch, g.prepared,
        coalesce(g.state = 'FENCED' AND clock_timestamp() >= g.deadline, false), a.mode, a.barrier_seen
    FROM ficus.guard g LEFT JOIN ficus.apply a ON a.capability = g.capability AND a.kind <> 'reference'
$$;

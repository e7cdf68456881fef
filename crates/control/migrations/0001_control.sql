-- What control remembers: intent, journal and history. Never the truth about who may write: that is
-- in the guard rows of the two databases of each capability.

CREATE SCHEMA IF NOT EXISTS ficus_control;

-- One block of a million generations for each leader's term, so that publishing needs no round trip
-- and a later leader is always above an earlier one.
CREATE SEQUENCE ficus_control.generation START 1000000 INCREMENT 1000000;

CREATE TABLE ficus_control.leader (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    address text NOT NULL,
    since   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE ficus_control.capability (
    name     text PRIMARY KEY,
    phase    text NOT NULL DEFAULT 'monolith',
    since    timestamptz NOT NULL DEFAULT now(),
    -- the share of reads grows by the configured steps; a shift by hand ends that
    automatic boolean NOT NULL DEFAULT false,
    paused   boolean NOT NULL DEFAULT false,
    epoch    bigint NOT NULL DEFAULT 0
);

CREATE TABLE ficus_control.shift (
    capability text NOT NULL,
    at         timestamptz NOT NULL DEFAULT now(),
    phase      text NOT NULL,
    actor      text NOT NULL,
    reason     text NOT NULL DEFAULT ''
);
CREATE INDEX ON ficus_control.shift (capability, at);

CREATE TABLE ficus_control.transfer (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capability text NOT NULL,
    direction  text NOT NULL CHECK (direction IN ('cutover', 'rollback')),
    actor      text NOT NULL,
    state      jsonb NOT NULL,
    outcome    text NOT NULL DEFAULT 'running',
    reason     text NOT NULL DEFAULT '',
    started    timestamptz NOT NULL DEFAULT now(),
    ended      timestamptz,
    total_ms   bigint NOT NULL DEFAULT 0,
    hold_ms    bigint NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX ON ficus_control.transfer (capability) WHERE ended IS NULL;

CREATE TABLE ficus_control.journal (
    transfer bigint NOT NULL REFERENCES ficus_control.transfer,
    seq      integer NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    step     text NOT NULL,
    event    text NOT NULL,
    ms       double precision NOT NULL,
    detail   text NOT NULL,
    PRIMARY KEY (transfer, seq)
);

CREATE TABLE ficus_control.audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL,
    peer       text NOT NULL,
    command    text NOT NULL,
    capability text NOT NULL,
    detail     text NOT NULL
);
CREATE INDEX ON ficus_control.audit (capability, at);

CREATE TABLE ficus_control.verification (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    capability  text NOT NULL,
    finished    timestamptz NOT NULL DEFAULT now(),
    actor       text NOT NULL,
    rows        bigint NOT NULL,
    differences bigint NOT NULL,
    samples     jsonb NOT NULL
);

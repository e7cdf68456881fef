-- Automatic steps: paused by hand, how often they took the reads back, and until when they wait.
ALTER TABLE ficus_control.capability
    ADD COLUMN steps_paused boolean NOT NULL DEFAULT false,
    ADD COLUMN step_backs   integer NOT NULL DEFAULT 0,
    ADD COLUMN wait_until   timestamptz;

-- What an automatic step was decided on: counts, times and lag. Null for a shift by hand.
ALTER TABLE ficus_control.shift ADD COLUMN evidence jsonb;

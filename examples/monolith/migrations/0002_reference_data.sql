-- What every installation starts with. State ids follow the OTRS convention. All passwords are `secret`:
-- the administrator's is a cheap bcrypt hash, the agents' are `sha256$salt$hex`, as the monolith accepts both.

INSERT INTO users (id, login, pw, first_name, last_name, valid_id, create_time, create_by, change_time, change_by)
VALUES (1, 'root@localhost', '$2b$04$N1mFkjwDqMeyHEqPn8qZruqXkJhn1ceYGW3HF.TI.Y.1TCguDg7gi',
        'Admin', 'Root', 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1);

INSERT INTO users (id, login, pw, first_name, last_name, valid_id, create_time, create_by, change_time, change_by)
SELECT n + 1, 'agent' || n,
       'sha256$salt' || n || '$' || encode(sha256(convert_to('secretsalt' || n, 'UTF8')), 'hex'),
       (ARRAY['Ada','Ben','Chloe','Daniel','Elif','Farid','Grace','Hugo','Ines','Jonas'])[1 + n % 10],
       (ARRAY['Albers','Brandt','Costa','Duarte'])[1 + (n - 1) / 10],
       1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM generate_series(1, 40) AS n;

INSERT INTO groups (id, name, comments, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, comments, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'users', 'Everybody who works on tickets.'),
             (2, 'admin', 'Administrators: no queue is closed to them.'),
             (3, 'stats', 'Access to the reporting queue.')) AS g (id, name, comments);

-- agent1..30 work on everything of `users`, agent31..35 read, create and comment, agent36..39 only read,
-- agent40 may nothing; agent1..5 see the reporting queue too.
INSERT INTO group_user (user_id, group_id, permission_key, create_time, create_by, change_time, change_by)
SELECT user_id, group_id, permission_key, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (SELECT 1 AS user_id, g AS group_id, 'rw' AS permission_key FROM generate_series(1, 3) AS g
      UNION ALL SELECT n + 1, 1, 'rw' FROM generate_series(1, 30) AS n
      UNION ALL SELECT n + 1, 1, k FROM generate_series(31, 35) AS n, unnest(ARRAY['ro', 'create', 'note']) AS k
      UNION ALL SELECT n + 1, 1, 'ro' FROM generate_series(36, 39) AS n
      UNION ALL SELECT n + 1, 3, 'rw' FROM generate_series(1, 5) AS n) AS granted;

INSERT INTO queue (id, name, group_id, system_address_id, salutation_id, signature_id, follow_up_id, follow_up_lock,
                   unlock_timeout, comments, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, group_id, 1, 1, 1, 1, 0, 0, comments, 1,
       now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'Postmaster', 1, 'Where mail arrives.'),
             (2, 'Raw', 1, 'Not yet sorted.'),
             (3, 'Junk', 1, 'Nobody wants it.'),
             (4, 'Misc', 1, 'Everything else.'),
             (5, 'Reports', 3, 'Requests for figures.')) AS q (id, name, group_id, comments);

INSERT INTO ticket_state_type (id, name, create_time, create_by, change_time, change_by)
SELECT id, name, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'new'), (2, 'open'), (3, 'closed'), (4, 'pending reminder'), (5, 'pending auto'),
             (6, 'removed'), (7, 'merged')) AS t (id, name);

INSERT INTO ticket_state (id, name, type_id, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, type_id, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'new', 1), (2, 'closed successful', 3), (3, 'closed unsuccessful', 3), (4, 'open', 2),
             (5, 'removed', 6), (6, 'pending reminder', 4), (7, 'pending auto close+', 5),
             (8, 'pending auto close-', 5), (9, 'merged', 7)) AS s (id, name, type_id);

INSERT INTO ticket_priority (id, name, valid_id, color, create_time, create_by, change_time, change_by)
SELECT id, name, 1, color, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, '1 very low', '#03c4f0'), (2, '2 low', '#83bfc8'), (3, '3 normal', '#cdcdcd'),
             (4, '4 high', '#ffaaaa'), (5, '5 very high', '#ff505e')) AS p (id, name, color);

INSERT INTO ticket_type (id, name, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'Unclassified'), (2, 'Incident'), (3, 'Service request'), (4, 'Change request'),
             (5, 'Problem')) AS t (id, name);

INSERT INTO ticket_lock_type (id, name, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'unlock'), (2, 'lock'), (3, 'tmp_lock')) AS l (id, name);

INSERT INTO ticket_history_type (id, name, valid_id, create_time, create_by, change_time, change_by)
SELECT id, name, 1, now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM (VALUES (1, 'NewTicket'), (2, 'AddNote'), (3, 'StateUpdate'), (4, 'OwnerUpdate'), (5, 'PriorityUpdate'),
             (6, 'Move'), (7, 'SetPendingTime'), (8, 'Merged'), (9, 'TimeAccounting'), (10, 'Misc')) AS h (id, name);

-- Rows with explicit ids leave the sequences behind.
SELECT setval(pg_get_serial_sequence(name, 'id'), last)
FROM (SELECT 'users' AS name, max(id)::bigint AS last FROM users
      UNION ALL SELECT 'groups', max(id) FROM groups
      UNION ALL SELECT 'queue', max(id) FROM queue
      UNION ALL SELECT 'ticket_state_type', max(id) FROM ticket_state_type
      UNION ALL SELECT 'ticket_state', max(id) FROM ticket_state
      UNION ALL SELECT 'ticket_priority', max(id) FROM ticket_priority
      UNION ALL SELECT 'ticket_type', max(id) FROM ticket_type
      UNION ALL SELECT 'ticket_lock_type', max(id) FROM ticket_lock_type
      UNION ALL SELECT 'ticket_history_type', max(id) FROM ticket_history_type) AS filled;

-- A small copy of what Ficus replicates: reference data, and tickets with ids far ahead of the
-- sequences, which only a transfer sets.

insert into groups values (1, 'users', 1), (2, 'Admin', 1), (3, 'stats', 1), (4, 'gone', 2);
insert into memberships values (1, 2, 'ro'), (2, 1, 'rw'), (3, 1, 'ro'), (4, 1, 'ro'),
    (4, 1, 'create'), (4, 1, 'note'), (5, 4, 'rw');
insert into agents values (1, 'root@localhost', 'Admin', 'Root', 1), (2, 'agent1', 'Ada', 'Albers', 1),
    (3, 'agent2', 'Ben', 'Brandt', 1), (4, 'agent3', 'Chloe', 'Costa', 1), (5, 'agent4', 'Daniel', 'Duarte', 1);
insert into queues values (1, 'Postmaster', 1, 1), (5, 'Reports', 3, 1), (6, 'Old', 1, 2);
insert into states values (1, 'new', 1, 1), (2, 'closed successful', 3, 1),
    (3, 'closed unsuccessful', 3, 1), (4, 'open', 2, 1), (5, 'removed', 6, 1),
    (6, 'pending reminder', 4, 1), (7, 'pending auto close+', 5, 1),
    (8, 'pending auto close-', 5, 1), (9, 'merged', 7, 1);
insert into priorities values (1, '1 very low', 1, '#03c4f0'), (3, '3 normal', 1, '#cdcdcd'),
    (5, '5 very high', 1, '#ff505e');
insert into ticket_types values (1, 'Unclassified', 1), (2, 'Incident', 1);
insert into event_types values (1, 'NewTicket', 1), (2, 'AddNote', 1), (3, 'StateUpdate', 1),
    (4, 'OwnerUpdate', 1), (10, 'Misc', 1);

insert into tickets (id, number, title, queue_id, lock_id, type_id, owner_id, responsible_id,
    priority_id, state_id, customer_id, customer_user_id, timeout, pending_until, escalation_at,
    escalation_update_at, escalation_response_at, escalation_solution_at,
    created_at, created_by, updated_at, updated_by)
values
    (101, '202602071000101', 'Printer <b>on</b> fire', 1, 1, 1, 2, 3, 3, 1, 'ACME', 'anna@acme.test',
     0, 0, 0, 0, 0, 0, '2026-02-07 10:00:00.123456Z', 2, '2026-02-07 11:00:00.5Z', 3),
    (102, '202602071000102', 'Chair squeaks', 1, 1, null, 2, 2, 1, 2, null, null,
     0, 0, 0, 0, 0, 0, '2026-02-07 10:00:01Z', 2, '2026-02-07 10:00:01Z', 2),
    (103, '202602071000103', null, 5, 1, 1, 1, 1, 5, 4, null, null,
     0, 0, 0, 0, 0, 0, '2026-02-07 10:00:02Z', 1, '2026-02-07 10:00:02Z', 1),
    (104, '202602071000104', 'Queue is not valid', 6, 1, 1, 1, 1, 3, 4, null, null,
     0, 0, 0, 0, 0, 0, '2026-02-07 10:00:03Z', 1, '2026-02-07 10:00:03Z', 1);

insert into articles (id, ticket_id, sender_type_id, channel_id, visible_to_customer,
    created_at, created_by, updated_at, updated_by)
values (201, 101, 3, 1, 1, '2026-02-07 10:00:00.123456Z', 2, '2026-02-07 10:00:00.123456Z', 2),
       (202, 101, 1, 3, 0, '2026-02-07 11:00:00.5Z', 3, '2026-02-07 11:00:00.5Z', 3),
       (203, 101, 1, 3, 0, '2026-02-07 11:00:01Z', 3, '2026-02-07 11:00:01Z', 3);
insert into article_bodies (id, article_id, sender, recipient, subject, content_type, body,
    received_at, created_at, created_by, updated_at, updated_by)
values (301, 201, 'anna@acme.test', 'help@example.test', 'Printer', 'text/plain', 'It burns & smokes.',
        1770458400, '2026-02-07 10:00:00.123456Z', 2, '2026-02-07 10:00:00.123456Z', 2),
       (302, 202, null, null, 'Re: Printer', 'text/plain', 'Seen.',
        1770462000, '2026-02-07 11:00:00.5Z', 3, '2026-02-07 11:00:00.5Z', 3);

-- Tickets $1..$2 of a run with everything that hangs on them, as one statement.
-- $3 articles for each, $4 seed, $5 tickets per day, $6 days before today on which the run begins.
WITH moment AS (
    SELECT now() AT TIME ZONE 'UTC' AS today, extract(epoch FROM now())::integer AS epoch
), drawn AS (
    SELECT n, moment.today, epoch,
           date_trunc('day', today) + interval '1 day' * ((n - 1) / $5 - $6)
               + interval '1 second' * ((n - 1) % $5 * 86400 / $5)
               + interval '1 microsecond' * pg_temp.pick(n, $4 + 7, 1000000) AS created,
           interval '1 minute' * (1 + pg_temp.pick(n, $4 + 8, 240)) AS pause,
           pg_temp.state_of(n, $4) AS state_id,
           2 + pg_temp.pick(n, $4 + 9, 30) AS owner_id,
           (CASE WHEN pg_temp.pick(n, $4 + 10, 100) < 4 THEN 5
                 ELSE 1 + pg_temp.pick(n, $4 + 11, 4) END) AS queue_id,
           (ARRAY[1, 2, 3, 3, 3, 3, 3, 4, 4, 5])[1 + pg_temp.pick(n, $4 + 12, 10)] AS priority_id,
           1 + pg_temp.pick(n, $4 + 13, 5000) AS customer
    FROM moment, generate_series($1::bigint, $2::bigint) AS n
), counter AS (
    INSERT INTO ticket_number_counter (counter, counter_uid, create_time)
    SELECT count(*), '10_' || to_char(created, 'YYYYMMDD'), max(today)
    FROM drawn GROUP BY to_char(created, 'YYYYMMDD') ORDER BY 2
    ON CONFLICT (counter_uid) DO UPDATE SET counter = ticket_number_counter.counter + EXCLUDED.counter
    RETURNING counter_uid, counter
), numbered AS (
    SELECT drawn.*,
           LEAST(created + pause * ($3 - 1), today) AS changed,
           to_char(created, 'YYYYMMDD') || '10' || lpad(
               (counter + 1 - row_number() OVER (PARTITION BY counter_uid ORDER BY n DESC))::text,
               GREATEST(5, length(counter::text)), '0') AS tn
    FROM drawn JOIN counter ON counter_uid = '10_' || to_char(created, 'YYYYMMDD')
), new_ticket AS (
    INSERT INTO ticket (tn, title, queue_id, ticket_lock_id, type_id, user_id, responsible_user_id,
                        ticket_priority_id, ticket_state_id, customer_id, customer_user_id, timeout, until_time,
                        escalation_time, escalation_update_time, escalation_response_time,
                        escalation_solution_time, archive_flag, create_time, create_by, change_time, change_by)
    SELECT tn, pg_temp.title_of(n, $4), queue_id, CASE WHEN state_id = 4 AND n % 3 = 0 THEN 2 ELSE 1 END,
           1 + pg_temp.pick(n, $4 + 14, 5), owner_id, owner_id, priority_id, state_id,
           'company' || customer / 20, 'customer' || customer || '@example.com', 0,
           CASE WHEN state_id NOT IN (6, 7, 8) THEN 0
                WHEN n % 1000 = 1 THEN epoch + 20 + n / 1000 % 50 * 12
                ELSE epoch + 60 + pg_temp.pick(n, $4 + 15, 21600) END,
           0, 0, 0, 0, 0, created, owner_id, changed, owner_id
    FROM numbered ORDER BY n
    RETURNING id, tn, type_id
), made AS (
    SELECT new_ticket.id, new_ticket.type_id, numbered.*
    FROM new_ticket JOIN numbered USING (tn)
), new_article AS (
    INSERT INTO article (ticket_id, article_sender_type_id, communication_channel_id, is_visible_for_customer,
                         create_time, create_by, change_time, change_by)
    SELECT id, CASE WHEN k % 2 = 1 THEN 3 ELSE 1 END, CASE WHEN k % 4 = 2 THEN 3 ELSE 1 END,
           CASE WHEN k % 4 = 2 THEN 0 ELSE 1 END,
           LEAST(created + pause * (k - 1), today), owner_id, LEAST(created + pause * (k - 1), today), owner_id
    FROM made CROSS JOIN generate_series(1, $3::integer) AS k ORDER BY n, k
    RETURNING id, ticket_id, article_sender_type_id, create_time, create_by
), written AS (
    SELECT new_article.id AS article_id, new_article.create_time, article_sender_type_id,
           made.id AS ticket_id, made.type_id, queue_id, owner_id, priority_id, state_id, customer, tn, n,
           row_number() OVER (PARTITION BY made.id ORDER BY new_article.id) AS k
    FROM new_article JOIN made ON made.id = new_article.ticket_id
), new_mime AS (
    INSERT INTO article_data_mime (article_id, a_from, a_to, a_subject, a_message_id, a_message_id_md5,
                                   a_content_type, a_body, incoming_time,
                                   create_time, create_by, change_time, change_by)
    SELECT article_id,
           CASE article_sender_type_id WHEN 3 THEN 'customer' || customer || '@example.com'
                                       ELSE 'support@example.com' END,
           CASE article_sender_type_id WHEN 3 THEN 'support@example.com'
                                       ELSE 'customer' || customer || '@example.com' END,
           CASE k WHEN 1 THEN '' ELSE 'Re: ' END || pg_temp.title_of(n, $4),
           '<' || tn || '.' || k || '@example.com>', md5('<' || tn || '.' || k || '@example.com>'),
           'text/plain', pg_temp.body_of(article_id, $4), extract(epoch FROM create_time)::integer,
           create_time, owner_id, create_time, owner_id
    FROM written ORDER BY article_id
    RETURNING id
), happened AS (
    SELECT id AS ticket_id, NULL::bigint AS article_id, type_id, queue_id, owner_id, priority_id,
           1::smallint AS state_id, created AS happened_at, 'NewTicket' AS kind, 'Ticket created (' || tn || ')' AS name
    FROM made
    UNION ALL
    SELECT ticket_id, article_id, type_id, queue_id, owner_id, priority_id, 1, create_time, 'AddNote', 'Note added'
    FROM written WHERE k > 1
    UNION ALL
    SELECT made.id, NULL, made.type_id, queue_id, owner_id, priority_id, state_id, changed, 'StateUpdate',
           'State changed from new to ' || ticket_state.name
    FROM made JOIN ticket_state ON ticket_state.id = state_id WHERE state_id <> 1
), new_history AS (
    INSERT INTO ticket_history (name, history_type_id, ticket_id, article_id, type_id, queue_id, owner_id,
                                priority_id, state_id, create_time, create_by, change_time, change_by)
    SELECT happened.name, history_type.id, ticket_id, article_id, type_id, queue_id, owner_id, priority_id, state_id,
           happened_at, owner_id, happened_at, owner_id
    FROM happened JOIN ticket_history_type AS history_type ON history_type.name = kind
    ORDER BY ticket_id, happened_at
    RETURNING id
), new_flag AS (
    INSERT INTO ticket_flag (ticket_id, ticket_key, ticket_value, create_time, create_by)
    SELECT id, 'Seen', '1', changed, owner_id FROM made WHERE n % 5 < 2
    RETURNING ticket_id
)
SELECT (SELECT count(*) FROM new_ticket) AS tickets, (SELECT count(*) FROM new_mime) AS articles,
       (SELECT count(*) FROM new_history) AS history, (SELECT count(*) FROM new_flag) AS flags

-- $1 mail parts whose article was never written: an old bug left some in every real installation.
INSERT INTO article_data_mime (article_id, a_from, a_subject, a_content_type, a_body, incoming_time,
                               create_time, create_by, change_time, change_by)
SELECT 0, 'mailer-daemon@example.com', 'Undelivered mail returned to sender', 'text/plain',
       pg_temp.body_of(-n, $2), extract(epoch FROM now())::integer,
       now() AT TIME ZONE 'UTC', 1, now() AT TIME ZONE 'UTC', 1
FROM generate_series(1, $1::bigint) AS n

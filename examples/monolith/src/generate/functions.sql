-- Seeded choices and texts for the generator; they live as long as its connection.

-- A number from 0 to size - 1, always the same one for the same n and seed.
CREATE OR REPLACE FUNCTION pg_temp.pick(n bigint, seed bigint, size integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT ((hashint8extended(n, seed) & 9223372036854775807) % size)::integer
$$;

CREATE OR REPLACE FUNCTION pg_temp.state_of(n bigint, seed bigint) RETURNS smallint
LANGUAGE sql IMMUTABLE AS $$
    SELECT (CASE
        WHEN n % 1000 = 1 THEN 7
        WHEN dice < 8 THEN 1
        WHEN dice < 38 THEN 4
        WHEN dice < 78 THEN 2
        WHEN dice < 88 THEN 3
        WHEN dice < 92 THEN 6
        WHEN dice < 95 THEN 7
        WHEN dice < 97 THEN 8
        WHEN dice < 98 THEN 5
        ELSE 9
    END)::smallint FROM pg_temp.pick(n, seed, 100) AS dice
$$;

CREATE OR REPLACE FUNCTION pg_temp.title_of(n bigint, seed bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY['The printer on floor ', 'The badge reader at door ', 'The projector in room ', 'Invoice ',
                  'Delivery ', 'The laptop with tag ', 'The mailbox of department ', 'Purchase order ',
                  'The VPN profile of site ', 'Contract ', 'The phone at desk ', 'Backup job '])
               [1 + pg_temp.pick(n, seed + 1, 12)]
        || (10 + pg_temp.pick(n, seed + 2, 9900))
        || (ARRAY[' stopped working this morning', ' is missing', ' shows the wrong amount', ' cannot be opened',
                  ' is slower than last week', ' needs a new owner', ' was rejected twice', ' has to be renewed',
                  ' keeps asking for a password', ' arrived damaged'])
               [1 + pg_temp.pick(n, seed + 3, 10)]
$$;

-- A letter of 0.3 to 1.7 kB; one in 200 carries a log of 20 to 200 kB that does not compress, so that it is
-- stored out of line.
CREATE OR REPLACE FUNCTION pg_temp.body_of(n bigint, seed bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT E'Hello,\n\n' || (
        SELECT string_agg(
            (ARRAY['It began after the update of Tuesday night and has not gone away since.',
                   'I have already restarted everything that can be restarted, without any change.',
                   'Two colleagues in the same office see exactly the same thing.',
                   'Could you please have a look at it before the end of the week?',
                   'The message on the screen says that the service is temporarily unavailable.',
                   'We checked the cable, the socket and the settings, and found nothing unusual.',
                   'According to our records the amount should be lower by about seven per cent.',
                   'I attach what the device printed when I tried it for the third time.',
                   'Please call me back in the afternoon, I am in meetings until two.',
                   'This is the second time this month, the first time it was solved by Ines.',
                   'As far as I can tell only the machines behind the new switch are affected.',
                   'Thank you for the quick answer, it works again on one of the two.',
                   'Meanwhile we use the old one, but that cannot stay like this for long.',
                   'The supplier says that the parcel left the warehouse nine days ago.',
                   'I have raised the priority because the month-end closing depends on it.',
                   'If you need remote access, the usual account is enabled until Friday.'])
                [1 + pg_temp.pick(n, seed + 16 + s, 16)], CASE WHEN s % 4 = 0 THEN E'\n\n' ELSE ' ' END)
        FROM generate_series(1, 3 + pg_temp.pick(n, seed + 4, 18)) AS s)
    || E'\n\nKind regards\n'
    || CASE WHEN pg_temp.pick(n, seed + 5, 200) = 0 THEN E'\n--- log ---\n' || (
            SELECT string_agg(md5((seed + n)::text || '/' || line), E'\n')
            FROM generate_series(1, 620 + pg_temp.pick(n, seed + 6, 5400)) AS line)
       ELSE '' END
$$;

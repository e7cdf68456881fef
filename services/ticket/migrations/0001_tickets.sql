-- What this service owns once the capability `tickets` is its own. Until then Ficus replicates the
-- monolith's rows into these tables, so there are no foreign keys: rows arrive table by table, and
-- the monolith holds rows that no foreign key would accept.

create table tickets (
    id bigserial primary key,
    number varchar(50) not null unique,
    title varchar(255),
    queue_id integer not null,
    lock_id smallint not null,
    type_id smallint,
    service_id integer,
    sla_id integer,
    owner_id integer not null,
    responsible_id integer not null,
    priority_id smallint not null,
    state_id smallint not null,
    customer_id varchar(150),
    customer_user_id varchar(250),
    timeout integer not null,
    pending_until integer not null,
    escalation_at integer not null,
    escalation_update_at integer not null,
    escalation_response_at integer not null,
    escalation_solution_at integer not null,
    archived smallint not null default 0,
    created_at timestamptz not null,
    created_by integer not null,
    updated_at timestamptz not null,
    updated_by integer not null
);
create index tickets_queue_id_created_at on tickets (queue_id, created_at desc);
create index tickets_created_at on tickets (created_at desc);
create index tickets_customer_user_id on tickets (customer_user_id);
create index tickets_pending_until on tickets (pending_until) where pending_until > 0;

create table articles (
    id bigserial primary key,
    ticket_id bigint not null,
    sender_type_id smallint not null,
    channel_id bigint not null,
    visible_to_customer smallint not null,
    fingerprint varchar(64),
    created_at timestamptz not null,
    created_by integer not null,
    updated_at timestamptz not null,
    updated_by integer not null
);
create index articles_ticket_id on articles (ticket_id, id);

create table article_bodies (
    id bigserial primary key,
    article_id bigint not null,
    sender text,
    reply_to text,
    recipient text,
    cc text,
    bcc text,
    subject text,
    message_id text,
    message_id_md5 varchar(32),
    in_reply_to text,
    reference_ids text,
    content_type varchar(250),
    body text,
    received_at integer not null,
    content_path varchar(250),
    created_at timestamptz not null,
    created_by integer not null,
    updated_at timestamptz not null,
    updated_by integer not null
);
create index article_bodies_article_id on article_bodies (article_id, id);

create table ticket_events (
    id bigserial primary key,
    name varchar(200) not null,
    type_id smallint not null,
    ticket_id bigint not null,
    article_id bigint,
    ticket_type_id smallint not null,
    queue_id integer not null,
    owner_id integer not null,
    priority_id smallint not null,
    state_id smallint not null,
    created_at timestamptz not null,
    created_by integer not null,
    updated_at timestamptz not null,
    updated_by integer not null
);
create index ticket_events_ticket_id on ticket_events (ticket_id, id);

create table number_counters (
    id bigserial primary key,
    counter bigint not null,
    scope varchar(32) not null unique,
    created_at timestamptz
);

create table ticket_flags (
    ticket_id bigint not null,
    key varchar(50) not null,
    value varchar(50),
    created_at timestamptz not null,
    created_by integer not null,
    primary key (ticket_id, key, created_by)
);

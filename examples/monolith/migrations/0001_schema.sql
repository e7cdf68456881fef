-- The tables of a GOTRS installation that this monolith uses: GOTRS's names and column types.
-- As there, no foreign keys, times are UTC in `timestamp without time zone`, and group_user has no key at all.

CREATE TABLE users (
    id serial PRIMARY KEY,
    login varchar(200) NOT NULL UNIQUE,
    pw varchar(128) NOT NULL,
    title varchar(50),
    first_name varchar(100) NOT NULL,
    last_name varchar(100) NOT NULL,
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE groups (
    id serial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    comments varchar(250),
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE group_user (
    user_id integer NOT NULL,
    group_id integer NOT NULL,
    permission_key varchar(20) NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX group_user_user_id ON group_user (user_id);
CREATE INDEX group_user_group_id ON group_user (group_id);

CREATE TABLE sessions (
    id bigserial PRIMARY KEY,
    session_id varchar(100) NOT NULL,
    data_key varchar(100) NOT NULL,
    data_value text,
    serialized smallint NOT NULL
);
CREATE INDEX sessions_session_id_data_key ON sessions (session_id, data_key);

CREATE TABLE queue (
    id serial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    group_id integer NOT NULL,
    unlock_timeout integer,
    first_response_time integer,
    first_response_notify smallint,
    update_time integer,
    update_notify smallint,
    solution_time integer,
    solution_notify smallint,
    system_address_id smallint NOT NULL,
    calendar_name varchar(100),
    default_sign_key varchar(100),
    salutation_id smallint NOT NULL,
    signature_id smallint NOT NULL,
    follow_up_id smallint NOT NULL,
    follow_up_lock smallint NOT NULL,
    comments varchar(250),
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX queue_group_id ON queue (group_id);

CREATE TABLE ticket_state_type (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    comments varchar(250),
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_state (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    comments varchar(250),
    type_id smallint NOT NULL,
    valid_id smallint NOT NULL,
    color varchar(25) NOT NULL DEFAULT '#8D8D9BFF',
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_priority (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    valid_id smallint NOT NULL,
    color varchar(25) NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_type (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_lock_type (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_history_type (
    id smallserial PRIMARY KEY,
    name varchar(200) NOT NULL UNIQUE,
    comments varchar(250),
    valid_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);

CREATE TABLE ticket_number_counter (
    id bigserial PRIMARY KEY,
    counter bigint NOT NULL,
    counter_uid varchar(32) NOT NULL UNIQUE,
    create_time timestamp
);

CREATE TABLE ticket (
    id bigserial PRIMARY KEY,
    tn varchar(50) NOT NULL UNIQUE,
    title varchar(255),
    queue_id integer NOT NULL,
    ticket_lock_id smallint NOT NULL,
    type_id smallint,
    service_id integer,
    sla_id integer,
    user_id integer NOT NULL,
    responsible_user_id integer NOT NULL,
    ticket_priority_id smallint NOT NULL,
    ticket_state_id smallint NOT NULL,
    customer_id varchar(150),
    customer_user_id varchar(250),
    timeout integer NOT NULL,
    until_time integer NOT NULL,
    escalation_time integer NOT NULL,
    escalation_update_time integer NOT NULL,
    escalation_response_time integer NOT NULL,
    escalation_solution_time integer NOT NULL,
    archive_flag smallint NOT NULL DEFAULT '0',
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX ticket_create_time ON ticket (create_time, id);
CREATE INDEX ticket_change_time ON ticket (change_time, id);
CREATE INDEX ticket_queue_id ON ticket (queue_id);
CREATE INDEX ticket_ticket_state_id ON ticket (ticket_state_id, until_time);
CREATE INDEX ticket_user_id ON ticket (user_id);
CREATE INDEX ticket_responsible_user_id ON ticket (responsible_user_id);
CREATE INDEX ticket_customer_user_id ON ticket (customer_user_id);

CREATE TABLE article (
    id bigserial PRIMARY KEY,
    ticket_id bigint NOT NULL,
    article_sender_type_id smallint NOT NULL,
    communication_channel_id bigint NOT NULL,
    is_visible_for_customer smallint NOT NULL,
    search_index_needs_rebuild smallint NOT NULL DEFAULT '1',
    insert_fingerprint varchar(64),
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX article_ticket_id ON article (ticket_id);

CREATE TABLE article_data_mime (
    id bigserial PRIMARY KEY,
    article_id bigint NOT NULL,
    a_from text,
    a_reply_to text,
    a_to text,
    a_cc text,
    a_bcc text,
    a_subject text,
    a_message_id text,
    a_message_id_md5 varchar(32),
    a_in_reply_to text,
    a_references text,
    a_content_type varchar(250),
    a_body text,
    incoming_time integer NOT NULL,
    content_path varchar(250),
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX article_data_mime_article_id ON article_data_mime (article_id);
CREATE INDEX article_data_mime_message_id_md5 ON article_data_mime (a_message_id_md5);

CREATE TABLE ticket_history (
    id bigserial PRIMARY KEY,
    name varchar(200) NOT NULL,
    history_type_id smallint NOT NULL,
    ticket_id bigint NOT NULL,
    article_id bigint,
    type_id smallint NOT NULL,
    queue_id integer NOT NULL,
    owner_id integer NOT NULL,
    priority_id smallint NOT NULL,
    state_id smallint NOT NULL,
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    change_time timestamp NOT NULL,
    change_by integer NOT NULL
);
CREATE INDEX ticket_history_ticket_id ON ticket_history (ticket_id);
CREATE INDEX ticket_history_create_time ON ticket_history (create_time);

CREATE TABLE ticket_flag (
    ticket_id bigint NOT NULL,
    ticket_key varchar(50) NOT NULL,
    ticket_value varchar(50),
    create_time timestamp NOT NULL,
    create_by integer NOT NULL,
    CONSTRAINT ticket_flag_per_user UNIQUE (ticket_id, ticket_key, create_by)
);
CREATE INDEX ticket_flag_ticket_id_create_by ON ticket_flag (ticket_id, create_by);

-- Copies of what other capabilities own. Ficus keeps them current; this service only reads them.

create table queues (
    id integer primary key,
    name varchar(200) not null,
    group_id integer not null,
    valid_id smallint not null
);

create table states (
    id smallint primary key,
    name varchar(200) not null,
    type_id smallint not null,
    valid_id smallint not null
);

create table priorities (
    id smallint primary key,
    name varchar(200) not null,
    valid_id smallint not null,
    color varchar(25) not null
);

create table ticket_types (
    id smallint primary key,
    name varchar(200) not null,
    valid_id smallint not null
);

create table event_types (
    id smallint primary key,
    name varchar(200) not null,
    valid_id smallint not null
);

create table agents (
    id integer primary key,
    login varchar(200) not null,
    first_name varchar(100) not null,
    last_name varchar(100) not null,
    valid_id smallint not null
);

create table groups (
    id integer primary key,
    name varchar(200) not null,
    valid_id smallint not null
);

create table memberships (
    user_id integer not null,
    group_id integer not null,
    permission_key varchar(20) not null,
    primary key (user_id, group_id, permission_key)
);
create index memberships_group_id on memberships (group_id);

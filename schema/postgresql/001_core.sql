-- 001_core: hosts, accounts, rosters, the archive and what is in transit. schema/README explains them.

create table host (
	id bigint generated always as identity primary key,
	name text not null unique,
	records smallint not null default 1 check (records in (0, 1)),
	created bigint not null default (extract(epoch from now()) * 1000000)::bigint
);

create table account (
	id bigint generated always as identity primary key,
	host bigint not null references host on delete cascade,
	name text not null,
	disabled smallint not null default 0 check (disabled in (0, 1)),
	salt bytea,
	iterations integer,
	stored_sha1 bytea,
	server_sha1 bytea,
	stored_sha256 bytea,
	server_sha256 bytea,
	roster_version bigint not null default 0,
	created bigint not null default (extract(epoch from now()) * 1000000)::bigint,
	unique (host, name)
);

create table roster (
	owner bigint not null references account on delete cascade,
	contact text not null,
	name text,
	subscription smallint not null default 0 check (subscription between 0 and 3),
	ask smallint not null default 0 check (ask in (0, 1)),
	pending_in smallint not null default 0 check (pending_in in (0, 1)),
	approved smallint not null default 0 check (approved in (0, 1)),
	in_roster smallint not null default 1 check (in_roster in (0, 1)),
	groups text,
	request text,
	primary key (owner, contact)
);

create table record (
	id bigint primary key,
	sender text not null,
	recipient text not null,
	stanza text not null
);

-- No foreign keys here: they would cost a look-up and a row lock per message. An account's id is never
-- used again, so rows that outlive their owner are seen by nobody until they are swept.
create table entry (
	owner bigint not null,
	id bigint not null,
	record bigint not null,
	peer text not null,
	is_out smallint not null,
	primary key (owner, id)
);

create table transit (
	id bigint primary key,
	sender text not null,
	recipient text not null,
	record bigint,
	stanza text
);

create table mark (
	owner bigint primary key references account on delete cascade,
	taken bigint not null
);

create table setting (
	name text primary key,
	value bytea not null
);

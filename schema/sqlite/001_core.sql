-- 001_core: hosts, accounts, rosters, the archive and what is in transit. schema/README explains them.

create table host (
	id integer primary key autoincrement,
	name text not null unique,
	records integer not null default 1 check (records in (0, 1)),
	created integer not null default (unixepoch() * 1000000)
) strict;

create table account (
	id integer primary key autoincrement,
	host integer not null references host on delete cascade,
	name text not null,
	disabled integer not null default 0 check (disabled in (0, 1)),
	salt blob,
	iterations integer,
	stored_sha1 blob,
	server_sha1 blob,
	stored_sha256 blob,
	server_sha256 blob,
	roster_version integer not null default 0,
	created integer not null default (unixepoch() * 1000000),
	unique (host, name)
) strict;

create table roster (
	owner integer not null references account on delete cascade,
	contact text not null,
	name text,
	subscription integer not null default 0 check (subscription between 0 and 3),
	ask integer not null default 0 check (ask in (0, 1)),
	pending_in integer not null default 0 check (pending_in in (0, 1)),
	approved integer not null default 0 check (approved in (0, 1)),
	in_roster integer not null default 1 check (in_roster in (0, 1)),
	groups text,
	request text,
	primary key (owner, contact)
) strict, without rowid;

create table record (
	id integer primary key,
	sender text not null,
	recipient text not null,
	stanza text not null
) strict;

-- No foreign keys here: they would cost a look-up per message. An account's id is never used again, so
-- rows that outlive their owner are seen by nobody until they are swept.
create table entry (
	owner integer not null,
	id integer not null,
	record integer not null,
	peer text not null,
	is_out integer not null,
	primary key (owner, id)
) strict, without rowid;

create table transit (
	id integer primary key,
	sender text not null,
	recipient text not null,
	record integer,
	stanza text
) strict;

create table mark (
	owner integer primary key references account on delete cascade,
	taken integer not null
) strict;

create table setting (
	name text primary key,
	value blob not null
) strict, without rowid;

-- 003_profile: what accounts store about and for themselves. schema/README explains it.

create table private (
	owner integer not null references account on delete cascade,
	namespace text not null,
	content text not null,
	bytes integer not null,
	primary key (owner, namespace)
) strict;

create table last_activity (
	owner integer primary key references account on delete cascade,
	since integer not null,
	status text
) strict;

create table vcard (
	owner integer primary key references account on delete cascade,
	content text not null,
	photo text,
	full_name text,
	given text,
	family text,
	nickname text,
	email text
) strict;

-- What people are found by, folded: a row per word. The host is here so that one search reads one range
-- of the index.
create table directory (
	host integer not null references host on delete cascade,
	field text not null,
	word text not null,
	owner integer not null references account on delete cascade,
	primary key (host, field, word, owner)
) strict, without rowid;
create index directory_owner on directory (owner);

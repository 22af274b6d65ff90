-- 003_profile: what accounts store about and for themselves. schema/README explains it.

create table private (
	owner bigint not null references account on delete cascade,
	namespace text not null,
	content text not null,
	bytes bigint not null,
	primary key (owner, namespace)
);

create table last_activity (
	owner bigint primary key references account on delete cascade,
	since bigint not null,
	status text
);

create table vcard (
	owner bigint primary key references account on delete cascade,
	content text not null,
	photo text,
	full_name text,
	given text,
	family text,
	nickname text,
	email text
);

-- What people are found by, folded: a row per word. The host is here so that one search reads one range
-- of the index; the collation is that of bytes, so that what begins with a word is such a range.
create table directory (
	host bigint not null references host on delete cascade,
	field text not null,
	word text collate "C" not null,
	owner bigint not null references account on delete cascade,
	primary key (host, field, word, owner)
);
create index directory_owner on directory (owner);
-- The search looks for names that begin with a word, in the order of bytes.
create index account_name on account (host, name collate "C");

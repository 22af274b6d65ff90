-- 013_resumable: sessions that their clients can resume (XEP-0198). schema/README explains it.

create table resumable (
	id integer primary key,
	account integer not null references account on delete cascade,
	resource text not null,
	h integer not null,
	expires integer,
	stopped integer,
	acked integer not null default 0,
	wait integer not null default 0,
	presence text,
	priority integer not null default 0,
	flags integer not null default 0,
	directed text
) strict;
create index resumable_account on resumable (account);

-- What a session that has been stored whole had not been acknowledged.
create table resumable_stanza (
	session integer not null references resumable on delete cascade,
	number integer not null,
	sender text,
	recipient text,
	entry integer not null,
	copies integer not null,
	since integer not null,
	stanza text not null,
	primary key (session, number)
) strict, without rowid;

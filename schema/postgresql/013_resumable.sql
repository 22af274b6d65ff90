-- 013_resumable: sessions that their clients can resume (XEP-0198). schema/README explains it.

create table resumable (
	id bigint primary key,
	account bigint not null references account on delete cascade,
	resource text not null,
	h bigint not null,
	expires bigint,
	stopped bigint,
	acked bigint not null default 0,
	wait bigint not null default 0,
	presence text,
	priority smallint not null default 0,
	flags bigint not null default 0,
	directed text
);
create index resumable_account on resumable (account);

-- What a session that has been stored whole had not been acknowledged.
create table resumable_stanza (
	session bigint not null references resumable on delete cascade,
	number bigint not null,
	sender text,
	recipient text,
	entry bigint not null,
	copies bigint not null,
	since bigint not null,
	stanza text not null,
	primary key (session, number)
);

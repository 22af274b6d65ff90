-- 010_import: imports bring e-mail addresses and groups, and are carried out in portions; what administrators
-- say of people is found by the search. schema/README explains it.

drop table import; -- what waits in it is no account yet, and would be removed

create table import (
	batch bigint not null,
	line bigint not null,
	host bigint references host on delete cascade,
	name text not null,
	disabled bigint,
	iterations bigint,
	salt bytea,
	stored_sha1 bytea,
	server_sha1 bytea,
	stored_sha256 bytea,
	server_sha256 bytea,
	display text,
	email text,
	groups text,
	words text,
	primary key (batch, line)
);

alter table directory add column by_admin smallint not null default 0 check (by_admin in (0, 1));
alter table directory drop constraint directory_pkey;
alter table directory add primary key (host, field, word, owner, by_admin);

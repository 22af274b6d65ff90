-- 010_import: imports bring e-mail addresses and groups, and are carried out in portions; what administrators
-- say of people is found by the search. schema/README explains it.

drop table import; -- what waits in it is no account yet, and would be removed

create table import (
	batch integer not null,
	line integer not null,
	host integer references host on delete cascade,
	name text not null,
	disabled integer,
	iterations integer,
	salt blob,
	stored_sha1 blob,
	server_sha1 blob,
	stored_sha256 blob,
	server_sha256 blob,
	display text,
	email text,
	groups text,
	words text,
	primary key (batch, line)
) strict, without rowid;

create table new_directory (
	host integer not null references host on delete cascade,
	field text not null,
	word text not null,
	owner integer not null references account on delete cascade,
	by_admin integer not null default 0 check (by_admin in (0, 1)),
	primary key (host, field, word, owner, by_admin)
) strict, without rowid;
insert into new_directory (host, field, word, owner) select host, field, word, owner from directory;
drop table directory;
alter table new_directory rename to directory;
create index directory_owner on directory (owner);

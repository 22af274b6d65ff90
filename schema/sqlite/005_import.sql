-- 005_import: where the lines of a "musterctl user import" wait until all of them are there.

create table import (
	batch integer not null,
	line integer not null,
	host integer not null references host on delete cascade,
	name text not null,
	disabled integer,
	iterations integer,
	salt blob,
	stored_sha1 blob,
	server_sha1 blob,
	stored_sha256 blob,
	server_sha256 blob,
	full_name text,
	email text,
	vcard text,
	primary key (batch, line)
) strict, without rowid;

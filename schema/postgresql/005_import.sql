-- 005_import: where the lines of a "musterctl user import" wait until all of them are there.

create table import (
	batch bigint not null,
	line bigint not null,
	host bigint not null references host on delete cascade,
	name text not null,
	disabled bigint,
	iterations bigint,
	salt bytea,
	stored_sha1 bytea,
	server_sha1 bytea,
	stored_sha256 bytea,
	server_sha256 bytea,
	full_name text,
	email text,
	vcard text,
	primary key (batch, line)
);

-- 002_policy: what a host may set for itself. One row a setting; what has no row is at its default.

create table policy (
	host bigint not null references host on delete cascade,
	name text not null,
	value text not null,
	primary key (host, name)
);

insert into policy (host, name, value) select id, 'record', 'false' from host where records = 0;

alter table host drop column records;

-- 007_group: administrators' contact groups, and the names under which their members are shown.
-- schema/README explains them.

alter table account add column display text;

create table contact_group (
	id integer primary key autoincrement,
	host integer not null references host on delete cascade,
	name text not null,
	title text not null check (title <> ''),
	unique (host, name)
) strict;

create table contact_group_member (
	contact_group integer not null references contact_group on delete cascade,
	account integer not null references account on delete cascade,
	primary key (contact_group, account)
) strict, without rowid;
create index contact_group_member_account on contact_group_member (account);

create table contact_group_shows (
	contact_group integer not null references contact_group on delete cascade,
	shown integer not null references contact_group on delete cascade,
	primary key (contact_group, shown)
) strict, without rowid;
create index contact_group_shows_shown on contact_group_shows (shown);

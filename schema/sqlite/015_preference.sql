-- 015_preference: what users want to be kept of their messages, and entries for what is only on its way to them.
-- schema/README explains it.

create table preference (
	owner integer not null references account on delete cascade,
	address text not null,
	keep text not null check (keep in ('always', 'never') or (keep = 'roster' and address = '')),
	primary key (owner, address)
) strict, without rowid;

alter table entry add column passing integer not null default 0;
create index entry_passing on entry (owner, id) where passing > 0;

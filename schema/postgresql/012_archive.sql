-- 012_archive: records and archives by the month, so that what is too old goes by dropping tables; pages of an
-- archive by whom it is with; the words that messages are found by; messages that were taken back.
-- schema/README explains it.

-- An id is a time: this is the smallest of a moment.
create function muster_id(moment timestamptz) returns bigint language sql immutable
	return (extract(epoch from moment) * 1000000)::bigint << 10;

-- ---- what is there becomes the first part of the partitioned tables, as it is

alter table record rename to record_past;
alter index record_pkey rename to record_past_pkey;
alter table entry rename to entry_past;
alter index entry_pkey rename to entry_past_pkey;
alter table entry_past add column words tsvector, add column retraction bigint;

create table record (
	id bigint not null,
	sender text not null,
	recipient text not null,
	stanza text not null,
	primary key (id)
) partition by range (id);

create table entry (
	owner bigint not null,
	id bigint not null,
	record bigint not null,
	peer text not null,
	is_out smallint not null,
	words tsvector,
	retraction bigint,
	primary key (owner, id)
) partition by range (id);

create index entry_peer on entry (owner, peer, id);
create index entry_words on entry using gin (words);

-- ---- its parts: what is there already ("past", from the beginning), a table for each month ahead, and "later", to
-- the end, for a clock that went wrong: so nothing is ever refused. There is no default partition: with one the
-- parts would have no order, and a page of an archive would look into all of them.

do $$
declare
	newest bigint := greatest((select max(id) from record_past), (select max(id) from entry_past),
		muster_id(now()));
	bound bigint := muster_id(date_trunc('month', to_timestamp((newest >> 10) / 1000000.0), 'UTC')
		+ interval '1 month');
	t text;
begin
	foreach t in array array['record', 'entry'] loop
		execute format('alter table %I attach partition %I for values from (minvalue) to (%s)',
			t, t || '_past', bound);
		execute format('create table %I partition of %I for values from (%s) to (maxvalue)',
			t || '_later', t, bound);
	end loop;
end $$;

-- Where they begin and end; null: at no time.
create view muster_part as
	select p.relname::text as tab, c.oid::regclass as part,
		substring(pg_get_expr(c.relpartbound, c.oid) from 'FROM \(''?(-?\d+)')::bigint as low,
		substring(pg_get_expr(c.relpartbound, c.oid) from 'TO \(''?(-?\d+)')::bigint as high
	from pg_inherits i join pg_class c on c.oid = i.inhrelid join pg_class p on p.oid = i.inhparent
	where p.oid in ('record'::regclass, 'entry'::regclass);

-- One more, for the month with which "later" has begun so far. What lies there already moves.
create function muster_part_add(tab text) returns void language plpgsql set search_path from current as $$
declare
	later text := tab || '_later';
	low bigint := (select p.low from muster_part p where p.part = later::regclass);
	month timestamptz := to_timestamp((low >> 10) / 1000000.0);
	high bigint := muster_id((month at time zone 'UTC' + interval '1 month') at time zone 'UTC');
	part text := tab || to_char(month at time zone 'UTC', '"_"YYYY"_"MM');
begin
	execute format('alter table %I detach partition %I', tab, later);
	execute format('create table %I (like %I including constraints)', part, tab);
	execute format('with moved as (delete from %I where id < %s returning *) insert into %I select * from moved',
		later, high, part);
	execute format('alter table %I attach partition %I for values from (%s) to (%s)', tab, part, low, high);
	execute format('alter table %I attach partition %I for values from (%s) to (maxvalue)', tab, later, high);
end $$;

-- Makes the parts of the next months; musterd calls it when it starts, and daily. It needs a lock for a moment: if
-- somebody reads for long it gives up, as there is time enough, and returns false.
create function muster_parts_ahead(months integer default 3) returns boolean language plpgsql
set search_path from current set lock_timeout = '500ms' as $$
declare
	until bigint := muster_id(now() + make_interval(months => months));
	t text;
begin
	foreach t in array array['record', 'entry'] loop
		while (select low from muster_part where part = (t || '_later')::regclass) <= until loop
			perform muster_part_add(t);
		end loop;
	end loop;
	return true;
exception when lock_not_available or deadlock_detected then
	return false;
end $$;

-- Drops the parts that end before the id `expired`, and says how many months that were; -1: somebody reads for
-- long. "past", where it has anything, goes with them, and begins anew in front of what is left.
create function muster_parts_drop(expired bigint) returns bigint language plpgsql
set search_path from current set lock_timeout = '500ms' as $$
declare
	t text;
	p regclass;
	bound bigint;
	has_past boolean;
	dropped bigint := 0;
begin
	foreach t in array array['entry', 'record'] loop
		execute format('select exists (select from %I)', t || '_past') into has_past;
		select max(high) into bound from muster_part where tab = t and high <= expired
			and (low is not null or has_past);
		continue when bound is null;
		for p in select part from muster_part where tab = t and high <= bound loop
			execute format('drop table %s', p);
			dropped := dropped + 1;
		end loop;
		execute format('create table %I partition of %I for values from (minvalue) to (%s)',
			t || '_past', t, bound);
	end loop;
	return dropped;
exception when lock_not_available or deadlock_detected then
	return -1;
end $$;

select muster_parts_ahead();

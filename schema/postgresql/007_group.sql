-- 007_group: administrators' contact groups, and the names under which their members are shown.
-- schema/README explains them.

alter table account add column display text;

create table contact_group (
	id bigint generated always as identity primary key,
	host bigint not null references host on delete cascade,
	name text not null,
	title text not null check (title <> ''),
	unique (host, name)
);

create table contact_group_member (
	contact_group bigint not null references contact_group on delete cascade,
	account bigint not null references account on delete cascade,
	primary key (contact_group, account)
);
create index contact_group_member_account on contact_group_member (account);

create table contact_group_shows (
	contact_group bigint not null references contact_group on delete cascade,
	shown bigint not null references contact_group on delete cascade,
	primary key (contact_group, shown)
);
create index contact_group_shows_shown on contact_group_shows (shown);

call muster_watch('contact_group', 'group', 'id');
call muster_watch('contact_group_member', 'group', 'contact_group');
call muster_watch('contact_group_shows', 'show', 'contact_group');

create function muster_group(domain text, group_name text) returns bigint language plpgsql stable
set search_path from current as $$
declare
	found_id bigint;
begin
	select id into found_id from contact_group g where g.host = muster_host(domain) and g.name = group_name;
	if found_id is null then
		raise exception 'there is no group % on %', group_name, domain;
	end if;
	return found_id;
end $$;

create function muster_group_add(domain text, group_name text, title text default null) returns bigint language sql
set search_path from current as $$
	insert into contact_group (host, name, title) values (muster_host(domain), group_name,
		coalesce(muster_group_add.title, group_name)) returning id
$$;

create function muster_group_remove(domain text, group_name text) returns void language sql
set search_path from current as $$
	delete from contact_group where id = muster_group(domain, group_name)
$$;

create function muster_group_join(domain text, group_name text, jid text) returns void language plpgsql
set search_path from current as $$
begin
	if lower(substring(jid from '@(.*)$')) <> lower(domain) then
		raise exception '% is not of %: a group has accounts of its own host', jid, domain;
	end if;
	insert into contact_group_member (contact_group, account)
		values (muster_group(domain, group_name), muster_account(jid)) on conflict do nothing;
end $$;

create function muster_group_leave(domain text, group_name text, jid text) returns void language sql
set search_path from current as $$
	delete from contact_group_member
		where contact_group = muster_group(domain, group_name) and account = muster_account(jid)
$$;

-- The members of the group see those of the other one.
create function muster_group_show(domain text, group_name text, other_name text) returns void language sql
set search_path from current as $$
	insert into contact_group_shows (contact_group, shown)
		values (muster_group(domain, group_name), muster_group(domain, other_name)) on conflict do nothing
$$;

create function muster_group_hide(domain text, group_name text, other_name text) returns void language sql
set search_path from current as $$
	delete from contact_group_shows
		where contact_group = muster_group(domain, group_name) and shown = muster_group(domain, other_name)
$$;

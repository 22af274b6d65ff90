-- 006_live: plain SQL as the administrator's interface. Triggers tell musterd which rows somebody else has
-- changed; checks keep out what can be no address; functions do what takes more than one statement.
-- schema/README explains them, with examples.

-- ---- what is told

-- Notices are "KIND KEY", never values; of a statement that changed more than 100 rows it is "KIND *".
-- Arguments of a trigger: the kind, and the column with the key. What musterd writes itself it knows
-- already: its connections set muster.quiet.
create function muster_notice() returns trigger language plpgsql as $$
declare
	keys text := format('select %I::text as key from changed', tg_argv[1]);
	rows bigint;
begin
	if coalesce(current_setting('muster.quiet', true), '') = 'on' then
		return null;
	end if;
	if tg_op = 'TRUNCATE' then
		perform pg_notify('muster', tg_argv[0] || ' *');
		return null;
	end if;
	select count(*) into rows from (select 1 from changed limit 101) first;
	if rows > 100 then
		perform pg_notify('muster', tg_argv[0] || ' *');
		return null;
	end if;
	if tg_op = 'UPDATE' then
		keys := keys || format(' union select %I::text from was', tg_argv[1]);
	end if;
	execute format('select pg_notify(''muster'', %L || key) from (%s) k group by key',
		tg_argv[0] || ' ', keys);
	return null;
end $$;

create procedure muster_watch(tab regclass, kind text, key text) language plpgsql as $$
declare
	calls text := format(' for each statement execute function muster_notice(%L, %L)', kind, key);
begin
	execute format('create trigger muster_insert after insert on %s referencing new table as changed', tab)
		|| calls;
	execute format('create trigger muster_update after update on %s'
		' referencing old table as was new table as changed', tab) || calls;
	execute format('create trigger muster_delete after delete on %s referencing old table as changed', tab)
		|| calls;
	execute format('create trigger muster_truncate after truncate on %s', tab) || calls;
end $$;

call muster_watch('host', 'host', 'id');
call muster_watch('policy', 'host', 'host');
call muster_watch('account', 'account', 'id');
call muster_watch('roster', 'roster', 'owner');

-- ---- what can be an address: prepared is lower case. musterd looks closer, and passes over what is none.

alter table host add constraint host_name_is_prepared check (
	name = lower(name collate "C") and octet_length(name) between 1 and 1023
	and name !~ '[@/[:space:][:cntrl:]]') not valid;
alter table account add constraint account_name_is_prepared check (
	name = lower(name collate "C") and octet_length(name) between 1 and 1023
	and name !~ '["&''/:<>@[:space:][:cntrl:]]') not valid;
alter table roster add constraint roster_contact_is_bare check (
	contact = lower(contact collate "C") and octet_length(contact) between 1 and 2047
	and contact !~ '[/[:space:][:cntrl:]]') not valid;

-- ---- what administrators call

do $$ begin
	create extension if not exists pgcrypto;
exception when insufficient_privilege or undefined_file or feature_not_supported then
	raise notice 'no extension pgcrypto: muster_user_add and muster_password_set will say so';
end $$;

create function muster_host(domain text) returns bigint language plpgsql stable
set search_path from current as $$
declare
	found_id bigint;
begin
	select id into found_id from host where name = lower(domain);
	if found_id is null then
		raise exception 'there is no host %', domain using hint = 'select muster_host_add(''...'')';
	end if;
	return found_id;
end $$;

create function muster_account(jid text) returns bigint language plpgsql stable
set search_path from current as $$
declare
	found_id bigint;
begin
	select a.id into found_id from account a join host h on h.id = a.host
		where a.name || '@' || h.name = lower(jid);
	if found_id is null then
		raise exception 'there is no account %', jid;
	end if;
	return found_id;
end $$;

-- PBKDF2 as SCRAM has it (RFC 5802 section 2.2), one block; the exclusive or goes by bit strings.
create function muster_salted(digest text, password text, salt bytea, iterations integer)
returns bytea language plpgsql immutable set search_path from current as $$
declare
	secret bytea := convert_to(password, 'UTF8');
	u bytea := hmac(salt || '\x00000001'::bytea, secret, digest);
	bits varbit := ('x' || encode(u, 'hex'))::varbit;
	salted bytea := u;
begin
	for i in 2..iterations loop
		u := hmac(u, secret, digest);
		bits := bits # ('x' || encode(u, 'hex'))::varbit;
	end loop;
	for i in 0..length(u) - 1 loop
		salted := set_byte(salted, i, substring(bits from i * 8 + 1 for 8)::bit(8)::integer);
	end loop;
	return salted;
end $$;

-- The password is prepared as RFC 8265 section 4.2 says, as far as SQL can.
create function muster_keys(password text, out salt bytea, out iterations integer, out stored_sha1 bytea,
	out server_sha1 bytea, out stored_sha256 bytea, out server_sha256 bytea)
language plpgsql volatile set search_path from current as $$
declare
	prepared text := normalize(regexp_replace(password, '[\u00A0\u1680\u2000-\u200A\u202F\u205F\u3000]', ' ',
		'g'), NFC);
	salted bytea;
begin
	if coalesce(prepared, '') = '' or octet_length(prepared) > 1023 or prepared ~ '[[:cntrl:]]' then
		raise exception 'a password has 1 to 1023 bytes, without control characters';
	end if;
	if not exists (select from pg_extension where extname = 'pgcrypto') then
		raise exception 'deriving keys from a password needs the extension pgcrypto'
			using hint = 'As a superuser: create extension pgcrypto; or use musterctl user add.';
	end if;
	iterations := 10000;
	salt := gen_random_bytes(16);
	salted := muster_salted('sha1', prepared, salt, iterations);
	stored_sha1 := digest(hmac('Client Key', salted, 'sha1'), 'sha1');
	server_sha1 := hmac('Server Key', salted, 'sha1');
	salted := muster_salted('sha256', prepared, salt, iterations);
	stored_sha256 := digest(hmac('Client Key', salted, 'sha256'), 'sha256');
	server_sha256 := hmac('Server Key', salted, 'sha256');
end $$;

create function muster_host_add(domain text) returns bigint language sql set search_path from current as $$
	insert into host (name) values (lower(domain)) returning id
$$;

-- As "musterctl host set DOMAIN NAME=VALUE"; null goes back to the default.
create function muster_host_set(domain text, policy text, setting text) returns void language plpgsql
set search_path from current as $$
begin
	delete from policy p where p.host = muster_host(domain) and p.name = muster_host_set.policy;
	if setting is not null then
		insert into policy (host, name, value) values (muster_host(domain), muster_host_set.policy, setting);
	end if;
end $$;

create function muster_host_remove(domain text) returns void language sql set search_path from current as $$
	delete from host where id = muster_host(domain)
$$;

create function muster_user_add(jid text, password text) returns bigint language sql
set search_path from current as $$
	insert into account (host, name, salt, iterations, stored_sha1, server_sha1, stored_sha256, server_sha256)
		select muster_host(substring(jid from '@(.*)$')), lower(substring(jid from '^([^@]*)@')), k.*
		from muster_keys(password) k
		returning id
$$;

create function muster_password_set(jid text, password text) returns void language sql
set search_path from current as $$
	update account a set salt = k.salt, iterations = k.iterations, stored_sha1 = k.stored_sha1,
		server_sha1 = k.server_sha1, stored_sha256 = k.stored_sha256, server_sha256 = k.server_sha256
		from muster_keys(password) k where a.id = muster_account(jid)
$$;

create function muster_user_disable(jid text) returns void language sql set search_path from current as $$
	update account set disabled = 1 where id = muster_account(jid)
$$;

create function muster_user_enable(jid text) returns void language sql set search_path from current as $$
	update account set disabled = 0 where id = muster_account(jid)
$$;

create function muster_user_remove(jid text) returns void language sql set search_path from current as $$
	delete from account where id = muster_account(jid)
$$;

-- The account keeps its contact list and archive; those who have it in their contact list keep it there.
create function muster_user_rename(old_jid text, new_jid text) returns void language plpgsql
set search_path from current as $$
begin
	update account set host = muster_host(substring(new_jid from '@(.*)$')),
		name = lower(substring(new_jid from '^([^@]*)@')) where id = muster_account(old_jid);
	delete from roster r where contact = lower(old_jid) and exists
		(select from roster o where o.owner = r.owner and o.contact = lower(new_jid));
	update roster set contact = lower(new_jid) where contact = lower(old_jid);
end $$;

create function muster_befriend(jid text, other text) returns void language plpgsql
set search_path from current as $$
begin
	if muster_account(jid) = muster_account(other) then
		raise exception '% cannot be its own contact', jid;
	end if;
	insert into roster (owner, contact, subscription)
		values (muster_account(jid), lower(other), 3), (muster_account(other), lower(jid), 3)
		on conflict (owner, contact) do update set subscription = 3, ask = 0, pending_in = 0, approved = 0,
		in_roster = 1, request = null;
end $$;

create function muster_unfriend(jid text, other text) returns void language sql
set search_path from current as $$
	delete from roster where (owner = muster_account(jid) and contact = lower(other))
		or (owner = muster_account(other) and contact = lower(jid))
$$;

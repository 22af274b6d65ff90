-- 004_email: e-mail addresses, for certificates that name no account; and guests.

alter table account add column email text;
alter table account add column guest smallint not null default 0 check (guest in (0, 1));

create unique index account_email on account (host, lower(email)) where email is not null;
create index account_guest on account (id) where guest = 1;

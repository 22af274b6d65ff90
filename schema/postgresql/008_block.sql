-- 008_block: whom an account blocks. schema/README explains it.

create table block (
	owner bigint not null references account on delete cascade,
	address text not null,
	primary key (owner, address)
);

-- Live, as the contact list is.
call muster_watch('block', 'roster', 'owner');

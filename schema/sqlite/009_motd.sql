-- 009_motd: which message of the day an account has got. schema/README explains it.

create table motd (
	owner integer primary key references account on delete cascade,
	seen text not null
) strict;

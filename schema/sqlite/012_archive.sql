-- 012_archive: pages of an archive by whom it is with; the words that messages are found by; messages that were
-- taken back. schema/README explains it.

create table entry_new (
	n integer primary key,
	owner integer not null,
	id integer not null,
	record integer not null,
	peer text not null,
	is_out integer not null,
	words text,
	retraction integer,
	unique (owner, id)
) strict;

insert into entry_new (owner, id, record, peer, is_out)
	select owner, id, record, peer, is_out from entry order by id;
drop table entry;
alter table entry_new rename to entry;
create index entry_peer on entry (owner, peer, id);

-- Words are made by musterd: here they are only separated by spaces. Who inserts an entry with words indexes them in
-- the same transaction: a trigger would make a savepoint of each row, and FTS5 writes a segment for each savepoint.
create virtual table entry_words using fts5 (
	words, content = 'entry', content_rowid = 'n', columnsize = 0, detail = none,
	tokenize = "ascii tokenchars '='"
);
create trigger entry_delete after delete on entry when old.words is not null begin
	insert into entry_words (entry_words, rowid, words) values ('delete', old.n, old.words);
end;
create trigger entry_update after update of words on entry when old.words is not null begin
	insert into entry_words (entry_words, rowid, words) values ('delete', old.n, old.words);
	insert into entry_words (rowid, words) select new.n, new.words where new.words is not null;
end;

-- 011_roster_version: a column that nothing ever used. The version that clients see is made of the contact
-- list itself (RFC 6121 section 2.6).

alter table account drop column roster_version;

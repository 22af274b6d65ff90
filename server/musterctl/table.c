/* table.c - the commands of musterctl, a row each: their words and flags, what they are for, what they do. The
 * command line, help, suggestions and completion all go by it. */
#include "musterctl.h"

static const struct word host_word[] = { { "NAME", "name", WORD_HOST, false }, { 0 } };
static const struct word host_set_words[] = { { "NAME", "name", WORD_HOST, false },
	                                      { "POLICY", "policy", WORD_POLICY, false },
	                                      { "VALUE", "value", WORD_VALUE, true },
	                                      { 0 } };
static const struct word jid_word[] = { { "JID", "jid", WORD_JID, false }, { 0 } };
static const struct word email_words[] = { { "JID", "jid", WORD_JID, false },
	                                   { "EMAIL", "email", WORD_VALUE, true },
	                                   { 0 } };
static const struct word of_host_word[] = { { "HOST", "host", WORD_HOST, true }, { 0 } };
static const struct flag of_host_flags[] = {
	{ "--host", "HOST", "the same as HOST" },
	{ 0 },
};
static const struct word import_word[] = { { "FILE", "file", WORD_FILE, false }, { 0 } };
static const struct word dir_word[] = { { "DIR", "dir", WORD_FILE, false }, { 0 } };
static const struct word check_word[] = { { "DOMAIN", "name", WORD_HOST, false }, { 0 } };
static const struct word file_word[] = { { "FILE", "file", WORD_FILE, true }, { 0 } };

static const struct flag passwd_flags[] = {
	{ "--kick", NULL, "ends the account's sessions too" },
	{ "--password-stdin", NULL, "reads the password from the first line of standard input" },
	{ "--password-file", "FILE", "reads it from the first line of FILE" },
	{ "--random", NULL, "makes a password and prints it" },
	{ 0 },
};
static const struct flag import_flags[] = {
	{ "--dry-run", NULL, "checks everything and imports nothing" },
	{ "--skip-existing", NULL, "leaves accounts alone that are there already" },
	{ "--update", NULL, "changes accounts that are there already" },
	{ "--make-groups", NULL, "makes the contact groups that are not there" },
	{ "--host", "HOST", "takes accounts of this domain only; others are mistakes" },
	{ 0 },
};
static const struct flag backup_flags[] = {
	{ "--with-keys", NULL, "copies the certificates with their private keys" },
	{ 0 },
};
static const struct flag verify_flags[] = {
	{ "--restore-into", "CONNINFO", "PostgreSQL: restores into this empty database, and counts there" },
	{ 0 },
};
static const struct flag check_flags[] = {
	{ "--resolver", "ADDRESS", "asks this name server, ADDRESS or ADDRESS:PORT, not the system's" },
	{ "--ca", "FILE", "trusts the authorities in this PEM file too" },
	{ 0 },
};
static const struct flag migrate_flags[] = {
	{ "--dry-run", NULL, "lists what would be done" },
	{ 0 },
};
static const struct flag export_flags[] = {
	{ "--host", "HOST", "only the accounts of this domain" },
	{ "--keys", NULL, "with the keys by which accounts log in: keep the file secret" },
	{ 0 },
};
static const struct word announce_words[] = { { "HOST", "host", WORD_HOST, false },
	                                      { "TEXT", "text", WORD_VALUE, true },
	                                      { 0 } };
static const struct flag announce_flags[] = {
	{ "--all", NULL,
	  "every account gets it, who is not there when he comes; else only who is there now" },
	{ "--subject", "TEXT", "its subject" },
	{ "--file", "FILE", "reads the text from FILE; -: from standard input" },
	{ 0 },
};
static const struct word search_words[] = { { "JID", "jid", WORD_JID, false },
	                                    { "WORDS", "words", WORD_VALUE, true },
	                                    { 0 } };
static const struct word message_words[] = { { "JID", "jid", WORD_JID, false },
	                                     { "ID", "id", WORD_VALUE, false },
	                                     { 0 } };
static const struct word owner_word[] = { { "JID|HOST", "of", WORD_HOST_OR_JID, true }, { 0 } };
static const struct flag search_flags[] = {
	{ "--with", "ADDRESS", "only what was said with ADDRESS" },
	{ "--since", "TIME", "only from TIME on: 2026-11-22, 2026-11-22T08:30 (UTC), or 30d ago" },
	{ "--until", "TIME", "only before TIME" },
	{ "--limit", "N", "the newest N; without it 100" },
	{ 0 },
};
static const struct flag message_flags[] = {
	{ "--record", NULL, "ID is the record's, which both archives share; \"archive show\" says it" },
	{ 0 },
};
static const struct flag archive_export_flags[] = {
	{ "--all", NULL, "the archives of all domains" },
	{ "--to", "DIR", "the folder, always needed: not there yet, or empty" },
	{ "--format", "FORMAT", "xml (XEP-0227), jsonl or mbox; without it xml" },
	{ "--with", "ADDRESS", "only what was said with ADDRESS" },
	{ "--since", "TIME", "only from TIME on: 2026-11-22, 2026-11-22T08:30 (UTC), or 30d ago" },
	{ "--until", "TIME", "only before TIME" },
	{ 0 },
};
static const struct flag expire_flags[] = {
	{ "--older-than", "DAYS",
	  "what is older, whatever the domains keep; without it, archive.keep of each" },
	{ "--dry-run", NULL, "only says what would go" },
	{ "--yes", NULL, "does not ask whether you are sure" },
	{ 0 },
};
static const struct flag stats_flags[] = {
	{ "--exact", NULL, "all domains on PostgreSQL: counts, instead of the database's estimates" },
	{ 0 },
};
static const struct flag top_flags[] = {
	{ "--once", NULL, "one page, and ends" },
	{ 0 },
};
static const struct flag metrics_flags[] = {
	{ "--list", NULL, "says what there is; needs no server" },
	{ 0 },
};
static const struct flag drain_flags[] = {
	{ "--timeout", "SECONDS", "waits no longer" },
	{ "--stop", NULL, "then stops the server, whoever is left" },
	{ "--cancel", NULL, "takes new connections again" },
	{ 0 },
};
static const struct flag yes_flags[] = {
	{ "--yes", NULL, "does not ask whether you are sure" },
	{ 0 },
};

static const struct word new_group_words[] = { { "HOST", "host", WORD_HOST, false },
	                                       { "NAME", "name", WORD_VALUE, false },
	                                       { 0 } };
static const struct word group_words[] = { { "HOST", "host", WORD_HOST, false },
	                                   { "NAME", "name", WORD_GROUP, false },
	                                   { 0 } };
static const struct word group_member_words[] = { { "HOST", "host", WORD_HOST, false },
	                                          { "NAME", "name", WORD_GROUP, false },
	                                          { "JID", "jid", WORD_JID, false },
	                                          { 0 } };
static const struct word user_name_words[] = { { "JID", "jid", WORD_JID, false },
	                                       { "NAME", "name", WORD_VALUE, true },
	                                       { 0 } };
static const struct flag group_flags[] = {
	{ "--title", "TITLE", "what contact lists call it" },
	{ 0 },
};
static const struct flag group_set_flags[] = {
	{ "--title", "TITLE", "what contact lists call it" },
	{ "--shows", "OTHER", "its members see those of that group" },
	{ "--hides", "OTHER", "they see them no longer" },
	{ 0 },
};

static const struct column host_columns[] = {
	{ "name", "HOST", false },
	{ "record", "RECORD", false },
	{ "certificate_expires", "CERTIFICATE EXPIRES", false },
	{ 0 },
};
static const struct table host_table = { "hosts", host_columns, "No hosts are served." };

static const struct column cert_columns[] = {
	{ "domain", "DOMAIN", false }, { "state", "CERTIFICATE", false }, { "expires", "EXPIRES", false },
	{ "days_left", "DAYS", true }, { "file", "FILE", false },         { 0 },
};
static const struct table cert_table = { "certificates", cert_columns, "No hosts are served." };

static const struct column policy_columns[] = {
	{ "policy", "POLICY", false },
	{ "value", "VALUE", false },
	{ "wants", "TAKES", false },
	{ "about", "", false },
	{ 0 },
};
static const struct table policy_table = { "policies", policy_columns, "There are no policies." };

static const struct column check_columns[] = {
	{ "check", "CHECK", false },
	{ "state", "STATE", false },
	{ "found", "FOUND", false },
	{ 0 },
};
static const struct table check_table = { "checks", check_columns, "Nothing was checked." };

static const struct column user_columns[] = {
	{ "jid", "ACCOUNT", false },
	{ "created", "CREATED", false },
	{ "disabled", "DISABLED", false },
	{ "name", "NAME", false },
	{ 0 },
};
static const struct table user_table = { "users", user_columns, "There are no accounts." };

static const struct column group_columns[] = {
	{ "host", "HOST", false },      { "name", "GROUP", false },  { "title", "TITLE", false },
	{ "members", "MEMBERS", true }, { "shows", "SHOWS", false }, { 0 },
};
static const struct table group_table = { "groups", group_columns, "There are no groups." };

static const struct column member_columns[] = {
	{ "jid", "MEMBER", false },
	{ "name", "NAME", false },
	{ 0 },
};
static const struct table member_table = { "members", member_columns, "The group has no members." };

static const struct column message_columns[] = {
	{ "time", "TIME", false }, { "direction", "", false },   { "peer", "PEER", false },
	{ "id", "ID", false },     { "text", "MESSAGE", false }, { 0 },
};
static const struct table message_table = { "messages", message_columns, "No messages were found." };

static const struct column session_columns[] = {
	{ "jid", "SESSION", false },         { "since", "SINCE", false },
	{ "peer", "FROM", false },           { "connected", "CONNECTED", false },
	{ "available", "AVAILABLE", false }, { "priority", "PRIORITY", true },
	{ "login", "LOGIN", false },         { 0 },
};
static const struct table session_table = { "sessions", session_columns, "There are no sessions." };

#define ASKS_PASSWORD "Without one of its options it asks for the password at the terminal, twice."

const struct verb verbs[] = {
	{
	    .name = "host add",
	    .about = "Serves a domain, from now on.",
	    .more = "The certificate is read from the directory of the configuration's node.certificates: "
		    "NAME.crt and NAME.key.",
	    .words = host_word,
	    .done = "Added",
	},
	{
	    .name = "host list",
	    .about = "Lists the served domains.",
	    .table = &host_table,
	},
	{
	    .name = "host show",
	    .about = "Shows what a served domain has set for itself, and what can be set.",
	    .words = host_word,
	    .table = &policy_table,
	},
	{
	    .name = "host set",
	    .about = "Changes a policy of a served domain, from now on.",
	    .more = "Without VALUE the policy is at its default again.",
	    .words = host_set_words,
	    .done = "Changed",
	},
	{
	    .name = "host remove",
	    .about = "Ends serving a domain, and removes its accounts with all they have.",
	    .words = host_word,
	    .flags = yes_flags,
	    .prepare = ask_if_removed,
	    .done = "Removed",
	},
	{
	    .name = "cert list",
	    .about = "Lists the certificates of the served domains, and when they end.",
	    .more = "With --json also whom they name, and what is wrong with them.",
	    .is_live = true,
	    .words = of_host_word,
	    .flags = of_host_flags,
	    .prepare = host_to_args,
	    .table = &cert_table,
	},
	{
	    .name = "user add",
	    .about = "Adds an account.",
	    .more = ASKS_PASSWORD,
	    .words = jid_word,
	    .flags = &passwd_flags[1], /* nobody is connected yet */
	    .prepare = ask_password,
	    .done = "Added",
	},
	{
	    .name = "user passwd",
	    .about = "Changes the password of an account.",
	    .more = ASKS_PASSWORD,
	    .words = jid_word,
	    .flags = passwd_flags,
	    .prepare = ask_password,
	    .done = "Changed the password of",
	},
	{
	    .name = "user disable",
	    .about = "Bars an account from logging in and ends its sessions.",
	    .more = "It keeps what it has. To others it is as if it were not there.",
	    .words = jid_word,
	    .done = "Disabled",
	},
	{
	    .name = "user enable",
	    .about = "Lets a disabled account log in again.",
	    .words = jid_word,
	    .done = "Enabled",
	},
	{
	    .name = "user show",
	    .about = "Shows an account: its state, its keys, what it has, its sessions.",
	    .words = jid_word,
	    .show = show_user,
	},
	{
	    .name = "user list",
	    .about = "Lists the accounts, of one domain or of all.",
	    .words = of_host_word,
	    .flags = of_host_flags,
	    .prepare = host_to_args,
	    .table = &user_table,
	},
	{
	    .name = "user import",
	    .about = "Makes accounts of a CSV file: of all of it, or nothing.",
	    .more =
		"Its first line names the columns: jid (or name and host); password, or iterations, salt, "
		"stored_sha1,\nserver_sha1, stored_sha256 and server_sha256; and, if you like, "
		"display_name, email,\ngroups (with ; between them), disabled. Each mistake is shown with "
		"its line. With - it reads standard input.",
	    .words = import_word,
	    .flags = import_flags,
	    .run = import_users,
	},
	{
	    .name = "user export",
	    .about = "Prints accounts as CSV, as \"user import\" reads it.",
	    .more = "Without --keys nobody can log in by what is in it.",
	    .flags = export_flags,
	    .prepare = flags_to_args,
	    .table = &user_table, /* of --json */
	    .run = export_users,
	},
	{
	    .name = "user email",
	    .about = "Sets the e-mail address of an account, or without EMAIL takes it away.",
	    .more = "A client certificate with this address, and without an XMPP address, logs in to the "
		    "account.",
	    .words = email_words,
	    .done = "Changed the e-mail address of",
	},
	{
	    .name = "user remove",
	    .about = "Removes an account with its contact list, and ends its sessions.",
	    .words = jid_word,
	    .flags = yes_flags,
	    .prepare = ask_if_removed,
	    .done = "Removed",
	},
	{
	    .name = "user name",
	    .about = "Names an account, as contact groups show it.",
	    .more =
		"Without NAME it has none. Whoever has the contact in his own list may call it otherwise.",
	    .words = user_name_words,
	    .done = "Named",
	},
	{
	    .name = "group add",
	    .about = "Adds a contact group, whose members have each other in their contact lists.",
	    .words = new_group_words,
	    .flags = group_flags,
	    .prepare = flags_to_args,
	    .done = "Added",
	},
	{
	    .name = "group list",
	    .about = "Lists the contact groups, of one domain or of all.",
	    .words = of_host_word,
	    .flags = of_host_flags,
	    .prepare = host_to_args,
	    .table = &group_table,
	},
	{
	    .name = "group show",
	    .about = "Lists the members of a group.",
	    .words = group_words,
	    .table = &member_table,
	},
	{
	    .name = "group set",
	    .about = "Changes a group's title, or which other groups its members see.",
	    .words = group_words,
	    .flags = group_set_flags,
	    .prepare = flags_to_args,
	    .done = "Changed",
	},
	{
	    .name = "group remove",
	    .about = "Removes a group; the accounts stay.",
	    .words = group_words,
	    .flags = yes_flags,
	    .prepare = ask_if_removed,
	    .done = "Removed",
	},
	{
	    .name = "group join",
	    .about = "Makes an account a member of a group.",
	    .words = group_member_words,
	    .done = "Joined:",
	},
	{
	    .name = "group leave",
	    .about = "Takes an account out of a group.",
	    .words = group_member_words,
	    .done = "Left:",
	},
	{
	    .name = "session list",
	    .about = "Lists who is connected, on one domain or on all.",
	    .is_live = true,
	    .words = of_host_word,
	    .flags = of_host_flags,
	    .prepare = host_to_args,
	    .table = &session_table,
	},
	{
	    .name = "session kick",
	    .about = "Ends a session, or with an address without resource all of that account.",
	    .is_live = true,
	    .more = "The client may connect again: see \"user passwd\" and \"user remove\".",
	    .words = jid_word,
	    .show = show_kicked,
	},
	{
	    .name = "announce",
	    .about = "Sends a message to the users of a domain, in the domain's name.",
	    .is_live = true,
	    .words = announce_words,
	    .flags = announce_flags,
	    .prepare = announce_args,
	    .run = announce,
	},
	{
	    .name = "archive search",
	    .about = "Finds messages in an account's archive, the newest first.",
	    .more =
		"Finds those that have all of WORDS in them, in whatever case; without WORDS all. Several "
		"words are one\nargument, in quotes. The server's log says who has read whose archive.",
	    .words = search_words,
	    .flags = search_flags,
	    .prepare = flags_to_args,
	    .table = &message_table,
	    .run = archive_search,
	},
	{
	    .name = "archive show",
	    .about = "Shows a message whole: its text and XML, whose archives have it, who has got it.",
	    .more = "ID is what \"archive search\" shows.",
	    .words = message_words,
	    .flags = message_flags,
	    .prepare = flags_to_args,
	    .show = show_archived,
	},
	{
	    .name = "archive export",
	    .about = "Writes archives into a folder, as files for other programs.",
	    .more =
		"Say whose: JID, HOST or --all. Each account with messages has a file, and MANIFEST their "
		"counts and\nsums; all is of one moment. The folder is a secret: there is what people have said in it.",
	    .words = owner_word,
	    .flags = archive_export_flags,
	    .prepare = archive_export_args,
	    .run = archive_export,
	},
	{
	    .name = "archive verify",
	    .about = "Checks an exported folder: files, sums and counts.",
	    .more = "It needs no server.",
	    .words = dir_word,
	    .run = archive_verify,
	},
	{
	    .name = "archive stats",
	    .about = "Counts messages by month, of an account, a domain or all.",
	    .words = owner_word,
	    .flags = stats_flags,
	    .prepare = flags_to_args,
	    .run = archive_stats,
	},
	{
	    .name = "archive expire",
	    .about = "Removes messages that are older than their domain keeps them.",
	    .more =
		"Says first how many of which months that are, and asks. The server does the same by itself each "
		"day,\nby each domain's policy archive.keep.",
	    .words = of_host_word,
	    .flags = expire_flags,
	    .prepare = archive_expire_args,
	    .run = archive_expire,
	},
	{
	    .name = "status",
	    .about = "Shows how the server is doing.",
	    .is_live = true,
	    .show = show_status,
	},
	{
	    .name = "top",
	    .about = "Shows what the server does, each second.",
	    .more = "q ends it. Where the output is no terminal the pages follow one another; with --json "
		    "each is a line.",
	    .flags = top_flags,
	    .is_live = true,
	    .run = run_top,
	},
	{
	    .name = "metrics",
	    .about = "Prints all that the server counts, as OpenMetrics text for Prometheus.",
	    .flags = metrics_flags,
	    .is_live = true,
	    .run = run_metrics,
	},
	{
	    .name = "drain",
	    .about = "Takes no new connections, and waits until the present ones have ended.",
	    .more = "Who interrupts it interrupts the waiting only. \"musterctl status\" says that the "
		    "server drains.",
	    .flags = drain_flags,
	    .is_live = true,
	    .run = run_drain,
	},
	{
	    .name = "reload",
	    .about = "Reads the configuration and the certificates again and reopens the log.",
	    .is_live = true,
	    .more = "When the configuration has a mistake nothing is changed.",
	    .done = "Reloaded",
	},
	{
	    .name = "stop",
	    .about = "Stops the server, when all it has taken is stored.",
	    .is_live = true,
	    .more = "It waits until the server has ended.",
	    .show = show_stopped,
	},
	{
	    .name = "db check",
	    .about = "Examines the database: tables, durability, what is of no use, what to do.",
	    .more = "Ends with 1 when there is something to do.",
	    .is_database = true,
	    .show = show_db,
	},
	{
	    .name = "db migrate",
	    .about = "Brings the tables up to date, as the start of musterd does.",
	    .more = "While the server runs there is nothing to do.",
	    .flags = migrate_flags,
	    .prepare = flags_to_args,
	    .is_database = true,
	    .show = show_db,
	},
	{
	    .name = "backup",
	    .about = "Makes a backup in a new folder, while the server runs or not.",
	    .more =
		"It has the database as it is at one moment, the configuration file, and a manifest with "
		"sums and counts.\nCertificates are listed in it; with --with-keys they are in it, private "
		"keys included.\nThe folder is a secret in any case: there are the accounts' keys in it."
		"\nA folder whose name is that of a command, as verify, is said as ./verify.",
	    .words = dir_word,
	    .flags = backup_flags,
	    .run = backup_make,
	},
	{
	    .name = "backup verify",
	    .about = "Checks a backup, and really restores it into a scratch place.",
	    .more = "SQLite into a temporary folder ($TMPDIR); PostgreSQL into the empty database that you "
		    "name, else its\ndump is only read.",
	    .words = dir_word,
	    .flags = verify_flags,
	    .run = backup_verify,
	},
	{
	    .name = "check",
	    .about = "Goes a client's way to a domain: DNS, ports, STARTTLS, certificate.",
	    .more = "It needs no server on this machine. Ends with 1 when a step fails.",
	    .words = check_word,
	    .flags = check_flags,
	    .table = &check_table,
	    .run = check_domain,
	},
	{
	    .name = "config check",
	    .about = "Checks a configuration file; needs no server.",
	    .more = "Without FILE it checks the one of --config, or the default one. It runs \"musterd "
		    "--check\".",
	    .words = file_word,
	    .run = config_check,
	},
	{
	    .name = "complete",
	    .about = "Completes a command line for the shell.",
	    .more = "For bash: complete -o default -C 'musterctl complete' musterctl",
	    .run = help_complete,
	},
	{ 0 },
};

const struct flag global_flags[] = {
	{ "--config", "FILE", "the server's configuration file, to find its socket" },
	{ "--socket", "PATH", "the server's control socket" },
	{ "--json", NULL, "prints the result as JSON" },
	{ "--help", NULL, "explains the command" },
	{ "--version", NULL, "prints the version" },
	{ 0 },
};

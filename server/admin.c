/* admin.c - the administrator's commands: the table, and those about the node.
 *
 * control.c calls a handler on reactor 0 when a request has been checked against the table. A handler
 * answers once, now or later; what it needs until then lies in the request's arena. */
#include "admin.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define STOPPING "The server is stopping."

/* ---- shared */

bool admin_may_write(struct request *r)
{
	if (!store_is_away(admin_reactor(r)->store))
		return true;
	request_fail(r, CONTROL_AWAY, "The database does not answer; nothing was changed.",
	             "Try again when \"musterctl status\" says that it is back.");
	return false;
}

json_t *admin_time(int64_t seconds)
{
	char text[32];
	struct tm utc;
	time_t t = (time_t)seconds;

	gmtime_r(&t, &utc);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	return json_string(text);
}

void admin_refuse_unknown(struct request *r, const char *jid)
{
	request_failf(r, CONTROL_REFUSED, "\"musterctl user list\" shows the accounts.",
	              "There is no account %s.", jid);
}

bool admin_store_ok(struct request *r, const struct rows *rows)
{
	const struct server *srv = request_server(r);

	if (rows_status(rows) == STORE_OK && !srv->is_stopping)
		return true;
	if (srv->is_stopping)
		request_fail(r, CONTROL_AWAY, STOPPING, NULL);
	else if (rows_status(rows) == STORE_AWAY)
		request_fail(
		    r, CONTROL_AWAY,
		    "The database does not answer; whether it took the change is not known.",
		    "Look with \"musterctl status\" until it is back, then give the command again.");
	else
		request_fail(r, CONTROL_BROKEN, "The database refused the statement.",
		             "This is a bug; the server's log has the database's words.");
	return false;
}

const struct host *admin_host(struct request *r, const char *name)
{
	char prepared[JID_PART_MAX + 1];

	if (!jid_prepare_domain(name, strlen(name), prepared)) {
		request_failf(r, CONTROL_USAGE, "A domain is something like \"example.org\".",
		              "\"%.200s\" is no valid domain.", name);
		return NULL;
	}
	const struct host *h = hosts_find(admin_reactor(r)->hosts, prepared, strlen(prepared));
	if (!h)
		request_failf(
		    r, CONTROL_REFUSED,
		    "\"musterctl host list\" shows the served domains, \"musterctl host add\" adds one.",
		    "The domain %s is not served here.", prepared);
	return h;
}

static void on_account_end(void *arg)
{
	jid_unref(arg);
}

struct jid *admin_account(struct request *r, bool or_session)
{
	const char *text = request_arg(r, "jid");
	struct jid *j = jid_parse(text, strlen(text));

	request_at_end(r, on_account_end, j);
	if (!j || !jid_has_local(j) || (jid_has_resource(j) && !or_session)) {
		request_failf(r, CONTROL_USAGE, "An account is something like \"romeo@example.org\".",
		              "\"%.1000s\" is no valid address of an account.", text);
		return NULL;
	}
	char *domain = arena_strndup(request_arena(r), jid_domain(j), jid_domain_len(j));
	return admin_host(r, domain) ? j : NULL;
}

void admin_lines_add(json_t *array, const char *lines, const char *about)
{
	while (lines && *lines) {
		size_t n = strcspn(lines, "\n");
		char *line = mem_strndup(lines, n);

		if (n && (!about || strstr(line, about)))
			json_array_append_new(array, json_string(line));
		mem_free(line);
		lines += n + (lines[n] == '\n');
	}
}

json_t *admin_lines(const char *lines, const char *about)
{
	json_t *array = json_array();

	admin_lines_add(array, lines, about);
	return array;
}

/* ---- reload and stop */

struct reload_job {
	struct request *request;
	char *notes; /* what takes effect at the next start only */
};

static void on_reload_end(void *arg)
{
	struct reload_job *job = arg;

	mem_free(job->notes);
}

static void on_reloaded(void *arg, bool ok, const char *problems)
{
	struct reload_job *job = arg;
	json_t *warnings;

	if (!ok) {
		request_fail(
		    job->request, CONTROL_AWAY,
		    "The configuration was read, but the database does not answer: hosts and certificates "
		    "are as before.",
		    "Reload again when \"musterctl status\" says that it is back.");
		return;
	}
	warnings = admin_lines(job->notes, NULL);
	admin_lines_add(warnings, problems, NULL);
	request_done(job->request, json_pack("{s:o}", "warnings", warnings));
}

static void reload(struct request *r)
{
	struct reload_job *job = arena_zalloc(request_arena(r), sizeof(*job));

	job->request = r;
	request_at_end(r, on_reload_end, job);
	if (server_reload(request_server(r), on_reloaded, job, &job->notes))
		return;
	size_t n = strlen(job->notes);
	if (n && job->notes[n - 1] == '\n')
		job->notes[n - 1] = '\0';
	request_fail(r, CONTROL_REFUSED, job->notes,
	             "Nothing was changed. Mend the file, then reload again.");
}

static void stop(struct request *r)
{
	struct server *srv = request_server(r);

	request_done(r, NULL);
	server_stop(srv);
}

/* ---- the table */

static const struct argument host_arguments[] = {
	{ "name", ARGUMENT_TEXT, true, "a domain" },
	{ 0 },
};
static const struct argument host_set_arguments[] = {
	{ "name", ARGUMENT_TEXT, true, "a domain" },
	{ "policy", ARGUMENT_TEXT, true, "one of those that \"host show\" lists" },
	{ "value", ARGUMENT_TEXT, false, "its value; without it, the default again" },
	{ 0 },
};
static const struct argument of_host_arguments[] = {
	{ "host", ARGUMENT_TEXT, false, "only of this domain" },
	{ 0 },
};
static const struct argument account_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ 0 },
};
static const struct argument email_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "email", ARGUMENT_TEXT, false, "an e-mail address; none: it has none" },
	{ 0 },
};
static const struct argument group_arguments[] = {
	{ "host", ARGUMENT_TEXT, true, "a domain" },
	{ "name", ARGUMENT_TEXT, true, "a group of it" },
	{ "title", ARGUMENT_TEXT, false, "what contact lists call it; its name" },
	{ 0 },
};
static const struct argument group_set_arguments[] = {
	{ "host", ARGUMENT_TEXT, true, "a domain" },
	{ "name", ARGUMENT_TEXT, true, "a group of it" },
	{ "title", ARGUMENT_TEXT, false, "what contact lists call it" },
	{ "shows", ARGUMENT_TEXT, false, "a group whose members its members are to see" },
	{ "hides", ARGUMENT_TEXT, false, "a group whose members they are to see no longer" },
	{ 0 },
};
static const struct argument group_member_arguments[] = {
	{ "host", ARGUMENT_TEXT, true, "a domain" },
	{ "name", ARGUMENT_TEXT, true, "a group of it" },
	{ "jid", ARGUMENT_TEXT, true, "the address of an account of that domain" },
	{ 0 },
};
static const struct argument user_name_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "name", ARGUMENT_TEXT, false, "what groups call it; without it, nothing" },
	{ 0 },
};
static const struct argument session_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true,
	  "the address of a session, or of an account for all of its sessions" },
	{ 0 },
};
static const struct argument announce_arguments[] = {
	{ "host", ARGUMENT_TEXT, true, "a domain" },
	{ "text", ARGUMENT_SECRET, true, "the message: like any other it is not logged" },
	{ "subject", ARGUMENT_SECRET, false, "its subject" },
	{ "all", ARGUMENT_BOOL, false, "to every account, not only to those who are there" },
	{ 0 },
};
static const struct argument archive_search_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "words", ARGUMENT_SECRET, false,
	  "words that stand in the messages: like them, they are not logged" },
	{ "with", ARGUMENT_TEXT, false, "only what was said with this address" },
	{ "since", ARGUMENT_TEXT, false, "only from this time on" },
	{ "until", ARGUMENT_TEXT, false, "only before this time" },
	{ "limit", ARGUMENT_TEXT, false, "the newest so many; 100" },
	{ 0 },
};
static const struct argument archive_show_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "id", ARGUMENT_TEXT, true, "the id of a message in its archive" },
	{ "record", ARGUMENT_BOOL, false, "whether it is the id of the record instead; false" },
	{ 0 },
};
static const struct argument archive_export_arguments[] = {
	{ "of", ARGUMENT_TEXT, false, "an account, or a domain; without it, all" },
	{ "with", ARGUMENT_TEXT, false, "only what was said with this address" },
	{ "since", ARGUMENT_TEXT, false, "only from this time on" },
	{ "until", ARGUMENT_TEXT, false, "only before this time" },
	{ 0 },
};
static const struct argument archive_stats_arguments[] = {
	{ "of", ARGUMENT_TEXT, false, "an account, or a domain; without it, all" },
	{ "exact", ARGUMENT_BOOL, false, "whether all is counted, however long it takes; false" },
	{ 0 },
};
static const struct argument archive_expire_arguments[] = {
	{ "host", ARGUMENT_TEXT, false, "only of this domain" },
	{ "older_than", ARGUMENT_TEXT, false, "days; without it as long as the domains keep archives" },
	{ "dry_run", ARGUMENT_BOOL, false, "whether to say only what would go; false" },
	{ 0 },
};
static const struct argument password_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "password", ARGUMENT_SECRET, true, "its password" },
	{ 0 },
};
static const struct argument passwd_arguments[] = {
	{ "jid", ARGUMENT_TEXT, true, "the address of an account" },
	{ "password", ARGUMENT_SECRET, true, "its new password" },
	{ "kick", ARGUMENT_BOOL, false, "whether its sessions end; false" },
	{ 0 },
};
static const struct argument exists_arguments[] = {
	{ "host", ARGUMENT_TEXT, true, "a domain" },
	{ "names", ARGUMENT_LIST, true, "names of accounts, without the domain" },
	{ "emails", ARGUMENT_LIST, true, "e-mail addresses, in lower case" },
	{ 0 },
};
static const struct argument batch_arguments[] = {
	{ "batch", ARGUMENT_TEXT, true, "what \"import begin\" gave" },
	{ 0 },
};
static const struct argument rows_arguments[] = {
	{ "batch", ARGUMENT_TEXT, true, "what \"import begin\" gave" },
	{ "rows", ARGUMENT_LIST, true, "a portion of the accounts" },
	{ 0 },
};
static const struct argument commit_arguments[] = {
	{ "batch", ARGUMENT_TEXT, true, "what \"import begin\" gave" },
	{ "lines", ARGUMENT_TEXT, true, "the last line of the file" },
	{ "mode", ARGUMENT_TEXT, true, "what is done with accounts that are there: new, skip, update" },
	{ 0 },
};
static const struct argument migrate_arguments[] = {
	{ "dry_run", ARGUMENT_BOOL, false, "whether to say only what would be done; false" },
	{ 0 },
};
static const struct argument export_arguments[] = {
	{ "host", ARGUMENT_TEXT, false, "only of this domain" },
	{ "keys", ARGUMENT_BOOL, false, "with what is needed to log in; false" },
	{ 0 },
};

static const struct argument drain_arguments[] = {
	{ "cancel", ARGUMENT_BOOL, false, "takes them again" },
	{ 0 },
};

const struct command admin_commands[] = {
	{ "host add", "Serves a domain.", host_arguments, admin_host_add },
	{ "host list", "Lists the served domains.", NULL, admin_host_list },
	{ "host show", "Shows the policies of a domain.", host_arguments, admin_host_show },
	{ "host set", "Changes a policy of a domain.", host_set_arguments, admin_host_set },
	{ "host remove", "Ends serving a domain; its accounts go with it.", host_arguments,
	  admin_host_remove },
	{ "cert list", "Lists the certificates of the served domains.", of_host_arguments,
	  admin_cert_list },
	{ "user add", "Adds an account.", password_arguments, admin_user_add },
	{ "user passwd", "Changes a password.", passwd_arguments, admin_user_passwd },
	{ "user disable", "Bars an account and ends its sessions.", account_arguments, admin_user_disable },
	{ "user enable", "Lets it log in again.", account_arguments, admin_user_enable },
	{ "user show", "Shows an account.", account_arguments, admin_user_show },
	{ "user export", "Lists accounts with all they have.", export_arguments, admin_user_export },
	{ "user list", "Lists accounts.", of_host_arguments, admin_user_list },
	{ "user email", "Sets the e-mail address of an account.", email_arguments, admin_user_email },
	{ "user remove", "Removes an account and ends its sessions.", account_arguments,
	  admin_user_remove },
	{ "import exists", "Says which names are taken.", exists_arguments, admin_import_exists },
	{ "import begin", "Begins an import.", NULL, admin_import_begin },
	{ "import rows", "Takes a portion of it.", rows_arguments, admin_import_rows },
	{ "import commit", "Makes the accounts.", commit_arguments, admin_import_commit },
	{ "import drop", "Gives it up.", batch_arguments, admin_import_drop },
	{ "db check", "Examines the database.", NULL, admin_db_check },
	{ "db migrate", "Brings the tables up to date.", migrate_arguments, admin_db_migrate },
	{ "user name", "Names an account in contact groups.", user_name_arguments, admin_user_name },
	{ "group add", "Adds a contact group.", group_arguments, admin_group_add },
	{ "group list", "Lists contact groups.", of_host_arguments, admin_group_list },
	{ "group show", "Lists the members of a group.", group_arguments, admin_group_show },
	{ "group set", "Changes a group.", group_set_arguments, admin_group_set },
	{ "group remove", "Removes a group.", group_arguments, admin_group_remove },
	{ "group join", "Makes an account a member of a group.", group_member_arguments, admin_group_join },
	{ "group leave", "Takes an account out of a group.", group_member_arguments, admin_group_leave },
	{ "session list", "Lists sessions.", of_host_arguments, admin_session_list },
	{ "session kick", "Ends sessions.", session_arguments, admin_session_kick },
	{ "announce", "Sends a message to the users of a domain.", announce_arguments, admin_announce },
	{ "archive search", "Finds messages in an archive.", archive_search_arguments,
	  admin_archive_search },
	{ "archive show", "Shows one of them.", archive_show_arguments, admin_archive_show },
	{ "archive export", "Lists all that is in archives.", archive_export_arguments,
	  admin_archive_export },
	{ "archive stats", "Counts what is in archives.", archive_stats_arguments, admin_archive_stats },
	{ "archive expire", "Removes what is old.", archive_expire_arguments, admin_archive_expire },
	{ "status", "Shows how the server is doing.", only_asks, admin_status },
	{ "top", "The same with the busiest domains.", only_asks, admin_top },
	{ "metrics", "Shows all that is counted.", only_asks, admin_metrics },
	{ "drain", "Takes no new connections.", drain_arguments, admin_drain },
	{ "reload", "Reads configuration and certificates again.", NULL, reload },
	{ "stop", "Stops the server.", NULL, stop },
	{ 0 },
};

/* store_pg_claim.c - one musterd on one PostgreSQL database. Two would each believe that they alone know the
 * rows: whoever starts while another one writes there is refused; whoever has lost the database to another one
 * meanwhile ends.
 *
 * Every writing connection of a node holds lock PG_CLAIM shared, as long as it lives. A start takes it
 * exclusively, so there is no writer then; writes down who has the database now (table setting, 'node'), and
 * lets the lock go. A writing connection is ready when it has the lock and has read, behind that, that the
 * database is still its node's (store_pg_conn.c: conn_up). So nobody writes who is not the one that is written
 * down, and nobody is written down while somebody else can write.
 *
 * What is left of a server that has died goes by itself, and the start waits for that: PostgreSQL sees at
 * once that a process has gone, also in the middle of a statement, and within 20 s that a machine has
 * (sql_pg_watch). Nothing is ended by force here, as nothing tells the sessions of the dead from those of the
 * living. */
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "store_pg.h"

#define LOCK_PAUSE_MS 50
#define SAY_MS 1000 /* then the log says why the start takes so long */

/* "Must" in ASCII; two numbers, so that it is none of the locks that have one (store_pg.c: the fence). */
#define PG_CLAIM "1299542900, 0"

const struct sql sql_pg_hold = {
	.name = "claim_hold",
	.text = "select 1 from pg_advisory_lock_shared(" PG_CLAIM ")",
};
const struct sql sql_pg_still = {
	.name = "claim_still",
	.text = "select convert_from(value, 'UTF8') from setting where name = 'node' and value <> $1",
};
const struct sql sql_pg_watch = {
	.name = "claim_watch",
	.text = "select set_config(name, case name when 'tcp_keepalives_count' then '3'"
		" when 'client_connection_check_interval' then '1000' else '5' end, false) from pg_settings"
		" where name in ('tcp_keepalives_idle', 'tcp_keepalives_interval', 'tcp_keepalives_count',"
		" 'client_connection_check_interval')",
};

static const struct sql sql_try = {
	.name = "claim_try",
	.text = "select pg_try_advisory_lock(" PG_CLAIM ")::int",
};
static const struct sql sql_holders = {
	.name = "claim_holders",
	.text =
	    "select count(*), min(a.pid), min(host(a.client_addr)) from pg_locks l"
	    " join pg_stat_activity a on a.pid = l.pid where l.locktype = 'advisory' and l.granted"
	    " and l.objsubid = 2 and l.classid = 1299542900 and l.objid = 0 and l.pid <> pg_backend_pid()"
	    " and l.database = (select oid from pg_database where datname = current_database())",
};
static const struct sql sql_who = {
	.name = "claim_who",
	.text = "select convert_from(value, 'UTF8') from setting where name = 'node'",
};
static const struct sql sql_write_down = {
	.name = "claim_write_down",
	.text = "insert into setting (name, value) values ('node', $1)"
		" on conflict (name) do update set value = excluded.value",
};

static void keep_number(void *arg, const struct rows *rows)
{
	*(int64_t *)arg = rows_int(rows, 0, 0);
}

/* The address, which is PostgreSQL's word, in front of what the other one says of itself. */
static void keep_holders(void *arg, const struct rows *rows)
{
	const char *address = rows_text(rows, 0, 2);

	*(char **)arg = mem_printf("%lld sessions%s%s, the first of them process %lld of PostgreSQL",
	                           (long long)rows_int(rows, 0, 0), address ? " from " : "",
	                           address ? address : "", (long long)rows_int(rows, 0, 1));
}

static void keep_who(void *arg, const struct rows *rows)
{
	char **who = arg;

	if (rows_count(rows) == 0)
		return;
	mem_free(*who);
	*who = mem_strdup(rows_text(rows, 0, 0));
}

/* The sentence for whoever is refused. */
static char *taken(void *session)
{
	char *who = mem_strdup("another musterd"), *holders = NULL, *ignored = NULL, *text;

	if (!pg_session_run(session, &sql_holders, NO_PARAMS, keep_holders, &holders, &ignored) ||
	    !pg_session_run(session, &sql_who, NO_PARAMS, keep_who, &who, &ignored)) /* no such table yet */
		mem_free(ignored);
	text =
	    mem_printf("the database belongs to %s (%s): two servers must not work on one database. Stop "
	               "that one, then start this one. If it has died, and PostgreSQL does not notice, end "
	               "its sessions: select pg_terminate_backend(pid) from pg_stat_activity where "
	               "application_name = '" PG_WRITING "' and datname = current_database()",
	               who, holders ? holders : "it is only starting");
	mem_free(who);
	mem_free(holders);
	return text;
}

/* What others read. The random part makes it another one after each start. */
static char *claim_new(void)
{
	char machine[65] = "?";
	uint64_t random;

	ASSERT(uv_random(NULL, NULL, &random, sizeof random, 0, NULL) == 0);
	if (gethostname(machine, sizeof machine) == 0)
		machine[sizeof machine - 1] = '\0';
	return mem_printf("process %d on %s, number %016llx", (int)getpid(), machine,
	                  (unsigned long long)random);
}

bool pg_claim_open(struct database *db, void *session, char **error)
{
	struct pg_node *node = db->part;
	int64_t is_ours = 0;

	for (unsigned waited = 0; waited <= db->options.claim_wait_ms; waited += LOCK_PAUSE_MS) {
		if (!pg_session_run(session, &sql_try, NO_PARAMS, keep_number, &is_ours, error))
			return false;
		if (is_ours) {
			node->claim = claim_new();
			node->session = session;
			return true;
		}
		if (waited == SAY_MS)
			log_info("store", NULL, "waiting until whoever has the database lets it go");
		uv_sleep(LOCK_PAUSE_MS);
	}
	*error = taken(session);
	return false;
}

bool pg_claim(struct database *db, char **error)
{
	struct pg_node *node = db->part;
	bool ok;

	if (!node->session)
		return true;
	ok = pg_session_run(node->session, &sql_write_down,
	                    PARAMS(P_BYTES(node->claim, strlen(node->claim))), NULL, NULL, error);
	pg_session_close(node->session);
	node->session = NULL;
	return ok;
}

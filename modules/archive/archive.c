/* archive.c - XEP-0313: an account's archive is what module record has put down for it. Only the account's
 * own sessions read it, a page at a time; nobody changes it. */
#include "archive.h"

/* Of one session at the same time: some clients ask for each of their chats at once. Beside PAGE_BYTES:
 * the answers to all of them fit a stream's write queue. */
#define QUERIES_MAX 32

/* ---- queries */

static enum verdict on_query(struct ctx *c)
{
	struct session *s = is_from_owner(c) ? session_find(c->home, jid_resource(c->from)) : NULL;
	struct query *q;

	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	if (!s) /* it has gone already */
		return DONE;
	q = c->own = query_read(c);
	if (!q)
		return DONE;
	if (s->archive_queries >= QUERIES_MAX)
		return refuse(c, RESOURCE_CONSTRAINT, "Wait for the answers to the other queries.");
	s->archive_queries++;
	q->session = s->id;
	q->newest = home_newest_entry(c->home);
	return page_start(c);
}

/* ---- the first and the last message (section 5) */

static const struct sql sql_ends = {
	.name = "archive_ends",
	.text =
	    "select coalesce((select e.id from entry e join record r on r.id = e.record where e.owner = $1"
	    " and e.passing = 0 order by e.id limit 1), 0), coalesce((select e.id from entry e join record r"
	    " on r.id = e.record where e.owner = $1 and e.passing = 0 order by e.id desc limit 1), 0)",
};

static void add_end(struct stanza *st, struct element *metadata, const char *name, int64_t id)
{
	struct element *e = element_add(st, metadata, name, MAM_NS);
	char stamp[STAMP_SIZE];

	element_setf(st, e, "id", "%lld", (long long)id);
	element_set(st, e, "timestamp", stamp_write(id >> ID_TIME_SHIFT, stamp));
}

static enum verdict on_ends(struct ctx *c, const struct rows *r)
{
	struct stanza *result;
	struct element *metadata;

	if (rows_status(r) != STORE_OK)
		return refuse_unstored(c, r);
	result = reply_new(c);
	metadata = element_add(result, result->root, "metadata", MAM_NS);
	if (rows_int(r, 0, 0)) {
		add_end(result, metadata, "start", rows_int(r, 0, 0));
		add_end(result, metadata, "end", rows_int(r, 0, 1));
	}
	return reply(c, result);
}

static enum verdict on_metadata(struct ctx *c)
{
	if (!is_from_owner(c))
		return refuse(c, FORBIDDEN, NULL);
	return fetch(c, on_ends, &sql_ends, PARAMS(P_INT(home_account(c->home))));
}

/* ---- discovery: of accounts, where there are archives (section 7); and of the host, where Profanity and
 * others look for it */

static enum verdict on_disco(struct ctx *c)
{
	static const char *const features[] = { MAM_NS,
		                                MAM_NS "#extended",
		                                MAM_NS "#groupchat-field",
		                                FULLTEXT_NS,
		                                RETRACT_NS,
		                                RETRACT_NS "#tombstone",
		                                SID_NS,
		                                RSM_NS };

	for (unsigned i = 0; home_records(c->home) && i < COUNT_OF(features); i++)
		disco_feature(c, features[i]);
	return PASS;
}

/* ---- how long: the server lets go what is older (server/archive_expire.c) */

struct archive_policy {
	int64_t keep;
};

static const char *const for_ever[] = { "forever", NULL };

static const struct option policies[] = { { .name = "keep",
	                                    .type = OPT_INT,
	                                    .offset = offsetof(struct archive_policy, keep),
	                                    .fallback = "forever",
	                                    .help = "For how many days messages stay on record.",
	                                    .min = 1,
	                                    .max = 36500,
	                                    .choices = for_ever },
	                                  OPTIONS_END };

static const struct hook hooks[] = {
	ON_IQ_SET(MAM_NS, "query", HOME_USER, on_query),
	ON_IQ_GET(MAM_NS, "query", HOME_USER, query_on_form),
	ON_IQ_GET(MAM_NS, "metadata", HOME_USER, on_metadata),
	ON_EVENT(EVENT_DISCO_INFO, HOME_USER | HOME_HOST, on_disco),
	HOOKS_END,
};

const struct module mod_archive = {
	.api = MUSTER_API,
	.name = "archive",
	.about = "Lets clients read what was said, from what is on record.",
	.spec = "XEP-0313, XEP-0059, XEP-0297, XEP-0359, XEP-0424, XEP-0431",
	.hooks = hooks,
	.policies = policies,
	.policies_size = sizeof(struct archive_policy),
};

/* module.h - the only header a module includes: what a module is and all it can do.
 *
 * A module is one const descriptor in a shared object, NAME.so, exported as `mod_NAME`. It says what it
 * handles (hooks), what it announces (features), what can be configured for the node (options) and for
 * each host (policies), and how much it keeps per home. It has no other state, sees no other home, and never
 * waits except by `fetch` and `hold`, and for its writes by `change`.
 * modules/ping.c is the whole of a small one; ARCHITECTURE walks through it.
 *
 * Words. home: the single owner of the live state of one address (a user, a served host ...), which
 * handles one stanza at a time. pass: a stanza's way through one home: OUT of the home of its sender,
 * IN to the home of its recipient. ctx: that stanza in that home, with scratch memory of its own. record: a
 * message as it is stored, once; entry: an account's own row for it, in that account's index. transit: on its way
 * to another home, and so in the database. ARCHITECTURE has more of them at its top. */
#ifndef MUSTER_MODULE_H
#define MUSTER_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base64.h"
#include "blocks.h"
#include "digest.h"
#include "jid.h"
#include "list.h"
#include "log.h"
#include "mem.h"
#include "option.h"
#include "roster.h"
#include "stamp.h"
#include "stanza.h"
#include "store.h"
#include "text.h"
#include "words.h"

#define MUSTER_API 1 /* grows when anything in the installed headers changes its meaning */

struct home;
struct session;

/* What kind of owner an address has. The router decides it once, on the sending reactor. */
enum home_kind {
	HOME_HOST = 1, /* a served domain: no state of its own */
	HOME_USER = 2, /* local@domain of a served domain */
	HOME_ROOM = 4, /* this one and the next: not yet */
	HOME_COMPONENT = 8,
	HOME_REMOTE = 16, /* a domain that is not served here: it has no home yet */
	HOME_SERVICE = 32 /* an address that a module owns below each served domain; without state too */
};

enum direction { OUT, IN };

/* The stages of each pass, in their order. Two modules in one stage must not care about each other's
 * order, and one that returns DONE ends the pass for all: so who only looks on does it before ACT. For a
 * message the stages behind KEEP run when the record has been committed; an IQ behind it may be answered
 * earlier, its answer leaves later. */
enum stage {
	GUARD,  /* may refuse: limits, policy, blocking */
	CHANGE, /* strips what is forged, adds what the server says of it */
	KEEP,   /* puts it on record */
	COPY,   /* tells others of it: carbons of what goes out */
	ACT     /* delivers, answers */
};

enum verdict {
	PASS, /* not mine, or not only mine: the pass goes on */
	DONE, /* handled or refused: the pass ends */
	HELD  /* a continuation will say */
};

struct ctx {
	struct home *home;
	struct session *session; /* OUT: the sender's session; lifecycle events: whose; else, and when it
	                            has ended during a wait, NULL. An event whose session has ended while
	                            one handler waited does not go on to the next one. */
	struct jid *from, *to;   /* never NULL while a stanza is handled */
	struct stanza *stanza;   /* sealed; NULL in lifecycle events */
	struct arena scratch;    /* gone when the stanza has been handled, held or not */
	uint64_t trace;
	uint8_t dir;        /* enum direction */
	void *own;          /* the handler's own, for its continuation */
	bool is_returned;   /* IN: a stream died before it was written; passes COPY and ACT again */
	unsigned copies;    /* is_returned: to how many sessions it had been delivered */
	int64_t record;     /* id of its record; 0 when it is not on record */
	bool is_unrecorded; /* IN: the record with that id is not written yet */
	bool is_spooled;    /* IN: its record may be missing in the database: write it too */
	int64_t entry;      /* IN: its id in the owner's index; 0 when it has none */
	/* IN, and it has not come back: the owner does not keep it, his archive has no such entry. */
	bool is_passing;
	/* OUT: its id in the sender's own index, which nobody else may see; 0 when it has none. */
	int64_t sent;
};

typedef enum verdict handler(struct ctx *c);
/* Continuation of fetch, hold and change, and of EVENT_LOAD. Look at rows_status first. */
typedef enum verdict rows_handler(struct ctx *c, const struct rows *r);

/* ---- what a module hooks into. Use the macros below. */
enum event {
	EVENT_IQ,     /* an IQ request for this home, by type, namespace and element: ACT of IN */
	EVENT_STANZA, /* a stage of a pass */
	EVENT_LOAD,   /* a home wakes: rows to load, $1 is its account id */
	EVENT_RELOAD, /* the same, when somebody else may have changed those rows: memory is to follow, and
	                 who sees it is told */
	EVENT_GROUPS, /* administrators' groups that it sees, or is in, have changed: home_regroup */
	EVENT_SLEEP,  /* a home is about to be freed; handlers do not wait */
	EVENT_SESSION_BOUND,
	EVENT_SESSION_AVAILABLE, /* initial presence */
	EVENT_SESSION_REACHABLE, /* may get messages from now on: available with a priority that is not
	                            negative */
	EVENT_SESSION_RESTORED, /* instead of these three: it was there when the server stopped, and is again.
	                            Nobody has noticed */
	EVENT_SESSION_GONE,     /* before the session is freed; handlers do not wait */
	EVENT_SETTLED,          /* the answer to session_settle; or its client has acknowledged entries */
	EVENT_DISCO_INFO, /* may add to the answer: disco_identity, disco_feature. Of a host the same for everybody,
	                            as its hash is told to all (XEP-0115): there may be no stanza in hand */
	EVENT_DISCO_ITEMS,
	EVENT_STREAM_FEATURES, /* of a host, for a client that has logged in: features_buffer(c); handlers
	                          do not wait */
	EVENT_COUNT
};

enum { ON_MESSAGE = 1, ON_PRESENCE = 2, ON_IQ = 4 };

struct hook {
	uint8_t event;         /* enum event; EVENT_COUNT ends the table */
	uint8_t homes;         /* mask of enum home_kind */
	uint8_t kinds;         /* EVENT_STANZA: mask of ON_... */
	uint8_t dir;           /* EVENT_STANZA */
	uint8_t stage;         /* EVENT_STANZA */
	uint8_t type;          /* EVENT_IQ: IQ_GET or IQ_SET */
	const char *ns, *name; /* EVENT_IQ */
	handler *run;
	const struct sql *load; /* EVENT_LOAD, EVENT_RELOAD */
	rows_handler *loaded;   /* the same; must not return HELD */
};

#define ON_IQ_GET(namespace_, element_, homes_, fn)                                                        \
	{                                                                                                  \
		.event = EVENT_IQ, .type = IQ_GET, .ns = namespace_, .name = element_, .homes = homes_,    \
		.run = fn                                                                                  \
	}
#define ON_IQ_SET(namespace_, element_, homes_, fn)                                                        \
	{                                                                                                  \
		.event = EVENT_IQ, .type = IQ_SET, .ns = namespace_, .name = element_, .homes = homes_,    \
		.run = fn                                                                                  \
	}
#define AT_STAGE(dir_, stage_, kinds_, homes_, fn)                                                         \
	{                                                                                                  \
		.event = EVENT_STANZA, .dir = dir_, .stage = stage_, .kinds = kinds_, .homes = homes_,     \
		.run = fn                                                                                  \
	}
#define ON_LOAD(homes_, sql_, fn)                                                                          \
	{                                                                                                  \
		.event = EVENT_LOAD, .homes = homes_, .load = sql_, .loaded = fn                           \
	}
#define ON_RELOAD(homes_, sql_, fn)                                                                        \
	{                                                                                                  \
		.event = EVENT_RELOAD, .homes = homes_, .load = sql_, .loaded = fn                         \
	}
#define ON_EVENT(event_, homes_, fn)                                                                       \
	{                                                                                                  \
		.event = event_, .homes = homes_, .run = fn                                                \
	}
#define HOOKS_END                                                                                          \
	{                                                                                                  \
		.event = EVENT_COUNT                                                                       \
	}

struct module {
	unsigned api;                       /* MUSTER_API */
	const char *name;                   /* "ping" */
	const char *about;                  /* one sentence for the administrator */
	const char *spec;                   /* "XEP-0199", "RFC 6121 section 2" */
	const char *const *features;        /* service discovery, NULL-terminated, or NULL */
	const char *const *stream_features; /* whole elements offered after login, or NULL */
	const struct hook *hooks;
	const struct option *options;  /* keys of muster.conf, for all hosts; or NULL */
	size_t options_size;           /* of the struct that they fill: module_options */
	const struct option *policies; /* what each host may set for itself, "NAME.OPTION"; or NULL */
	size_t policies_size;          /* of the struct that they fill: module_policy */
	const char *service; /* "proxy": the module owns the address proxy.DOMAIN of each host; or NULL */
	/* Whether the host of this home has that address: where not, it answers service-unavailable to
	 * everything, and disco does not list it. NULL: each has it. */
	bool (*is_offered)(struct ctx *c);
	size_t home_size;              /* bytes per home, zeroed when first asked for */
	void (*home_free)(void *data); /* frees what those bytes hold on to; or NULL */
};

/* ---- this home */

const struct jid *home_jid(const struct home *h); /* its bare address */
enum home_kind home_kind(const struct home *h);
int64_t home_account(const struct home *h);           /* a user's account id: the incarnation */
bool home_records(const struct home *h);              /* the host's policy: are messages on record? */
const char *home_record_policy(const struct home *h); /* ... in the administrator's word */
/* Hints of a sender (XEP-0334), and whether the host obeys one. */
enum hint { HINT_STORE, HINT_NO_PERMANENT_STORE, HINT_NO_STORE, HINT_NO_COPY };
extern const char *const hint_names[];
bool home_obeys(const struct home *h, enum hint hint);
/* Nobody knows who it is, and the account goes with its last session (XEP-0175). */
bool home_is_guest(const struct home *h);
/* This module's bytes in this home. Those of a host or service are zeroed again when the hosts or their
 * policies change: what is made of these may be kept there. */
void *home_data(struct ctx *c);
void *home_data_if_any(struct ctx *c);     /* NULL as long as they have not been asked for in this home */
const void *module_options(struct ctx *c); /* this module's options struct, of the present snapshot */
/* This module's policies struct, as the host of this home has set it; good until the handler returns. */
const void *module_policy(struct ctx *c);
/* The served domain this home belongs to: of a user, of the host itself, of a service below it. */
const struct jid *home_host(const struct home *h); /* NULL when it has just been removed */
struct roster *home_roster(struct home *h);        /* a user's contact list: roster.h */
struct blocks *home_blocks(struct home *h);        /* whom a user blocks: blocks.h */
/* Whether a user has blocked that address. The core asks it before `route`; whoever shows a user to others
 * in another way asks too. */
bool is_blocked(const struct home *h, const struct jid *j);
/* RFC 6121 section 2.5.2: the contact is told what it loses when the item goes, and that survives a crash. With
 * `is_all` a request of his that waits is refused too. */
void roster_cancel(struct ctx *c, struct write *w, const struct roster_item *item, bool is_all);
/* Writes an item as RFC 6121 section 2.1.2 has it; subscription='remove' when it is not in the roster. */
void roster_item_write(struct stanza *st, struct element *query, const struct roster *r,
                       const struct roster_item *item);
/* EVENT_GROUPS: takes the groups as they are now into the roster, and says whom that concerns:
 * roster_regroup. */
struct regrouped *home_regroup(struct ctx *c, unsigned *count);
/* Pushes an item to every session that has asked for the roster (section 2.1.6), when it has been altered
 * in memory: the push carries the roster's new version. An item that leaves the roster is pushed before it
 * is freed. */
void roster_push(struct ctx *c, struct roster_item *item);
/* The features of loaded module number i, NULL-terminated (or NULL for none); false when there is no such
 * module. For disco. */
bool module_features(struct ctx *c, unsigned i, const char *const **features);
bool is_from_owner(const struct ctx *c); /* the stanza comes from this very account */
const char *muster_version(void);
int64_t server_started(const struct ctx *c); /* Unix seconds */
/* A line of the log, with this module's name, the home's address and the stanza's trace id. Never a message's
 * text, never a secret. */
void module_log(struct ctx *c, enum log_level level, const char *format, ...) PRINTF(3, 4);

/* ---- its sessions: bound resources. A pointer is good until the handler returns or waits. */

/* Someone who got directed presence and must hear of its end (RFC 6121 section 4.6). */
struct directed {
	struct directed *next;
	struct jid *to;
};

struct session {
	struct list node;
	struct home *home;
	struct jid *full;
	uint64_t id;             /* never used again */
	struct stanza *presence; /* the last available one; NULL while unavailable */
	int8_t priority;
	bool wants_roster;       /* has asked for the roster: gets pushes (RFC 6121 section 2.2) */
	bool wants_blocks;       /* has asked for the block list: gets pushes (XEP-0191 section 3.3) */
	uint8_t archive_queries; /* of its client that have no answer yet (XEP-0313) */
	bool wants_carbons;      /* gets copies of what other sessions send and get (XEP-0280) */
	bool is_inactive;        /* nobody looks at its client: not to be told to others */
	bool is_ending;          /* its stream is gone */
	/* Its client has read the entries of its archive behind the first and up to the second, or is reading
	 * them; both 0: it reads none. */
	int64_t archive_since, archive_read;
	int64_t left;              /* the newest entry for it alone that was left to a replay; 0: none */
	unsigned unsettled;        /* how often session_settle has asked and got no answer yet */
	struct directed *directed; /* noted by the presence module */
	/* the rest is the core's */
	struct unanswered *unanswered; /* IQ requests it has got and not answered */
	struct csi *csi;               /* what waits while its client is inactive (XEP-0352); or NULL */
	struct sm *sm;                 /* stream management (XEP-0198), where its client has enabled it */
	uint32_t stream_reactor;
	uint64_t stream_id;          /* 0: no stream attached */
	int64_t since;               /* when it was bound: Unix time in microseconds */
	char peer[48];               /* network address */
	const char *mechanism, *tls; /* how it has logged in, "SCRAM-SHA-1" and "TLSv1.3"; NULL: no TLS */
};
void directed_drop(struct directed **at);   /* the one that `at` points to */
struct list *home_sessions(struct home *h); /* of struct session */
#define SESSION_EACH(s, home) LIST_EACH (s, home_sessions(home), struct session, node)
struct session *session_find(struct home *h, const char *resource);
bool session_is_reachable(const struct session *s); /* messages to the account may go to it */
/* Replaces the presence (takes the reference; NULL: unavailable) and, when the session became available or
 * reachable, runs EVENT_SESSION_AVAILABLE and EVENT_SESSION_REACHABLE. */
void session_set_presence(struct ctx *c, struct session *s, struct stanza *presence, int8_t priority);
/* As if its client had sent that; takes the reference. From a continuation of `change`: it is handled when the
 * hold has ended, before what waits. */
void session_say(struct ctx *c, struct session *s, struct stanza *st);
/* Asks the session's stream to say when all that was delivered to it so far has been written to the
 * network, or is acknowledged where its client does that: EVENT_SETTLED follows, or never if the stream ends first. */
void session_settle(struct ctx *c, struct session *s);
/* Whether its client acknowledges what it gets (XEP-0198). */
bool session_acknowledges(const struct session *s);
/* Names the entries that were delivered to it and that its client has not acknowledged. */
void session_unacknowledged(const struct session *s, void (*fn)(void *arg, int64_t entry), void *arg);
/* The least of those of all sessions, and of what waits in the outbox; INT64_MAX: there are none. */
int64_t home_unacknowledged(struct ctx *c);

/* ---- sending. Each takes over the stanza's reference; addresses are referenced as needed. All of it
 * leaves through the home's outbox, in order, behind records that are not committed yet. */

/* The stanza as text with these addresses in front (either may be NULL): how it goes over the wire and into
 * the record. */
void stanza_write(struct buffer *b, const struct stanza *st, const struct jid *from, const struct jid *to);
/* And back: sealed; NULL when it is not one well-formed element. */
struct stanza *stanza_parse(const char *text, size_t n);
/* Whether a message is what people say to each other: a body, or one that is encrypted, a reaction to one, or an
 * invitation into a room. Typing notices, receipts and the like are no content; rooms record their own talk. */
bool message_is_content(const struct stanza *st);
/* Whether it says no more than that somebody types, or has got or read something (XEP-0085, 0184, 0333). */
bool message_is_notice(const struct stanza *st);
/* What only this server may say: a copy (XEP-0280), a delay in the own host's name, an id in this account's
 * archive. A handler of CHANGE that takes it out of the message in hand; the same for a stanza out of the
 * record (takes the reference, returns one); and whether one element is so. */
handler change_forged;
struct stanza *strip_forged(const struct ctx *c, struct stanza *st);
bool element_is_forged(const struct ctx *c, const struct element *e);
/* Adds <stanza-id/> (XEP-0359) to a message: the entry of this account's index that has it. Nobody else may see
 * it. */
#define SID_NS "urn:xmpp:sid:0"
#define CARBONS_NS "urn:xmpp:carbons:2"
void stanza_id_add(const struct ctx *c, struct stanza *st, struct element *message, int64_t entry);
/* Routes a stanza from this home to any address; not to one that the user blocks: then it is dropped. */
void route(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st);
/* Writes to one session of this home. `entry`: the message's id in the owner's index (or 0), and `copies`:
 * to how many sessions it is delivered. A message whose stream dies before it was written comes back to
 * this home with them and passes COPY and ACT again (ctx.is_returned). With `copies` 0 it is said beside the
 * message in hand: it leaves if that can be put on record, and never comes back. */
void deliver(struct ctx *c, struct session *s, const struct jid *from, const struct jid *to,
             struct stanza *st, int64_t entry, unsigned copies);
/* What this ctx delivers until it waits is on record, and older than what waits in the outbox for its own
 * record: it leaves before that. */
void deliver_first(struct ctx *c);

/* An IQ result for the request in hand: reply_new makes it, reply seals and sends it; reply(c, NULL) sends
 * an empty one. Returns DONE. */
struct stanza *reply_new(struct ctx *c);
enum verdict reply(struct ctx *c, struct stanza *result);
/* The error answer to the stanza in hand, RFC 6120 section 8.3, unless that is an error or a result
 * itself or a presence without subscription meaning; `text` may be NULL. The conditions are BAD_REQUEST,
 * FORBIDDEN ... : STANZA_ERRORS in stanza.h. Returns DONE. */
enum verdict refuse(struct ctx *c, enum stanza_condition condition, const char *text);
/* The same, because `r` (which is not STORE_OK) could not be read or written: `wait` if the database is
 * away. */
enum verdict refuse_unstored(struct ctx *c, const struct rows *r);

/* Puts another stanza (sealed; takes the reference) in the place of the one in hand. In CHANGE, and in KEEP
 * once it has been written. */
void ctx_replace(struct ctx *c, struct stanza *st);

/* ---- waiting. Return what these return. The continuation runs exactly once, later, also on failure. */

/* Scratch memory that lives as long as this ctx. */
void *ctx_new(struct ctx *c, size_t size);

/* For reads whose answer changes no state: the mailbox goes on meanwhile. */
enum verdict fetch(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                   unsigned count) MUST_CHECK;
/* The same for a read that may take long: others wait only for its like. It may not see yet what this home has
 * just written, and is ended when it takes too long: rows_status is STORE_AWAY then. */
enum verdict fetch_long(struct ctx *c, rows_handler *then, const struct sql *sql,
                        const struct param *params, unsigned count) MUST_CHECK;
/* For reads that a change of this home's state depends on: the mailbox waits. */
enum verdict hold(struct ctx *c, rows_handler *then, const struct sql *sql, const struct param *params,
                  unsigned count) MUST_CHECK;

/* The three ways to write. `begin_write`, then write_add, then one of: */
struct write *begin_write(struct ctx *c);
/* State: the mailbox waits for the commit; `then` alters the memory. While the database is away the
 * stanza is refused with resource-constraint (wait) and `then` is not called: returns DONE. But a stanza
 * that is in transit waits: whoever sent it has been told that it will arrive. */
enum verdict change(struct ctx *c, struct write *w, rows_handler *then) MUST_CHECK;
/* Append: the stanza in hand is on record; what follows from it leaves when it is committed. Only
 * in KEEP. */
void record(struct ctx *c, struct write *w);
/* Nobody waits. */
void later(struct ctx *c, struct write *w);

/* ---- the account of this home */

/* Derives the keys of a new password in the worker pool and stores them; the mailbox waits. The password
 * must be one (jid_prepare_password) and lives as long as this ctx. When there is too much to do the stanza
 * is refused: returns DONE. `then`: no row in the answer when there is no such account. */
enum verdict change_password(struct ctx *c, const char *password, rows_handler *then) MUST_CHECK;
/* Deletes the account with all that is its own, and cancels its subscriptions in the same transaction: what
 * `change` is. When it has succeeded `then` calls account_removed, which ends the sessions. */
enum verdict remove_account(struct ctx *c, rows_handler *then) MUST_CHECK;
void account_removed(struct ctx *c);

/* Unix time in microseconds, of this turn. */
int64_t now_us(const struct ctx *c);
/* Runs `run` once, `ms` from now, in a ctx without stanza; one per module and home, a second call moves it
 * (whoever calls often asks first whether it is set already). A home with a timer set does not sleep. */
void home_timer(struct ctx *c, handler *run, unsigned ms);

/* ---- ids of records and entries: both begin with the time. A record's is unique on the node. An entry's is
 * above its owner's newest, and ends in random bits, as clients see it (XEP-0313). */
#define ID_TIME_SHIFT 10 /* an id >> this is its time in Unix microseconds */
int64_t entry_id_new(struct ctx *c);
int64_t home_newest_entry(const struct home *h); /* the last one that it has made; reads see it */
int64_t record_id_new(struct ctx *c);

/* Routes when the change `w` is committed, and again after a crash until it has arrived. */
void route_with(struct ctx *c, struct write *w, const struct jid *from, const struct jid *to,
                struct stanza *st);
/* The same for what is of no use after a crash: it is no part of `w`, but leaves in one order with
 * what is. */
void route_after(struct ctx *c, const struct jid *from, const struct jid *to, struct stanza *st);

/* ---- transit: the row that says "this stanza is on its way to that home", so that it survives a crash. */

/* Adds the row for the stanza in hand to a write; its record is in the same one, where it has one that is not
 * `is_unrecorded`. OUT. */
void transit_add(struct ctx *c, struct write *w);
/* The stanza in hand has arrived: adds the removal of its row to a write, or takes the row back when it has
 * not been sent to the database yet. IN. What nobody claims is removed when the pass ends. */
void transit_done(struct ctx *c, struct write *w);

/* ---- bytestreams (XEP-0065): clients meet at a listener of kind proxy65 by naming a hash (relay.h) */

enum bytestream_result {
	BYTESTREAM_STARTED,
	BYTESTREAM_UNKNOWN, /* nobody has named that hash */
	BYTESTREAM_ALONE,   /* one has */
	BYTESTREAM_ACTIVE   /* two have, and it has started already */
};
/* The port of such a listener; 0: there is none. */
unsigned bytestream_port(const struct ctx *c);
/* Lets the two who have named `hash` (hexadecimal SHA-1) begin. When `then` runs, *result is set; both live as
 * long as this ctx. */
enum verdict bytestream_activate(struct ctx *c, const char *hash, enum bytestream_result *result,
                                 rows_handler *then) MUST_CHECK;

/* The buffer for EVENT_STREAM_FEATURES: a handler adds whole elements as text. */
struct buffer *features_buffer(struct ctx *c);

/* The address of service number i that the host of this home offers; NULL behind the last. */
const struct jid *host_service(struct ctx *c, unsigned i);

/* Disco: the <query/> that is being answered, for EVENT_DISCO_INFO and EVENT_DISCO_ITEMS. */
struct element *disco_element(struct ctx *c, struct stanza **st);
/* For EVENT_DISCO_INFO: adds what this is (`name` may be NULL: XEP-0030 section 3.1), and what it can do. */
void disco_identity(struct ctx *c, const char *category, const char *type, const char *name);
void disco_feature(struct ctx *c, const char *var);
/* Runs those events' hooks on `query` of the answer `st`, in this ctx. */
void disco_run(struct ctx *c, enum event event, struct stanza *st, struct element *query);

#endif

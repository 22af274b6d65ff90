/* home.h - a home: the single owner of the live state of one address. Handles one envelope at a time.
 *
 *   mailbox  envelopes that wait while the home is held (waking, or changing its state)
 *   outbox   what leaves in order: a stanza that waits for a commit holds those behind it
 *   holder   the pass whose continuation the mailbox waits for
 *
 * A home is born by its first envelope, loads what its modules need (WAKING), is the truth from then on
 * (AWAKE), and is freed when it has had nothing to do for a while. One without account is remembered
 * briefly (ABSENT), so that a flood to nobody costs no queries. Internal to the core: modules
 * see module.h. */
#ifndef MUSTER_HOME_H
#define MUSTER_HOME_H

#include "blocks.h"
#include "envelope.h"
#include "module.h"
#include "reactor.h"
#include "roster.h"

enum home_state {
	HOME_WAKING, /* reads the account and what the modules load; the mailbox waits */
	HOME_AWAKE,
	HOME_ABSENT, /* there is no such account */
	HOME_ENDING  /* the account has changed: what is under way ends first, then it wakes anew */
};

/* A timer that a module asked for, and whose it is. */
struct home_timer {
	struct home_timer *next;
	struct timer timer;
	struct home *home;
	unsigned module;
	handler *run;
};

/* What a module keeps in a home. */
struct home_data {
	struct home_data *next;
	unsigned module;
	max_align_t bytes[];
};

struct home {
	struct hash_node node; /* reactor->homes, by the bare address */
	struct jid *jid;       /* bare */
	struct reactor *reactor;
	uint8_t kind, state;
	bool is_retrying; /* WAKING: the database did not answer; hold_timer starts the next try */
	bool is_disabled; /* ABSENT: there is an account, which nobody can use */
	int service;      /* HOME_SERVICE: whose, by module index; else, and when its host has gone, -1 */
	bool is_guest;    /* the account goes with its last session */
	uint8_t record;   /* enum record_policy: the host's, as of the present hosts snapshot */
	uint8_t hints;    /* the ones that the host obeys: a bit each, by enum hint */
	int64_t account;
	int64_t newest_entry; /* the id of its newest entry */
	int64_t forgotten;    /* when it forgot an account: what this one had not written yet is nobody's */
	struct list sessions;
	unsigned session_count, managed; /* all of them; those with stream management */
	struct roster roster;
	struct blocks blocks;   /* whom a user blocks */
	struct home_data *data; /* of the modules that have asked for theirs */
	struct home_timer *timers;

	struct pass *holder;
	uint64_t held_at;        /* uv_hrtime: since when there is one */
	struct timer hold_timer; /* the bound on how long a mailbox waits */
	struct envelope_queue mailbox;
	struct envelope_queue own; /* from itself: before the mailbox */
	struct list outbox;        /* of struct outgoing */
	unsigned outbox_count;
	struct list waiting_node; /* in reactor->waiting_homes while the outbox is not empty */
	uint64_t last_write;      /* ticket of its newest write: its reads start behind it */
	size_t uncommitted;       /* cost of its own stanzas (OUT) whose records are not committed yet */
	struct envelope *credits; /* owed to its streams until there are fewer of those */
	unsigned passes;          /* passes that exist: it cannot be freed */

	/* in reactor->sleepers while it has no session, in reactor->absents while ABSENT */
	struct list sleeper_node;
	int64_t idle_since; /* Unix microseconds */

	struct hash_node account_node; /* in reactor->accounts while it has an account */
	struct list reload_node; /* in reactor->reloads while its turn to read itself again has not come */
	uint8_t reload;          /* home_reload.c */
	bool is_regrouping;      /* ENV_REGROUP is in its mailbox */
};

/* Something in an outbox: an envelope on its way out, or a whole pass that goes on at COPY. */
struct outgoing {
	struct list node;
	uint64_t ticket; /* leaves when that group is committed */
	struct pass *pass;
	struct envelope *envelope;
	unsigned target;
};

/* More uncommitted records of its own than this (in the unit of stanza_cost) and its streams get no credit:
 * they stop reading. All that is recorded at one time is one transaction, and everybody waits for it: with a
 * megabyte one flooder had others wait for 100 ms on PostgreSQL, and was no faster for it. */
#define HOME_UNCOMMITTED (256 << 10)
/* More than this in the outbox and the mailbox waits. */
#define HOME_OUTBOX 32768

/* Gives its streams the credit that is owed, as far as the bound lets it. */
void home_credit_owed(struct home *h);

void homes_init(struct reactor *r);
void homes_free(struct reactor *r); /* at the end: nothing is written any more */

/* Takes an envelope for a home: finds or makes it, handles the envelope or puts it into the mailbox. */
void home_take(struct reactor *r, struct envelope *e);

/* After a commit: lets go what waited for it. */
void homes_release(struct reactor *r);

/* At the end: runs EVENT_SLEEP of every home. */
void homes_sleep_all(struct reactor *r);

/* The hosts snapshot has been replaced: homes of removed hosts end, policies are read again. */
void homes_rehost(struct reactor *r);
/* Many accounts have been made: homes that knew of none look again. */
void homes_forget_absents(struct reactor *r);

/* Adds what the modules offer on this host to a client that has logged in. */
void host_stream_features(struct reactor *r, struct jid *domain, struct buffer *b);

/* Whose rows somebody else has changed. */
struct homes_changed {
	bool all;
	const int64_t *accounts;
	unsigned account_count;
	struct jid *const *names; /* accounts that may be new */
	unsigned name_count;
};
/* Has those that are awake read themselves again, soon: home_reload.c. */
void homes_reload(struct reactor *r, const struct homes_changed *which);

/* The groups have changed, one of them or all (0): homes that see them follow. home_groups.c */
void homes_regroup(struct reactor *r, int64_t group);

/* What a home sends to itself: at once, or when it is held before all that waits in the mailbox. */
void home_take_own(struct home *h, struct envelope *e);
/* What a home believes of its account is not true any more; its sessions end with that. */
struct envelope *home_forget_new(struct reactor *r, const struct jid *account, uint16_t condition,
                                 const char *farewell);

/* The host it belongs to, or NULL when that is gone. */
const struct host *home_host_entry(const struct home *h);

struct home *home_find(struct reactor *r, const struct jid *address); /* of the bare address, or NULL */

/* Sets and lifts the hold. */
void home_hold(struct home *h, struct pass *by);
void home_unhold(struct home *h);
/* Its last session has ended. */
void home_idle(struct home *h);
/* Goes on with the mailbox as far as nothing holds it. */
void home_drain(struct home *h);
/* A pass has been freed: a home that is ending may have waited for it. */
void home_pass_ended(struct home *h);

/* Puts something at the end of the outbox (takes it over); a zero pass or envelope. */
void home_outbox_add(struct home *h, uint64_t ticket, struct pass *p, struct envelope *e, unsigned target);

/* Posts what nothing holds back any more. */
void home_let_go(struct home *h, struct envelope *e, unsigned target);

/* Answers an envelope that cannot be handled with a stanza error, if it wants an answer; takes it over. */
void home_bounce(struct reactor *r, struct envelope *e, enum stanza_condition condition, const char *text);

/* ---- pass.c */

/* One stanza, or one lifecycle event, in one home. */
struct pass {
	struct ctx ctx; /* what handlers see */
	struct pass *next_free;
	struct envelope *envelope; /* owns from, to and stanza of ctx; NULL for events */
	const struct hook_list *list;
	unsigned at;     /* next entry of list */
	uint16_t module; /* whose handler runs */
	uint8_t to_kind; /* OUT: enum home_kind of the recipient, and where its home lives */
	unsigned target;
	bool is_own;      /* OUT: to this very account */
	bool is_arriving; /* IN: came with a transit row */
	bool is_released; /* its turn in the outbox has come */
	bool is_ended;    /* waits only for its writes' callbacks */
	uint8_t stored;   /* enum store_status: not STORE_OK when its record could not be written */
	uint32_t cost;    /* OUT: of each of `writes` in home.uncommitted */
	unsigned writes;  /* records that are not committed yet */
	uint64_t ticket;  /* newest group it depends on */
	int64_t claimed;  /* the transit row whose removal it has written, but not committed yet */
	struct transit_late *late; /* ... and that may reach the table later; or NULL */
	uint64_t session;          /* id of ctx.session: looked up again after each wait */
	uint64_t number;           /* as in its envelope: told to session `sender` when it ends */
	uint64_t sender;
	rows_handler *then;
	struct envelope *after_commit; /* leave when the change is committed, in this order */
	struct envelope **after_tail;
	struct element *disco;
	struct stanza *disco_stanza;
	struct buffer *features; /* EVENT_STREAM_FEATURES: where they go */
};

/* Starts a pass for ENV_STANZA and ENV_RETURNED; takes the envelope over. */
void pass_start(struct home *h, struct envelope *e);
/* Answers a stanza with an error instead of handling it; takes the envelope over. */
void pass_refuse(struct home *h, struct envelope *e, enum stanza_condition condition, const char *text);
/* Goes on with a pass that waited in the outbox. */
void pass_release(struct pass *p);
/* Frees one that has ended, or that still waits there at the end of the process. */
void pass_free(struct pass *p);
/* Lets an envelope leave the home for reactor `target`: at once when nothing holds it back, else through
 * the outbox. */
void pass_emit(struct pass *p, struct envelope *e, unsigned target);
/* Whether the write that puts a message on record has been refused lately. */
bool record_has_failed(const struct reactor *r, int64_t record);
/* Runs a lifecycle event of a home; `s` may be NULL. Handlers of SLEEP and GONE may not wait. */
void pass_event(struct home *h, enum event event, struct session *s);
/* Runs one handler in a pass of its own (timers); `own` is its ctx.own. */
void pass_run_handler(struct home *h, unsigned module, handler *run, void *own);
/* Runs EVENT_STREAM_FEATURES of a host's home. */
void pass_stream_features(struct home *h, struct buffer *b);
/* Runs the loaded-handler of an EVENT_LOAD hook. */
void pass_run_loaded(struct home *h, const struct hook_entry *entry, const struct rows *rows);
void passes_free(struct reactor *r);

/* ---- session.c */

void session_bind(struct home *h, struct envelope *e); /* ENV_BIND; takes it over */
void session_end(struct home *h, struct session *s);   /* runs EVENT_SESSION_GONE and frees it */
void session_add(struct home *h, struct session *s);   /* makes it one of the home's */
void session_free(struct session *s);                  /* only that */
struct session *session_by_id(struct home *h, uint64_t id);
/* An IQ request was delivered to the session, or answered by it. Whoever asked a session that ends without
 * an answer gets service-unavailable. */
void session_asked(struct session *s, const struct jid *from, const char *id);
void session_answered(struct session *s, const struct jid *to, const char *id);
/* ENV_WRITE and ENV_SETTLE; takes it over. All that is written to a session leaves its home here, when nothing in
 * the outbox holds it back any more: so the session is looked up now, by its id. */
void session_write(struct home *h, struct envelope *e);
/* Tells its stream to close with a stream error; then it ends. */
void session_close_stream(struct session *s, unsigned condition, const char *text);
/* The same with an element of an application's own (sealed; takes the reference). */
void session_close_with(struct session *s, unsigned condition, const char *text, struct stanza *own);
/* The same to any stream. */
void session_tell_close(struct reactor *r, unsigned stream_reactor, uint64_t id, unsigned condition,
                        const char *text);

/* ---- session_sm.c, session_resume.c: stream management (sm.h); each takes its envelope over */

void session_manage(struct home *h, struct envelope *e);  /* ENV_MANAGE */
void session_refused(struct home *h, struct envelope *e); /* ENV_REFUSED */
void session_resume(struct home *h, struct envelope *e);  /* ENV_RESUME */
/* ENV_DETACH. True: taken over, as the session waits for another stream. */
bool session_leaves(struct home *h, struct envelope *e);
/* A stream has ended that has no session here: it may wait for one. */
void resume_dropped(struct home *h, uint64_t stream);
bool session_is_waiting(const struct session *s); /* it has no stream now */
/* It ends: what its client has not acknowledged goes back through delivery. */
void session_return_unacked(struct session *s);
/* A stanza of a client arrives: gets its number where its session counts. */
void session_arrived(struct home *h, struct envelope *e);
/* These two say what has become of number n of that session's client, in the words of sm.h. It is done, but for
 * the commit of `ticket`. */
void session_done(struct home *h, uint64_t session, uint64_t n, uint64_t ticket);
/* It is kept: it has come past KEEP and waits in the outbox. */
void session_kept(struct home *h, uint64_t session, uint64_t n);
/* The write records it: h goes with that. */
void session_record(struct home *h, uint64_t session, struct write *w, uint64_t n);
/* After a commit. */
void sessions_committed(struct reactor *r);

/* ---- session_csi.c: what may wait while its client is inactive (csi.h) */

void csi_set(struct session *s, bool is_inactive);     /* its client says so */
void csi_write(struct session *s, struct envelope *e); /* ENV_WRITE to an inactive one; takes it over */
void csi_flush(struct session *s);                     /* sends what waits */
void csi_free(struct session *s);                      /* drops it */
/* ENV_WRITE or ENV_SETTLE, which nothing holds back any more; takes it over. */
void session_send(struct session *s, struct envelope *e);

/* ---- transit.c: rows of what is on its way between two homes (ARCHITECTURE, section 2) */

struct write;
/* Adds the row for an envelope that has a transit id to a write; it can be taken back by that id. */
void transit_insert(struct write *w, const struct envelope *e);
void transit_delete(struct write *w, int64_t id);
/* The envelope has arrived, and nobody waits until its row is gone. */
void transit_end(struct reactor *r, struct envelope *e);
/* What has arrived here leaves no entry: where its row may reach the table later than now (is_spooled), it is
 * removed once more, behind that. NULL: it is not so; else for write_submit, after the write that says so. */
struct transit_late *transit_late_new(struct reactor *r, const struct envelope *e, int64_t id);
store_rows_fn transit_on_late;

/* Removes rows of what has arrived; returns the ticket. */
uint64_t transit_sweep(struct reactor *r);

/* Routes again what was on its way when the server ended. `done` runs when all of it has arrived (or
 * cannot); `ok` is false when the database did not answer. */
void transit_replay(struct reactor *r, void (*done)(struct reactor *r, bool ok));

#endif

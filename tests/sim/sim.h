/* sim.h - what the simulator's files share: the model of one run, and what each file does for the others.
 *
 *   sim.c     seeds, lives, the trace; a run from beginning to end
 *   loop.c    stands in the place of libuv: whatever waits, and which of it goes on next
 *   fault.c   stands in the place of a database engine: real SQLite, and what can go wrong with it
 *   world.c   the node with its reactors, modules, tables; what the database holds
 *   client.c  streams: what clients are told, and what they see in it
 *   action.c  what clients and administrators do
 *   copies.c  what one client of a user sends and gets, the others get too (XEP-0280)
 *   check.c   what must be so, at each delivery and at the end
 *   known.c   what has gone wrong once, step by step
 *
 * A run has one or more lives: each is a process of its own, and kill -9 ends it. What the clients know and
 * what is remembered of the run lives in memory that all of them share (struct sim). */
#ifndef MUSTER_SIM_H
#define MUSTER_SIM_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "reactor.h"
#include "roster.h"
#include "server.h"

#define SIM_HOST "verona.example"
#define USERS 6
#define SLOTS 2 /* clients of each */
#define MESSAGES 400
#define STREAMS 400
#define QUESTIONS 1200
#define EPOCHS 4 /* between two of them everything comes to rest */
#define EPOCH_ACTIONS 60
#define LIVES_MAX 6
#define SIM_REACTORS 3

/* What a seed is about: not everything happens in each run, so that what is promised only without it is
 * looked at in the others. */
struct profile {
	unsigned reactors;
	bool has_faults;        /* the database fails now and then */
	bool has_spool;         /* and there is a spool */
	bool has_kills;         /* kill -9 */
	bool has_blocks;        /* users block each other */
	bool has_admin;         /* accounts are removed and disabled, rows changed, groups altered */
	bool has_small_mailbox; /* what waits for a home is refused early */
	bool shares;            /* store.share_transactions */
	bool has_sm;            /* some clients have stream management, and resume their sessions */
	bool has_wishes;        /* users do not keep what they say and hear (XEP-0441) */
	bool has_copies;        /* most want copies of what their user's other client sends and gets */
};

struct contact {
	bool is_in, asks;
	unsigned subscription;
};

enum play_state { UNUSED, BINDING, RESUMING, BOUND, DEAD };

/* A stream and its client; where that resumes its session, the streams of one after the other. */
struct play {
	enum play_state state;
	unsigned number, user, slot, reactor, came_at, life;
	uint64_t id, session;
	int64_t account;              /* of which the session is */
	bool is_slow;                 /* its client hardly reads */
	bool is_stuck;                /* ... or not at all: known.c */
	bool is_replaced;             /* its session may have ended before what it sent arrived */
	bool has_roster;              /* the answer has come */
	unsigned presence;            /* the number it sent last; 0: unavailable */
	bool may_be_reached;          /* with a priority that is not negative */
	unsigned reached_since;       /* the step at which it knew that it can be reached; 0: it cannot */
	unsigned copies_asked;        /* number + 1 of its request for copies */
	unsigned copies_since;        /* the step at which it was answered; 0: not yet */
	struct envelope_queue queue;  /* delivered, and not written yet */
	char previd[32];              /* stream management is enabled, and this resumes it */
	uint32_t kept_written;        /* what it has read of what its session counts, on this stream */
	bool is_counting;             /* what it sends, from <enable/> on */
	bool may_resume;              /* its stream has ended, and nothing else */
	uint32_t handled, acked;      /* what has come; of what it has sent the server has so much */
	struct saying *first, **last; /* the rest of that */
	/* Message + 1, by the stream that sent it, and to whom: slot. Behind them what its own user sent. */
	unsigned newest[STREAMS][SLOTS + 2];
	bool seen[MESSAGES];
	bool may_repeat[MESSAGES];   /* copies.c: because it has a copy */
	unsigned view[USERS][SLOTS]; /* numbers of presence */
	struct contact roster[USERS];
	bool is_blocked[USERS]; /* by this user, as the client was told */
	bool was_asked[USERS];  /* was shown a request */
};

/* A message, known by its number: its id and its body are m17. */
struct sent {
	unsigned from, to, play;
	unsigned slot; /* the session of the account to which it was sent; SLOTS: to the account */
	unsigned delivered, seen_at, seen_in_life; /* at which step it was read first */
	unsigned epoch, sent_at, life;
	bool may_vanish; /* is not put on record: a headline, groupchat */
	bool is_lost;    /* the server was killed before it was on record */
	bool is_refused, was_returned;
	bool is_recorded; /* it is at the end */
	bool is_acked;    /* the server has told the sender's client that it has it */
};

/* A request of a client. */
struct question {
	unsigned play;
	unsigned to; /* the user whose client or home is to answer; USERS: somebody else */
	bool is_answered;
};

struct sim {
	uint64_t seed, chance, server_chance;
	struct profile profile;
	char dir[64];
	int64_t now; /* microseconds */
	unsigned life, epoch, actions, steps;
	bool is_verbose, is_failing_now /* faults may happen */, is_killed, is_over, is_open;
	bool is_holding;           /* nothing is committed: known.c */
	const struct known *known; /* in the place of what the seed would draw; or NULL */
	struct play plays[STREAMS];
	unsigned play_count;
	int at[USERS][SLOTS]; /* the latest play of each client, or -1 */
	struct sent sent[MESSAGES];
	struct question questions[QUESTIONS];
	unsigned sent_count, question_count, presences;
	bool touched[USERS][USERS]; /* whose subscription has been changed in this epoch */
	bool keeps_not[USERS];      /* never does */
	/* Ever, in this run: what is promised between two is less then. */
	bool had_block[USERS][USERS];
	bool had_directed[USERS][SLOTS][USERS]; /* showed presence to somebody who need not see it */
	bool had_sql[USERS][USERS];             /* were made contacts by plain SQL */
	bool had_returned[USERS];   /* got a message back that one of its streams did not write */
	bool had_group[USERS];      /* was in the administrators' group */
	bool was_gone[USERS];       /* the account was not there, or not usable, for a while */
	unsigned gone_until[USERS]; /* the epoch behind the last such change */
	char failure[300];
};

extern struct sim *sim;

/* ---- sim.c */

unsigned draw(unsigned below);
#define ONE_IN(n) (draw(n) == 0)
void fail(const char *format, ...) PRINTF(1, 2); /* the first one counts */
void tell(const char *format, ...) PRINTF(1, 2); /* a line of the trace */

/* ---- loop.c */

void loop_begin(void);
/* What a stream says to its user's home. */
void loop_post(unsigned from_reactor, unsigned target, uint64_t lane, struct envelope *e);
bool loop_has_from(uint64_t lane); /* something of it is still under way */
/* One thing goes on. False: nothing can, before time passes. */
bool loop_step(void);
/* Time passes until the next timer, but not for longer. False: there is none until then. */
bool loop_time(uint64_t ms);
void loop_turn(void);            /* until nothing moves */
void loop_rest(void);            /* until nothing moves and the database has answered everything */
void loop_rest_for(unsigned ms); /* also what waits for timers */
void loop_end(void);
#define FROM_STREAM (UINT64_C(1) << 63) /* in a lane: a stream's id, else an address's hash */

/* ---- fault.c */

struct engine;
/* What carries groups and reads to `real` here; kept in *out. */
const struct engine *fault_engine(const struct engine *real, struct engine *out);
bool fault_step(void);     /* a group or a read goes on */
bool fault_is_down(void);  /* some store has no connection */
unsigned fault_owed(void); /* continuations that have not run yet */
void fault_maybe_kill(void);

/* ---- world.c */

extern struct server *world;
void world_load_modules(void); /* once, before any life */
void world_begin(void);
void world_end(void);
void world_remove_files(void);
bool world_is_busy(void);
int64_t ask(const char *format, ...) PRINTF(1, 2); /* one number, as others see the database; -1: no row */
int64_t ask_contact(unsigned user, unsigned contact, const char *what); /* of its row; 0: there is none */
int64_t ask_account(unsigned user); /* its id; 0: there is none, or it is disabled */
bool world_has_entry(int64_t account, int64_t entry, unsigned message);
bool world_has_record(unsigned message);

/* ---- client.c */

void client_connect(unsigned user, unsigned slot);
void client_send(struct play *p, struct stanza *st, const char *to);
void client_take(struct envelope *e); /* the loop hands it to its stream */
bool client_write_some(void);         /* a stream writes */
void client_die(struct play *p);
struct play *client_at(unsigned user, unsigned slot); /* NULL: it has never been there */
void client_note_refused(const struct envelope *e);
void client_forget_all(void); /* the server is gone */

/* ---- managed.c: stream management on the client's side */

void managed_begin(struct play *p);                                  /* now and then it wants that */
void managed_say(struct play *p, struct stanza *st, const char *to); /* has sent it; `to` or NULL */
void managed_see(struct play *p, const struct stanza *st);           /* <enabled/>, <resumed/>, <a/> */
void managed_answer(struct play *p);                                 /* ENV_ASK */
bool managed_resume(struct play *p);                                 /* false: it cannot */
void managed_end(struct play *p);                                    /* for good */
struct envelope *client_to_home(const struct play *p, enum envelope_kind kind);
void client_post_home(const struct play *p, struct envelope *e);
void client_say(struct play *p, struct stanza *st, const char *to); /* sealed; takes the reference */

/* ---- copies.c */

void copies_begin(struct play *p);                                     /* it asks for them */
void copies_answered(struct play *p, unsigned question);               /* some question of it */
bool copies_see(struct play *p, const struct stanza *st);              /* false: it is no copy */
void copies_presence(struct play *p, bool is_available, int priority); /* it says so */
void copies_reached(struct play *p);                                   /* and sees that of itself */
/* The message that a copy is of, and who got it to copy; false: it is none. */
bool copy_number(const struct stanza *st, unsigned *n, bool *is_sent);
bool copies_may_repeat(const struct play *p, unsigned n); /* it may see the message itself, too */
void check_copies(struct play *p);

bool is_out_of_order(struct play *p, unsigned n, unsigned whom);    /* client.c */
struct stanza *question_new(struct play *p, enum stanza_type type); /* action.c */

/* ---- action.c */

void action_any(void);
struct sent *action_message(struct play *p, unsigned to, unsigned slot, enum stanza_type type);
void action_presence(struct play *p, bool is_available, int priority);
void action_come_back(struct play *p); /* asks for everything, and becomes available */
void action_get_roster(struct play *p);

/* ---- check.c */

void check_delivery(const struct play *p, const struct envelope *e);
void check_lost(void); /* after a kill: what was not on record yet */
void check_rest(void); /* at the end of an epoch */
void check_end(void);  /* everybody is back, and everything has come to rest */
void check_homes_gone(void);

/* ---- known.c */

struct known {
	const char *name;
	unsigned reactors;
	bool has_sm;
	void (*play)(void);
};
extern const struct known known[]; /* behind the last one there is one without a name */

#endif

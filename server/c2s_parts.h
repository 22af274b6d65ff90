/* c2s_parts.h - a client's stream, and what the files of c2s call in each other. Nobody else includes it.
 *
 *   c2s.c          the table of what may come in which state; headers, features, STARTTLS; the end
 *   c2s_login.c    SASL
 *   c2s_register.c accounts that clients make before they log in
 *   c2s_external.c which accounts a client's certificate opens
 *   c2s_guest.c    guests
 *   c2s_session.c  bind, and the stanzas of a bound session
 *   c2s_sm.c       stream management */
#ifndef MUSTER_C2S_PARTS_H
#define MUSTER_C2S_PARTS_H

#include "sasl.h"
#include "stream.h"

#define SASL_NS "urn:ietf:params:xml:ns:xmpp-sasl"
#define BIND_NS "urn:ietf:params:xml:ns:xmpp-bind"

/* OPENING -> SECURE -> (LOOKING -> SECURE) -> CHECKING, CHALLENGED -> AUTHENTICATED -> BINDING -> BOUND. Where TLS
 * is not required a client may authenticate in OPENING too. */
enum c2s_state {
	C2S_OPENING = 1, /* no TLS yet */
	C2S_SECURE = 2,  /* may authenticate */
	C2S_CHALLENGED = 4,
	C2S_CHECKING = 8, /* the account is being read, or the password hashed */
	C2S_AUTHENTICATED = 16,
	C2S_BINDING = 32,
	C2S_BOUND = 64,
	C2S_LOOKING = 128 /* which accounts the client's certificate opens; the features are not told yet */
};
#define C2S_LOGIN (C2S_LOOKING | C2S_CHALLENGED | C2S_CHECKING | C2S_AUTHENTICATED | C2S_BINDING)

/* Accounts, by localpart, that the client's certificate opens. */
struct opened {
	unsigned count;
	char *accounts[TLS_NAMES_MAX];
};

struct c2s {
	struct stream stream;
	struct list login_node; /* in reactor->logins, while C2S_LOGIN */
	uint8_t state;          /* enum c2s_state */
	bool require_tls;
	bool has_registered; /* an account, on this stream */
	bool is_open;        /* our header of the present stream has been written */
	unsigned failures;   /* wrong passwords */
	unsigned attempts;   /* that failed, also before any password was looked at */
	unsigned offered;    /* mechanisms */
	struct sasl *sasl;
	struct opened *opened; /* NULL: none, or not looked up */
	bool is_looked_up;     /* the client's certificate */
	struct stanza *hasty;  /* what he said before he was told the features; or NULL */
	bool is_guest;         /* an account for this session only */
	bool is_managed;       /* <enable/> has gone to the home: what is said counts there */
	uint8_t mechanism;     /* enum sasl_mechanism it has logged in by */
	struct jid *domain;    /* of the stream */
	struct jid *claimed;   /* the header's from: answered to, and compared */
	char *tried;           /* bare address, once named in the present exchange */
	struct jid *user;      /* bare, once authenticated */
	struct jid *full;      /* once bound */
	struct jid *last_to;   /* of the last stanza: most go to the same address again */
	char *last_to_text;
	char *bind_id;
	unsigned binds; /* that were refused */
	uint64_t session;
	unsigned home_reactor;     /* of the user's home; it stays there even when the host is removed */
	uint32_t untaken, unasked; /* cost of the stanzas not credited, and not asked credit for */
	struct envelope *early, **early_tail; /* stanzas sent while the session was being bound */
};

static inline struct c2s *c2s_of(struct stream *s)
{
	return CONTAINER_OF(s, struct c2s, stream);
}

/* The one writer of the state. */
void c2s_enter(struct c2s *c, enum c2s_state state);
/* The next bytes begin a new stream: our header is owed again, also before an error. */
void c2s_restart(struct c2s *c);

/* Whether the header that came inside TLS is in the name of somebody else than the one who has logged in: RFC 6120
 * section 6.4.6. A guest cannot know his name. */
#define C2S_CLAIM_TEXT "The 'from' of the stream header is not the account of this login."
bool c2s_claims_another(const struct c2s *c, const struct jid *user);
/* Tells the features of the present stream. */
void c2s_features(struct c2s *c);
/* An element of the first level, by the table of what may come in this state; takes the reference. */
void c2s_stanza(struct stream *s, struct stanza *st);

/* ---- c2s_login.c; stanzas stay the caller's, here and below */

/* Adds <mechanisms/> and XEP-0440's channel bindings to the features. */
void c2s_offer(struct c2s *c, struct buffer *b);
void c2s_on_auth(struct c2s *c, struct stanza *st);
void c2s_on_response(struct c2s *c, struct stanza *st);
void c2s_on_abort(struct c2s *c, struct stanza *st);

/* Whoever waits for an answer during a login knows the stream by id only; it does not read meanwhile. */
struct question {
	struct reactor *reactor;
	uint64_t stream;
	struct sasl *sasl; /* while it is in the worker pool */
	uv_work_t work;
};
struct question *c2s_ask(struct c2s *c);
/* Frees it. NULL: the stream has ended meanwhile. */
struct c2s *c2s_answered(struct question *q);
/* `reply`: what <success/> says. */
void c2s_login_done(struct c2s *c, const char *reply);
void c2s_login_failed(struct c2s *c, const char *condition);

/* ---- c2s_external.c */

/* Looks up which accounts the client's certificate opens. True: the features are told when that is known. */
bool c2s_look_up_certificate(struct c2s *c);
void c2s_on_hasty(struct c2s *c, struct stanza *st); /* while it is being looked up */
void c2s_drop_opened(struct c2s *c);

/* ---- c2s_guest.c */

/* Makes the account; then the login goes on. */
void c2s_make_guest(struct c2s *c, const char *name);
/* Whether a guest may write there. */
bool c2s_guest_may(const struct c2s *c, const struct jid *to);
/* A guest's stream ends, and he has no session: his account goes. */
void c2s_drop_guest(struct c2s *c);

/* ---- c2s_register.c */

bool c2s_may_register(const struct c2s *c); /* whether accounts can be made on this stream now */
void c2s_on_register(struct c2s *c, struct stanza *st);

/* ---- c2s_session.c */

void c2s_on_bind(struct c2s *c, struct stanza *st);
void c2s_on_early(struct c2s *c, struct stanza *st); /* while the session is being bound */
void c2s_drop_early(struct c2s *c);
void c2s_on_stanza(struct c2s *c, struct stanza *st);
void c2s_take(struct stream *s, struct envelope *e); /* ENV_BOUND, ENV_UNBOUND, ENV_CREDIT */
void c2s_ping(struct stream *s);
void c2s_detach(struct stream *s);
void c2s_count(struct c2s *c, struct envelope *e); /* credit: the home is to take it */
/* Who wants a session: the stream, and how its client has logged in. */
void c2s_introduce(struct c2s *c, struct envelope *e);
/* The session is there: what the client had sent meanwhile is handled. */
void c2s_begin(struct c2s *c);

/* ---- c2s_sm.c */

void c2s_on_manage(struct c2s *c, struct stanza *st); /* <enable/>, <r/>, <a/> of a bound client */
void c2s_on_state(struct c2s *c, struct stanza *st);  /* <active/>, <inactive/> */
void c2s_on_resume(struct c2s *c, struct stanza *st);
void c2s_on_unmanaged(struct c2s *c, struct stanza *st); /* out of place */
void c2s_on_resumed(struct c2s *c, const struct envelope *e);
/* Says, on a managed stream, what the stream itself answers to a stanza; NULL: nothing, but it counts. */
void c2s_say_managed(struct c2s *c, struct stanza *answer, const struct jid *from);

#endif

/* stream.h - an XML stream on one connection: socket, TLS, parser, limits, write queue. What is said on it
 * is the business of its protocol (c2s.c; later servers, components): a stream calls that with headers and
 * stanzas and is told what to write.
 *
 * It belongs to one reactor and is known to everybody else only by reactor and id, by envelope; before it
 * has a session it may move to another (stream_move.c). Its bytes leave at the end of the turn, all in one
 * write. What it never wrote goes back to the home it came from.
 *
 *   open     reads, unless one of the reasons of enum stream_pause is in the way, and writes
 *   closing  the home knows that it ends; what is queued and the goodbye still leave; what comes in is dropped
 *   shut     our side has said all it had to say; the peer has a moment to close its own
 *   dead     the handle closes; freed at the end of a turn
 *
 * stream.c has its life, stream_read.c what comes in, stream_write.c the queue and what goes out, stream_move.c
 * its way to another reactor. */
#ifndef MUSTER_STREAM_H
#define MUSTER_STREAM_H

#include "network.h"
#include "reactor.h"
#include "xml.h"

#define STREAM_LANG "en" /* of what the server itself says */

/* The conditions of RFC 6120 section 4.9.3. */
#define STREAM_ERRORS(X)                                                                                   \
	X(BAD_FORMAT, "bad-format")                                                                        \
	X(BAD_NAMESPACE_PREFIX, "bad-namespace-prefix")                                                    \
	X(CONFLICT, "conflict")                                                                            \
	X(CONNECTION_TIMEOUT, "connection-timeout")                                                        \
	X(HOST_GONE, "host-gone")                                                                          \
	X(HOST_UNKNOWN, "host-unknown")                                                                    \
	X(IMPROPER_ADDRESSING, "improper-addressing")                                                      \
	X(INTERNAL_SERVER_ERROR, "internal-server-error")                                                  \
	X(INVALID_FROM, "invalid-from")                                                                    \
	X(INVALID_NAMESPACE, "invalid-namespace")                                                          \
	X(INVALID_XML, "invalid-xml")                                                                      \
	X(NOT_AUTHORIZED, "not-authorized")                                                                \
	X(NOT_WELL_FORMED, "not-well-formed")                                                              \
	X(POLICY_VIOLATION, "policy-violation")                                                            \
	X(REMOTE_CONNECTION_FAILED, "remote-connection-failed")                                            \
	X(RESET, "reset")                                                                                  \
	X(RESOURCE_CONSTRAINT, "resource-constraint")                                                      \
	X(RESTRICTED_XML, "restricted-xml")                                                                \
	X(SEE_OTHER_HOST, "see-other-host")                                                                \
	X(SYSTEM_SHUTDOWN, "system-shutdown")                                                              \
	X(UNDEFINED_CONDITION, "undefined-condition")                                                      \
	X(UNSUPPORTED_ENCODING, "unsupported-encoding")                                                    \
	X(UNSUPPORTED_FEATURE, "unsupported-feature")                                                      \
	X(UNSUPPORTED_STANZA_TYPE, "unsupported-stanza-type")                                              \
	X(UNSUPPORTED_VERSION, "unsupported-version")

#define X(id, name) STREAM_##id,
enum stream_condition { STREAM_FINE, STREAM_ERRORS(X) };
#undef X

struct stream;

/* What is said on a stream. Handlers may call stream_close and the other functions below. */
struct stream_protocol {
	const char *name; /* "c2s" */
	size_t size;      /* of the struct that begins with struct stream */
	void (*header)(struct stream *s, const struct xml_header *h);
	void (*stanza)(struct stream *s, struct stanza *st); /* takes the reference */
	void (*take)(struct stream *s, struct envelope *e);  /* ENV_BOUND, ENV_CREDIT; reads only */
	/* It ends: tell the home. Called once, before what was not written is returned. */
	void (*detach)(struct stream *s);
	void (*free)(struct stream *s); /* what the protocol's part holds */
	/* It moves: out of the old reactor's lists, into the new one's. Where stream_move is called. */
	void (*leave)(struct stream *s);
	void (*arrive)(struct stream *s);
	void (*ask)(struct stream *s); /* the peer of a watched stream is silent: say what it must answer */
	/* Writes our header where none has been written on the present stream: before an error. */
	void (*open)(struct stream *s);
};

/* Why a stream does not read. Each reason is set and lifted by itself; it reads when none is left. While it
 * is closing it reads whatever the reasons, to see the peer's end. */
enum stream_pause {
	PAUSE_LOGIN = 1,   /* an account is being read, or a password hashed */
	PAUSE_BIND = 2,    /* the client did not wait for its session */
	PAUSE_CREDIT = 4,  /* the home has not taken its last stanzas */
	PAUSE_REACTOR = 8, /* another reactor does not keep up */
	PAUSE_PACE = 16    /* the peer sends faster than limits allow */
};

/* What has come in beyond the pace that limits allow, as the moments (microseconds of uv_now) at which it
 * would have been fine. */
struct pace {
	int64_t bytes, stanzas;
	struct timer timer; /* ends PAUSE_PACE */
};

struct out; /* something in the write queue */

struct out_queue {
	struct out *head, **tail;
};

struct stream {
	struct hash_node node;   /* reactor->streams, by id */
	struct list dirty_node;  /* in reactor->dirty or graveyard */
	struct list paused_node; /* in reactor->paused, while PAUSE_REACTOR */
	struct reactor *reactor;
	const struct stream_protocol *protocol;
	uint64_t id;
	uv_tcp_t tcp;
	struct timer timer; /* the protocol's patience; while closing: the peer's last chance */
	int64_t heard;      /* when it last said anything */
	SSL *ssl;
	struct buffer *proxy; /* the balancer's header, as far as it has come; NULL: none is awaited */
	const char *domain; /* whose certificate STARTTLS shows when the hello names none; the protocol's */
	struct xml *xml;    /* NULL while idle or before any byte */
	char *lang;         /* of the peer's header, where it is not ours; else NULL */
	struct out_queue queue;   /* not encoded yet */
	struct out_queue written; /* encoded, but not wholly in the socket yet */
	struct unsent *unsent; /* what the socket did not take, while a uv_write is under way; else NULL */
	size_t queued_bytes;   /* in both queues */
	struct pace pace;
	int64_t login_bytes;  /* read before login */
	uint8_t pauses;       /* of enum stream_pause */
	bool is_direct;       /* TLS from the first byte, XEP-0368 */
	bool is_encrypted;    /* the handshake is done */
	bool has_header;      /* the peer's header of the present stream has been read */
	bool is_logged_in;    /* the larger limits apply */
	bool is_restarting;   /* the parser is spent: a new header follows */
	bool is_between;      /* two streams: nothing of the next one has come, nor has its TLS begun */
	bool is_starting_tls; /* <proceed/> is on its way */
	bool is_parsing;
	bool is_reading;   /* the loop watches its socket: also while it is paused and nothing has come */
	bool is_admitted;  /* counted by the gate */
	bool is_addressed; /* counted for its address too */
	bool is_closing;
	bool is_farewell;         /* the peer has closed its side of the stream, not only the connection */
	uint32_t managed_taken;   /* stanzas that its session counts (XEP-0198): in the queue or written */
	uint32_t managed_written; /* ... and in the socket */
	bool is_detached;         /* the protocol has told the home */
	bool is_watched;          /* limits.idle_stream applies */
	bool is_asked;            /* is_watched: it was asked something, and has said nothing since */
	bool is_shut;
	bool is_eof; /* the peer's side is closed */
	bool is_dead;
	bool is_to_move;                /* to `destination`, when all that is queued has left */
	bool is_moving;                 /* its handle closes here, so it neither reads nor writes */
	uint8_t destination;            /* a reactor's index */
	uint8_t kind, state;            /* as it is counted: enum count_stream, enum count_state */
	struct host_counts *host;       /* after login: whose stanzas these are; or NULL */
	char peer[NETWORK_TEXT];        /* network address */
	struct network_address address; /* the same as it is counted: network_counted */
};

/* Takes an accepted connection over: initialises a stream on the reactor's loop and accepts from
 * `listener`. NULL when that failed. `direct`: TLS from the first byte. `balancers` (a list of networks, or
 * NULL): only they may connect, and each begins with the PROXY header. */
struct stream *stream_accept(struct reactor *r, uv_stream_t *listener,
                             const struct stream_protocol *protocol, bool direct, const char *balancers);
/* Adds to the stream features what this stream takes now (XEP-0478). */
void stream_add_limits(const struct stream *s, struct buffer *b);
/* The peer has logged in: the larger limits apply. `host`: whose user it is, or NULL. */
void stream_logged_in(struct stream *s, struct host_counts *host);

/* Takes an envelope for a stream: ENV_WRITE, ENV_SETTLE, ENV_CLOSE, and what the protocol takes. What
 * cannot be written any more goes back. */
void stream_take(struct reactor *r, struct envelope *e);
struct stream *stream_find(struct reactor *r, uint64_t id);

/* ---- for protocols */

void stream_write_text(struct stream *s, const char *text, size_t n);
/* Takes the reference. */
void stream_write(struct stream *s, struct stanza *st, const struct jid *from, const struct jid *to);
/* Closes: with a stream error (RFC 6120 section 4.9; text may be NULL), or STREAM_FINE: only the
 * end tag. */
void stream_close(struct stream *s, enum stream_condition condition, const char *text);
/* The next bytes begin a new stream (RFC 6120 section 4.3.3). */
void stream_restart(struct stream *s);
/* TLS starts as soon as all that is queued has left. `domain` must live until then. */
void stream_start_tls(struct stream *s, const char *domain);
/* It moves to that reactor as soon as all that is queued has left, unless the peer has spoken again by then or
 * something else is in the way: then it stays. */
void stream_move(struct stream *s, unsigned reactor);
void stream_pause(struct stream *s, enum stream_pause why);
void stream_resume(struct stream *s, enum stream_pause why);
void stream_set_timer(struct stream *s, uint64_t ms); /* 0: none */
/* The protocol's patience has no end any more, as long as the peer answers when it is asked. */
void stream_watch(struct stream *s);

/* ---- for the reactor */

void stream_arrive(struct reactor *r, struct envelope *e); /* ENV_MOVED */
/* One that never arrived: the reactors have ended. */
void stream_drop_moved(struct reactor *r, struct envelope *e);
void streams_flush(struct reactor *r);    /* writes what the turn has queued */
void streams_unpause(struct reactor *r);  /* lifts PAUSE_REACTOR of all */
void streams_bury(struct reactor *r);     /* frees the dead */
void streams_shutdown(struct reactor *r); /* tells all of them system-shutdown */
void streams_cut(struct reactor *r);      /* closes what is still there */

#endif

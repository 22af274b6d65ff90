/* conf.h - muster.conf: YAML, read into one immutable snapshot that is replaced whole on reload.
 * (The name config.h belongs to autoconf.)
 *
 * The snapshot is counted; whoever keeps it across turns holds a reference. Every mistake of the file
 * is reported in one run, with file:line:column, an unknown key with the nearest known one. Anchors,
 * aliases, duplicate keys and tags are mistakes; `include:` (paths or globs, relative to the file, at
 * most 8 deep) is not. Only the shape of values is checked here; whether a directory is there or a port
 * is free finds who uses it.
 *
 * conf.c holds the tables of all keys and walks the file by them; conf_yaml.c makes nodes of bytes;
 * conf_value.c reads and writes one value; conf_show.c prints a snapshot as a file. */
#ifndef MUSTER_CONF_H
#define MUSTER_CONF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "mem.h"
#include "option.h"

struct conf_node;
struct module;

#define REACTORS_MAX 256

/* `node:` this process on this machine. */
struct node_conf {
	const char *run_dir;       /* control socket, lock */
	const char *certificates;  /* directory of DOMAIN.crt and DOMAIN.key */
	int64_t certificate_check; /* how often its files are looked at, ms */
	const char *client_ca;     /* a file, or NULL: clients are not asked for certificates */
	const char *module_dir;
	const char *schema_dir;
	int64_t reactors;     /* OPTION_WORD: auto */
	bool move_streams;    /* to the reactor of their home */
	const char *user;     /* to run as after binding ports, or NULL */
	const char *location; /* where clients resume their sessions, or NULL: as they have come */
};

enum store_engine { ENGINE_SQLITE, ENGINE_POSTGRESQL };

/* `store:` the database. */
struct store_conf {
	int64_t engine;            /* enum store_engine */
	const char *path;          /* sqlite: the file */
	const char *conninfo;      /* postgresql: libpq's */
	const char *password_file; /* postgresql, or NULL */
	int64_t timeout;           /* ms */
	int64_t upkeep;            /* how often what is old goes, ms */
	const char *spool;         /* directory for what is written while the database is away */
	int64_t spool_bytes;
	bool share_transactions;   /* of two homes on one reactor; false only in tests */
	int64_t test_commit_delay; /* ms; only in tests */
};

enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

/* `log:` */
struct log_conf {
	const char *file; /* NULL: standard error */
	int64_t level;    /* enum log_level */
	int64_t format;   /* enum log_format */
};

/* `limits:` Bytes are bytes, times are milliseconds. */
struct limits_conf {
	int64_t stanza_bytes;         /* after login */
	int64_t stanza_bytes_before;  /* before it: RFC 6120 section 13.12 */
	int64_t depth;                /* of elements in a stanza */
	int64_t attributes;           /* per element */
	int64_t children;             /* per element */
	int64_t token_bytes;          /* an unfinished XML token */
	int64_t login_time;           /* to finish authentication and binding */
	int64_t login_failures;       /* per stream, then it is closed */
	int64_t login_bytes;          /* what a stream may send before login, in all */
	int64_t failures_per_address; /* failed logins in failure_time */
	int64_t failures_per_account;
	int64_t failure_time;
	int64_t write_queue_bytes; /* a slow reader beyond it is closed */
	int64_t connections;       /* in all */
	int64_t connections_before_login;
	int64_t connections_per_address; /* one network address */
	int64_t sessions_per_account;
	int64_t resume_time;      /* for how long a session waits for its client; 0: not at all */
	int64_t resume_stanzas;   /* that are not acknowledged; a session with more ends */
	int64_t resume_bytes;     /* the same */
	int64_t inactive_stanzas; /* that may wait while nobody looks at a client; 0: none does */
	int64_t inactive_bytes;   /* the same */
	int64_t ack_time;         /* to answer when an acknowledgement is asked for */
	int64_t bytes_per_second; /* from one stream: it is read no faster */
	int64_t stanzas_per_second;
	int64_t mailbox;         /* stanzas in one held home */
	int64_t hold_time;       /* a held home that waits longer gives up with an error */
	int64_t idle_stream;     /* then a bound client is pinged; 0: never */
	int64_t idle_home;       /* then a home with no session sleeps */
	int64_t password_hashes; /* that wait for the worker pool */
	int64_t registrations;   /* attempts of one network address in an hour */
	int64_t guests;          /* logins from one network address in an hour */
};

/* `proxy65:` bounds of the relay of bytestreams. */
struct proxy65_conf {
	int64_t connections;
	int64_t connections_per_address;
	int64_t wait_time;        /* until both are there and the transfer is active */
	int64_t idle_time;        /* of an active one */
	int64_t bytes_per_second; /* of one transfer, both ways together */
	int64_t transfer_bytes;   /* the same; 0: any */
};

enum listener_kind { LISTEN_C2S, LISTEN_C2S_TLS, LISTEN_PROXY65 };

/* One entry of `listeners:`. */
struct listener_conf {
	int64_t kind;        /* enum listener_kind; `kind: c2s | c2s-tls | proxy65` */
	const char *address; /* "127.0.0.1", "::" (all, IPv4 too) */
	int64_t port;        /* 0: any free port (tests) */
	bool require_tls;
	const char *proxy; /* balancers, a list of networks (network.h); NULL: none */
	const char *place; /* "file:line:column" of the entry; "default" when there is none */
};

/* One entry of `modules:`. */
struct module_conf {
	const char *name;
	const char *place;               /* as above */
	const struct conf_node *options; /* as written; NULL: none */
};

struct conf {
	_Atomic uint32_t refs;
	const char *path;
	struct node_conf node;
	struct store_conf store;
	struct log_conf log;
	struct limits_conf limits;
	struct proxy65_conf proxy65;
	struct listener_conf *listeners;
	unsigned listener_count;
	struct module_conf *modules; /* in the order of the file */
	unsigned module_count;
	/* One options struct per loaded module (NULL: it has no options), by its index in the array that
	 * conf_read_modules got. */
	void **module_options;
	unsigned module_options_count;
	struct arena arena; /* everything above */
};

/* Reads the file. NULL when there is any mistake; all of them are then in *errors, a line each
 * (the caller frees it). Module options are kept aside until conf_read_modules. */
struct conf *conf_load(const char *path, char **errors) MUST_CHECK;
/* Second step, when the modules named in it are loaded and before anybody else sees the snapshot: walks
 * `modules: {NAME: {...}}` by their option tables. A module that is not named gets its defaults. False,
 * with *errors as above, on any mistake; the snapshot is then good for conf_unref only. */
bool conf_read_modules(struct conf *c, const struct module *const *modules, unsigned count,
                       char **errors) MUST_CHECK;
/* The whole configuration with every default filled in and each key's sentence as a comment: what
 * --show-config prints and, with no modules, what the example file is. `modules` are those of
 * conf_read_modules; options of a module that is not among them are shown as written. The caller
 * frees it. */
char *conf_show(const struct conf *c, const struct module *const *modules, unsigned count);

/* ---- options outside a file: a host's policies (conf_value.c) */

/* Sets every member to its default; texts live in `a`. */
void options_default(const struct option *table, void *base, struct arena *a);
/* Reads one value into its member; a text is copied to `a`. NULL, or a sentence that says what the option
 * wants (the caller frees it); then nothing is changed. */
char *option_read(const struct option *o, void *base, const char *text, struct arena *a) MUST_CHECK;
/* Writes what the option takes and its default: "10000 to 64M; default 256k". */
void option_describe(struct buffer *b, const struct option *o);
/* Writes the value as option_read takes it; nothing for a text that is none. */
void option_write(struct buffer *b, const struct option *o, const void *base);

static inline struct conf *conf_ref(struct conf *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}
void conf_unref(struct conf *c);

#endif

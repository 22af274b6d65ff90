/* conf_table.c - every key of muster.conf: a row each, const data.
 *
 * A new key is a member in conf.h, a row here and a paragraph in doc/muster.conf.5 (a test compares
 * both). contrib/muster.conf.example is what `musterd --show-config` prints for an empty file. */
#include "conf_parts.h"

/* Directories of the build, as autoconf names them; `make` defines them. */
#define RUN_DIR MUSTER_RUNSTATEDIR "/muster"
#define CERTIFICATES MUSTER_SYSCONFDIR "/muster/certs"
#define DATABASE MUSTER_LOCALSTATEDIR "/lib/muster/muster.db"
#define SPOOL MUSTER_LOCALSTATEDIR "/lib/muster/spool"
#define SCHEMA_DIR MUSTER_DATADIR "/muster/schema"

/* A row whose member has the name of its key. The limits and the help follow as designated members. */
#define ROW(type_, struct_, name_, fallback_)                                                              \
	.name = #name_, .type = type_, .offset = offsetof(struct struct_, name_), .fallback = fallback_

/* clang-format off */

enum { K = 1 << 10, M = 1 << 20, G = 1 << 30 };             /* OPT_BYTES */
enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE }; /* OPT_TIME */

static const char *const automatic[] = { "auto", NULL };

static const struct option node_options[] = {
	{ ROW(OPT_PATH, node_conf, run_dir, RUN_DIR),
	  .help = "Directory of the control socket and the lock file." },
	{ ROW(OPT_PATH, node_conf, certificates, CERTIFICATES),
	  .help = "Directory with DOMAIN.crt and DOMAIN.key (or DOMAIN.pem) of each served domain." },
	{ ROW(OPT_TIME, node_conf, certificate_check, "1m"), .min = 100, .max = 86400000,
	  .help = "How often the server looks whether their files have changed." },
	{ ROW(OPT_PATH, node_conf, client_ca, NULL),
	  .help = "PEM file of the authorities whose certificates let clients log in; none: no client is asked." },
	{ ROW(OPT_PATH, node_conf, module_dir, MUSTER_MODULEDIR),
	  .help = "Directory of the modules." },
	{ ROW(OPT_PATH, node_conf, schema_dir, SCHEMA_DIR),
	  .help = "Directory of the database schema's migrations." },
	{ ROW(OPT_INT, node_conf, reactors, "auto"), .min = 1, .max = REACTORS_MAX, .choices = automatic,
	  .help = "Threads that serve connections; auto: one per processor, 16 at most." },
	{ ROW(OPT_BOOL, node_conf, move_streams, "true"),
	  .help = "Move a connection to the thread of its account when it has logged in." },
	{ ROW(OPT_TEXT, node_conf, user, NULL),
	  .help = "User to run as once the ports are bound, when started as root." },
	{ ROW(OPT_TEXT, node_conf, location, NULL),
	  .help = "HOST:PORT where clients should resume broken sessions; none: as they find the domain." },
	OPTIONS_END
};

static const char *const engines[] = {
	[ENGINE_SQLITE] = "sqlite", [ENGINE_POSTGRESQL] = "postgresql", NULL
};

static const struct option store_options[] = {
	{ ROW(OPT_CHOICE, store_conf, engine, "sqlite"), .choices = engines,
	  .help = "SQLite is a file of this server; PostgreSQL a database server." },
	{ ROW(OPT_PATH, store_conf, path, DATABASE),
	  .help = "sqlite: the database file; made when it is missing." },
	{ ROW(OPT_TEXT, store_conf, conninfo, "dbname=muster"),
	  .help = "postgresql: where it is, as libpq's connection string. Keep the password out of it." },
	{ ROW(OPT_PATH, store_conf, password_file, NULL),
	  .help = "postgresql: a file whose first line is the password; nobody else may read it." },
	{ ROW(OPT_TIME, store_conf, timeout, "2s"), .min = 100, .max = 600000,
	  .help = "A database without answer for so long counts as away." },
	{ ROW(OPT_TIME, store_conf, upkeep, "1d"), .min = 100, .max = 604800000,
	  .help = "How often what is older than archive.keep goes, and archives of removed accounts." },
	{ ROW(OPT_PATH, store_conf, spool, SPOOL),
	  .help = "Directory that keeps messages while the database is away; made when it is missing." },
	{ ROW(OPT_BYTES, store_conf, spool_bytes, "256M"), .min = 1 * M, .max = INT64_C(1) << 40,
	  .help = "What may be kept there; beyond it the senders have to wait." },
	{ ROW(OPT_BOOL, store_conf, share_transactions, "true"),
	  .help = "Commit what arrives together in one transaction. Turn it off in tests only." },
	{ ROW(OPT_TIME, store_conf, test_commit_delay, "0ms"), .min = 0, .max = 10000,
	  .help = "Hold each transaction for so long before its commit. For tests only." },
	OPTIONS_END
};

static const char *const levels[] = { "error", "warn", "info", "debug", NULL }; /* enum log_level */
static const char *const formats[] = { [LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL };

static const struct option log_options[] = {
	{ ROW(OPT_PATH, log_conf, file, NULL),
	  .help = "The log file; none: standard error." },
	{ ROW(OPT_CHOICE, log_conf, level, "info"), .choices = levels,
	  .help = "The least severe lines that are written." },
	{ ROW(OPT_CHOICE, log_conf, format, "text"), .choices = formats,
	  .help = "Lines for people or JSON objects for machines." },
	OPTIONS_END
};

static const struct option limits_options[] = {
	{ ROW(OPT_BYTES, limits_conf, stanza_bytes, "256k"), .min = 10000, .max = 64 * M,
	  .help = "Size of one stanza after login. RFC 6120 section 13.12 allows no less than 10000." },
	{ ROW(OPT_BYTES, limits_conf, stanza_bytes_before, "10000"), .min = 10000, .max = 1 * M,
	  .help = "Size of one element before login." },
	{ ROW(OPT_INT, limits_conf, depth, "100"), .min = 10, .max = 10000,
	  .help = "Elements inside each other in one stanza." },
	{ ROW(OPT_INT, limits_conf, attributes, "256"), .min = 16, .max = 10000,
	  .help = "Attributes of one element." },
	{ ROW(OPT_INT, limits_conf, children, "10000"), .min = 16, .max = 1000000,
	  .help = "Children of one element." },
	{ ROW(OPT_BYTES, limits_conf, token_bytes, "64k"), .min = 4 * K, .max = 16 * M,
	  .help = "Size of one tag, or of any other piece of XML that has begun and not ended." },
	{ ROW(OPT_TIME, limits_conf, login_time, "1m"), .min = 100, .max = HOUR,
	  .help = "Time to authenticate and bind a resource; then the stream is closed." },
	{ ROW(OPT_INT, limits_conf, login_failures, "5"), .min = 1, .max = 100,
	  .help = "Failed attempts to authenticate on one stream; then it is closed." },
	{ ROW(OPT_BYTES, limits_conf, login_bytes, "100k"), .min = 10000, .max = 16 * M,
	  .help = "What a stream may send before login, in all; then it is closed." },
	{ ROW(OPT_INT, limits_conf, failures_per_address, "50"), .min = 1, .max = 1000000,
	  .help = "Wrong passwords from one network address within failure_time; then it has to wait." },
	{ ROW(OPT_INT, limits_conf, failures_per_account, "100"), .min = 1, .max = 1000000,
	  .help = "Wrong passwords for one account within failure_time; then strangers have to wait." },
	{ ROW(OPT_TIME, limits_conf, failure_time, "10m"), .min = SECOND, .max = 24 * HOUR,
	  .help = "The time in which wrong passwords are counted." },
	{ ROW(OPT_BYTES, limits_conf, write_queue_bytes, "4M"), .min = 64 * K, .max = 1 * G,
	  .help = "What may wait for a slow reader; beyond it the stream is closed." },
	{ ROW(OPT_INT, limits_conf, connections, "100000"), .min = 1, .max = 10000000,
	  .help = "Connections in all." },
	{ ROW(OPT_INT, limits_conf, connections_before_login, "10000"), .min = 1, .max = 10000000,
	  .help = "Connections that have not logged in." },
	{ ROW(OPT_INT, limits_conf, connections_per_address, "1000"), .min = 1, .max = 10000000,
	  .help = "Connections from one IPv4 address, or from one IPv6 network of 64 bits." },
	{ ROW(OPT_INT, limits_conf, sessions_per_account, "20"), .min = 1, .max = 1000,
	  .help = "Bound resources of one account." },
	{ ROW(OPT_TIME, limits_conf, resume_time, "5m"), .min = 0, .max = 24 * HOUR,
	  .help = "Time a session waits for its client when the connection has broken. 0s: it does not." },
	{ ROW(OPT_INT, limits_conf, resume_stanzas, "5000"), .min = 100, .max = 1000000,
	  .help = "Stanzas that a client with stream management has not acknowledged; a session with more ends." },
	{ ROW(OPT_BYTES, limits_conf, resume_bytes, "4M"), .min = 64 * K, .max = 1 * G,
	  .help = "The same in bytes." },
	{ ROW(OPT_INT, limits_conf, inactive_stanzas, "500"), .min = 0, .max = 100000,
	  .help = "Presence, typing and receipts that wait while nobody looks at a client; with more all are sent." },
	{ ROW(OPT_BYTES, limits_conf, inactive_bytes, "128k"), .min = 0, .max = 64 * M,
	  .help = "The same in bytes." },
	{ ROW(OPT_TIME, limits_conf, ack_time, "1m"), .min = 100, .max = HOUR,
	  .help = "Time to acknowledge when the server asks; then the connection is taken for broken." },
	{ ROW(OPT_BYTES, limits_conf, bytes_per_second, "2M"), .min = 1 * K, .max = 1 * G,
	  .help = "How fast one stream is read, after a burst of five seconds' worth." },
	{ ROW(OPT_INT, limits_conf, stanzas_per_second, "2000"), .min = 1, .max = 1000000,
	  .help = "The same in stanzas." },
	{ ROW(OPT_INT, limits_conf, mailbox, "1000"), .min = 1, .max = 1000000,
	  .help = "Stanzas that may wait for one address." },
	{ ROW(OPT_TIME, limits_conf, hold_time, "10s"), .min = 100, .max = 10 * MINUTE,
	  .help = "Time a stanza may wait for the database; then it is refused." },
	{ ROW(OPT_TIME, limits_conf, idle_stream, "30m"), .min = 0, .max = 24 * HOUR,
	  .help = "Time without a word from a client; then it is pinged, and closed unless it answers. 0s: never." },
	{ ROW(OPT_TIME, limits_conf, idle_home, "10m"), .min = 10, .max = 24 * HOUR,
	  .help = "Time after which an account that nobody uses leaves the memory." },
	{ ROW(OPT_INT, limits_conf, password_hashes, "64"), .min = 1, .max = 10000,
	  .help = "Passwords that may wait to be hashed; logins beyond it are told to try again." },
	{ ROW(OPT_INT, limits_conf, registrations, "5"), .min = 1, .max = 1000,
	  .help = "Accounts that one network address may try to make in an hour." },
	{ ROW(OPT_INT, limits_conf, guests, "600"), .min = 1, .max = 1000000,
	  .help = "Logins of guests from one network address in an hour." },
	OPTIONS_END
};

static const struct option proxy65_options[] = {
	{ ROW(OPT_INT, proxy65_conf, connections, "1000"), .min = 2, .max = 1000000,
	  .help = "Connections to it in all; a transfer has two." },
	{ ROW(OPT_INT, proxy65_conf, connections_per_address, "100"), .min = 1, .max = 1000000,
	  .help = "Connections to it from one IPv4 address, or from one IPv6 network of 64 bits." },
	{ ROW(OPT_TIME, proxy65_conf, wait_time, "1m"), .min = 100, .max = HOUR,
	  .help = "Time for two clients to meet and begin; then their connections are closed." },
	{ ROW(OPT_TIME, proxy65_conf, idle_time, "5m"), .min = 100, .max = 24 * HOUR,
	  .help = "Time in which nothing of a transfer moves; then it ends." },
	{ ROW(OPT_BYTES, proxy65_conf, bytes_per_second, "4M"), .min = 1 * K, .max = 1 * G,
	  .help = "How fast one transfer is, both ways together, after a burst of five seconds' worth." },
	{ ROW(OPT_BYTES, proxy65_conf, transfer_bytes, "4G"), .min = 0, .max = INT64_C(1) << 40,
	  .help = "What one transfer may move, both ways together; 0: any." },
	OPTIONS_END
};

static const char *const listener_kinds[] = {
	[LISTEN_C2S] = "c2s", [LISTEN_C2S_TLS] = "c2s-tls", [LISTEN_PROXY65] = "proxy65", NULL
};

const struct option conf_listener_options[] = {
	[LISTENER_KIND_ROW] =
	{ ROW(OPT_CHOICE, listener_conf, kind, "c2s"), .choices = listener_kinds,
	  .help = "Clients with STARTTLS (c2s), with TLS from the first byte (c2s-tls), or file transfers (proxy65)." },
	[LISTENER_ADDRESS_ROW] =
	{ ROW(OPT_TEXT, listener_conf, address, "::"),
	  .help = "The IPv4 or IPv6 address; :: is all of both." },
	[LISTENER_PORT_ROW] =
	{ ROW(OPT_INT, listener_conf, port, "5222"), .min = 0, .max = 65535,
	  .help = "The TCP port (c2s-tls: default 5223, proxy65: 7777); 0: any that is free." },
	[LISTENER_TLS_ROW] =
	{ ROW(OPT_BOOL, listener_conf, require_tls, "true"),
	  .help = "Refuse to log clients in without TLS. Else PLAIN is still for TLS and this machine only." },
	[LISTENER_PROXY_ROW] =
	{ ROW(OPT_TEXT, listener_conf, proxy, NULL),
	  .help = "Balancers that connect here, addresses or networks; each must send the PROXY header." },
	[LISTENER_ROWS] = OPTIONS_END
};

const struct section conf_sections[] = {
	{ "node", SECTION_OPTIONS, "This process on this machine.",
	  node_options, offsetof(struct conf, node) },
	{ "store", SECTION_OPTIONS, "The database.",
	  store_options, offsetof(struct conf, store) },
	{ "log", SECTION_OPTIONS, "The log.",
	  log_options, offsetof(struct conf, log) },
	{ "limits", SECTION_OPTIONS, "Bounds on what one peer, or all of them, can take.",
	  limits_options, offsetof(struct conf, limits) },
	{ "proxy65", SECTION_OPTIONS, "Bounds on file transfers by way of this server (listeners of kind proxy65).",
	  proxy65_options, offsetof(struct conf, proxy65) },
	{ "listeners", SECTION_LISTENERS, "Where clients connect: a list.",
	  conf_listener_options, 0 },
	{ "modules", SECTION_MODULES, "What the server can do: each module and its options.",
	  NULL, 0 },
	{ "include", SECTION_INCLUDE, "Files that are read as if their keys stood here.",
	  NULL, 0 },
	{ .name = NULL }
};

/* clang-format on */

_Static_assert(COUNT_OF(conf_sections) == SECTION_COUNT + 1, "SECTION_COUNT");
_Static_assert(COUNT_OF(limits_options) <= SECTION_OPTIONS_MAX, "SECTION_OPTIONS_MAX");

const char *const conf_default_modules[] = { "ping",     "disco",   "roster",   "subscription", "presence",
	                                     "message",  "record",  "session",  "last",         "private",
	                                     "time",     "version", "blocking", "vcard",        "search",
	                                     "register", "motd",    "proxy65",  "archive",      NULL };

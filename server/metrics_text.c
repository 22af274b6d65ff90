/* metrics_text.c - the table of what is counted, and how it is written: as OpenMetrics text and as a list for
 * people. A number of count.h, store.h or struct present becomes a metric by one row. No more than data, so
 * that musterctl has it too. */
#include <inttypes.h>
#include <stdio.h>

#include "metrics.h"
#include "stream.h"
#include "text.h"

/* ---- the table */

enum metric_type { COUNTER, GAUGE, HISTOGRAM, INFO };

/* A dimension: the values in the order of the array. */
struct label {
	const char *name;
	const char *const *values; /* NULL: reactors, by their numbers */
	unsigned count, first;     /* values before the first are not shown */
};

struct metric {
	const char *name; /* ends in its unit */
	const char *unit; /* "seconds", "bytes", or NULL */
	const char *help;
	enum metric_type type;
	bool is_us;      /* counted in microseconds, shown in seconds */
	bool is_of_host; /* a member of struct host_counts: for each served domain */
	size_t offset;   /* in struct metrics */
	const struct label *labels[2];
};

#define X(id, name, type) name,
static const char *const stanza_conditions[] = { STANZA_ERRORS(X) };
#undef X
#define X(id, name) name,
static const char *const stream_conditions[] = { "", STREAM_ERRORS(X) };
#undef X
#define X(name) name,
static const char *const sasl_conditions[] = { SASL_ERRORS(X) };
#undef X
static const char *const directions[] = { "in", "out" };
static const char *const kinds[] = { "message", "presence", "iq" };
static const char *const stream_kinds[] = { "c2s", "s2s", "component", "other" };
static const char *const stream_states[] = { "negotiating", "established", "closing" };
static const char *const queue_names[] = { "reactor", "outbound", "inbox" };
static const char *const part_names[] = { "write_queues", "homes", "sessions", "envelopes" };
static const char *const estimate_names[] = { "parsers", "tls" };

_Static_assert(COUNT_OF(stream_conditions) == COUNT_STREAM_ERRORS, "count.h counts the stream errors");

#define LABEL(variable, name_, values_)                                                                    \
	static const struct label variable = { .name = (name_),                                            \
		                               .values = (values_),                                        \
		                               .count = COUNT_OF(values_) }
LABEL(by_stanza_condition, "condition", stanza_conditions);
LABEL(by_sasl_condition, "condition", sasl_conditions);
LABEL(by_direction, "direction", directions);
LABEL(by_kind, "kind", kinds);
LABEL(by_stream, "kind", stream_kinds);
LABEL(by_state, "state", stream_states);
LABEL(by_queue, "queue", queue_names);
LABEL(by_part, "part", part_names);
LABEL(by_estimate, "part", estimate_names);
static const struct label by_stream_condition = {
	.name = "condition", .values = stream_conditions, .count = COUNT_STREAM_ERRORS, .first = 1
};
static const struct label by_reactor = { .name = "reactor" };

#define COUNTS(member) .offset = offsetof(struct metrics, counts.member)
#define STORE(member) .offset = offsetof(struct metrics, store.member)
#define PRESENT(member) .offset = offsetof(struct metrics, present.member)

/* clang-format off */
static const struct metric table[] = {
	{ "muster_build", NULL, "The version of Muster.", INFO, PRESENT(info) },
	{ "muster_uptime_seconds", "seconds", "Since the start.", GAUGE, PRESENT(uptime) },
	{ "muster_draining", NULL, "1 while no new connections are taken.", GAUGE, PRESENT(draining) },
	{ "muster_hosts", NULL, "Served domains.", GAUGE, PRESENT(served) },

	{ "muster_host_certificate_expires_timestamp_seconds", "seconds",
	  "Unix time at which a served domain's certificate expires; 0: it has none.", GAUGE,
	  .is_of_host = true, .offset = offsetof(struct host_counts, certificate_expires) },

	{ "muster_sessions", NULL, "Bound resources.", GAUGE, COUNTS(sessions) },
	{ "muster_host_sessions", NULL, "Bound resources of a served domain.", GAUGE, .is_of_host = true,
	  .offset = offsetof(struct host_counts, sessions) },
	{ "muster_streams", NULL, "Connections, by what is spoken on them and how far they are.", GAUGE,
	  COUNTS(streams_by), .labels = { &by_stream, &by_state } },
	{ "muster_tls_streams", NULL, "Connections with TLS.", GAUGE, COUNTS(tls) },
	{ "muster_connections", NULL, "Connections made.", COUNTER, COUNTS(connections) },
	{ "muster_logins", NULL, "Logins that succeeded.", COUNTER, COUNTS(logins) },
	{ "muster_login_failures", NULL, "Logins that failed, by the condition that was answered.", COUNTER,
	  COUNTS(sasl_failures), .labels = { &by_sasl_condition } },
	{ "muster_moved_streams", NULL, "Connections that moved to the thread of their account.", COUNTER,
	  COUNTS(moved) },
	{ "muster_password_hashes", NULL, "Passwords that are being hashed or wait for it.", GAUGE,
	  PRESENT(hashing) },

	{ "muster_stanzas", NULL, "Stanzas read from streams (in) and written to them (out).", COUNTER,
	  COUNTS(stanzas), .labels = { &by_direction, &by_kind } },
	{ "muster_host_stanzas", NULL, "The same at the streams of a served domain's users.", COUNTER,
	  .is_of_host = true, .offset = offsetof(struct host_counts, stanzas),
	  .labels = { &by_direction, &by_kind } },
	{ "muster_refusals", NULL, "Stanza errors that Muster answered, by condition.", COUNTER,
	  COUNTS(refusals), .labels = { &by_stanza_condition } },
	{ "muster_bounced", NULL, "What could not be taken or written and was turned back.", COUNTER,
	  COUNTS(bounced) },
	{ "muster_stream_errors", NULL, "Streams that Muster ended with an error, by condition.", COUNTER,
	  COUNTS(stream_errors), .labels = { &by_stream_condition } },

	{ "muster_transfers", NULL, "File transfers that began by way of this server.", COUNTER, COUNTS(relayed) },
	{ "muster_transfer_bytes", "bytes", "What they have moved.", COUNTER, COUNTS(relayed_bytes) },

	{ "muster_homes", NULL, "Addresses whose state is in memory.", GAUGE, COUNTS(homes) },
	{ "muster_homes_waking", NULL, "Addresses whose state is being read.", GAUGE, PRESENT(waking) },
	{ "muster_homes_absent", NULL, "Addresses without account that are remembered as such.", GAUGE,
	  PRESENT(absent) },
	{ "muster_hold_seconds", "seconds", "How long addresses waited for a change of their own state.",
	  HISTOGRAM, COUNTS(holds) },

	{ "muster_queued_envelopes", NULL, "What waits in reactors for its turn, to leave, or to be taken.",
	  GAUGE, PRESENT(queued), .labels = { &by_queue } },
	{ "muster_mailbox_envelopes", NULL, "What waits for addresses that change or are being read.", GAUGE,
	  COUNTS(mailboxed) },
	{ "muster_outbox_envelopes", NULL, "What waits for a commit before it leaves.", GAUGE,
	  COUNTS(outboxed) },
	{ "muster_envelopes", NULL, "Envelopes handled for addresses and streams.", COUNTER,
	  COUNTS(envelopes) },
	{ "muster_turns", NULL, "Turns of the reactors' loops.", COUNTER, COUNTS(turns) },
	{ "muster_reactor_wakeups", NULL, "Reactors woken by others for what these had for them.", COUNTER,
	  COUNTS(wakeups) },
	{ "muster_reactor_pauses", NULL, "Times that a reactor stopped reading because one did not keep up.",
	  COUNTER, COUNTS(blocks) },
	{ "muster_reactor_floods", NULL, "Times that all had to, because too much had gathered.", COUNTER,
	  COUNTS(floods) },
	{ "muster_reactor_cpu_seconds", "seconds", "What each reactor's thread has used.", COUNTER,
	  .is_us = true, .offset = offsetof(struct metrics, reactor_cpu_us), .labels = { &by_reactor } },

	{ "muster_store_away", NULL, "Reactors whose database does not answer.", GAUGE, PRESENT(away) },
	{ "muster_store_reconnects", NULL, "Connections to the database that had to be made anew.", COUNTER,
	  STORE(reconnects) },
	{ "muster_store_waiting_writes", NULL, "Writes that are not committed yet.", GAUGE,
	  STORE(waiting_writes) },
	{ "muster_store_waiting_reads", NULL, "Reads without answer yet.", GAUGE, STORE(waiting_reads) },
	{ "muster_store_reads", NULL, "Reads asked for.", COUNTER, STORE(reads) },
	{ "muster_store_writes", NULL, "Writes committed.", COUNTER, STORE(writes) },
	{ "muster_store_statements", NULL, "Statements committed in them.", COUNTER, STORE(statements) },
	{ "muster_spooled", NULL, "Writes that went to the spool while the database was away.", COUNTER,
	  STORE(spooled) },
	{ "muster_spool_bytes", "bytes", "What waits in the spool for the database.", GAUGE, STORE(spool_bytes) },
	{ "muster_spool_age_seconds", "seconds", "Since when something waits there; 0: nothing does.", GAUGE,
	  PRESENT(spool_age) },
	{ "muster_store_failures", NULL, "Reads and writes that the database refused.", COUNTER,
	  STORE(failed) },
	{ "muster_commit_seconds", "seconds", "How long groups of writes took from sending to commit.",
	  HISTOGRAM, STORE(commits) },

	{ "muster_memory_bytes", "bytes", "Memory by what it is for, as counted.", GAUGE,
	  PRESENT(write_queues), .labels = { &by_part } },
	{ "muster_memory_estimated_bytes", "bytes", "Memory by what it is for: a measured size for each.",
	  GAUGE, PRESENT(parsers_estimate), .labels = { &by_estimate } },
	{ "muster_memory_allocated_bytes", "bytes", "Memory that malloc has given out.", GAUGE,
	  PRESENT(allocated) },
	{ "process_resident_memory_bytes", "bytes", "Memory of the process.", GAUGE, PRESENT(memory) },
	{ "process_cpu_seconds", "seconds", "Time on processors, of the user and of the system.", COUNTER,
	  .is_us = true, PRESENT(cpu_us) },
	{ "process_start_time_seconds", "seconds", "Unix time of the start.", GAUGE, PRESENT(started) },
	{ "process_open_fds", NULL, "Open file descriptors.", GAUGE, PRESENT(files) },
};
/* clang-format on */

/* ---- OpenMetrics */

static const char *const type_names[] = {
	[COUNTER] = "counter", [GAUGE] = "gauge", [HISTOGRAM] = "histogram", [INFO] = "info"
};

static void write_value(struct buffer *b, uint64_t v, bool is_us)
{
	if (is_us)
		buffer_addf(b, " %" PRIu64 ".%06u\n", v / US_PER_SECOND, (unsigned)(v % US_PER_SECOND));
	else
		buffer_addf(b, " %" PRIu64 "\n", v);
}

static void write_histogram(struct buffer *b, const char *name, const struct histogram *h)
{
	static const uint32_t bounds[] = HISTOGRAM_BOUNDS;
	uint64_t count = 0;

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		count += h->buckets[i];
		if (i < COUNT_OF(bounds))
			buffer_addf(b, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
			            bounds[i] / (double)US_PER_SECOND, count);
		else
			buffer_addf(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, count);
	}
	buffer_addf(b, "%s_count %" PRIu64 "\n%s_sum", name, count, name);
	write_value(b, h->sum_us, true);
}

/* One sample: `at` counts through the values of the labels, the last one fastest. */
static void write_sample(struct buffer *b, const struct metric *m, const char *host, unsigned at,
                         uint64_t v)
{
	const struct label *first = m->labels[0], *second = m->labels[1];
	unsigned inner = second ? second->count : 1;
	const char *comma = "";

	buffer_addf(b, "%s%s", m->name, m->type == COUNTER ? "_total" : "");
	if (host || first)
		buffer_adds(b, "{");
	if (host) {
		buffer_addf(b, "host=\"%s\"", host); /* a prepared domain has nothing to escape */
		comma = ",";
	}
	if (first && first->values)
		buffer_addf(b, "%s%s=\"%s\"", comma, first->name, first->values[at / inner]);
	else if (first)
		buffer_addf(b, "%s%s=\"%u\"", comma, first->name, at);
	if (second)
		buffer_addf(b, ",%s=\"%s\"", second->name, second->values[at % inner]);
	if (host || first)
		buffer_adds(b, "}");
	write_value(b, v, m->is_us);
}

static unsigned samples_of(const struct metric *m, unsigned reactors)
{
	unsigned n = 1;

	for (unsigned i = 0; i < COUNT_OF(m->labels); i++)
		if (m->labels[i])
			n *= m->labels[i]->values ? m->labels[i]->count : reactors;
	return n;
}

static void write_samples(struct buffer *b, const struct metric *row, const char *host, const void *base,
                          unsigned reactors)
{
	const uint64_t *values = (const uint64_t *)(const void *)((const char *)base + row->offset);

	for (unsigned i = row->labels[0] ? row->labels[0]->first : 0; i < samples_of(row, reactors); i++)
		write_sample(b, row, host, i, values[i]);
}

static void write_metric(struct buffer *b, const struct metric *row, const struct metrics *m)
{
	buffer_addf(b, "# TYPE %s %s\n", row->name, type_names[row->type]);
	if (row->unit)
		buffer_addf(b, "# UNIT %s %s\n", row->name, row->unit);
	buffer_addf(b, "# HELP %s %s\n", row->name, row->help);
	if (row->type == INFO)
		buffer_addf(b, "%s_info{version=\"%s\"} 1\n", row->name, MUSTER_VERSION);
	else if (row->type == HISTOGRAM)
		write_histogram(b, row->name,
		                (const struct histogram *)(const void *)((const char *)m + row->offset));
	else if (row->is_of_host)
		for (unsigned i = 0; i < m->hosts->count; i++)
			write_samples(b, row, m->hosts->list[i].jid->text, &m->host_counts[i], m->reactors);
	else
		write_samples(b, row, NULL, m, m->reactors);
}

void metrics_write(const struct metrics *m, struct buffer *b)
{
	for (size_t i = 0; i < COUNT_OF(table); i++)
		write_metric(b, &table[i], m);
	buffer_adds(b, "# EOF\n");
}

/* ---- the list for people */

static void list_label(struct buffer *b, const struct label *l)
{
	struct buffer text = { 0 };

	buffer_addf(&text, "%s", l->name);
	for (unsigned i = l->first; i < l->count; i++)
		buffer_addf(&text, "%s%s", i == l->first ? ": " : ", ", l->values[i]);
	buffer_adds(b, "    ");
	text_wrap(b, text.data, "        ");
	buffer_adds(b, "\n");
	buffer_free(&text);
}

void metrics_list(struct buffer *b)
{
	for (size_t i = 0; i < COUNT_OF(table); i++) {
		const struct metric *row = &table[i];

		buffer_addf(b, "%s%s  (%s%s%s)\n    %s\n", row->name,
		            row->type == COUNTER ? "_total"
		            : row->type == INFO  ? "_info"
		                                 : "",
		            type_names[row->type], row->unit ? ", " : "", row->unit ? row->unit : "",
		            row->help);
		if (row->is_of_host)
			buffer_adds(b, "    host\n");
		for (unsigned j = 0; j < COUNT_OF(row->labels); j++)
			if (row->labels[j])
				list_label(b, row->labels[j]);
	}
}

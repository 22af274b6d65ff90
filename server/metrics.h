/* metrics.h - what the node counts, gathered from all reactors and written as OpenMetrics text. The table of
 * metrics_text.c says what there is. */
#ifndef MUSTER_METRICS_H
#define MUSTER_METRICS_H

#include "count.h"
#include "reactor.h"
#include "store.h"

#define METRICS_REACTORS 256 /* as many as node.reactors may say */

/* Of what has no count of its own, at the moment of asking; the sum over the reactors, or the process'. */
struct present {
	uint64_t queued, outbound, inbox; /* envelopes: for here, for other reactors, from them */
	uint64_t waking, absent;          /* homes */
	uint64_t hashing;                 /* passwords in the worker pool */
	uint64_t parsers;                 /* of XML, in use or kept */
	uint64_t away;                    /* reactors whose database does not answer */
	uint64_t spool_since, spool_age;  /* Unix seconds; 0: no spool is filled; seconds */
	uint64_t draining;                /* 1: no new connections */
	uint64_t buffers;                 /* bytes of the reactors' own */
	uint64_t served;                  /* domains */
	uint64_t uptime, started;         /* seconds */
	uint64_t cpu_us;
	uint64_t memory, allocated;                        /* bytes: of the process; given out by malloc */
	uint64_t files;                                    /* open file descriptors */
	uint64_t info;                                     /* 1 */
	uint64_t write_queues, homes, sessions, envelopes; /* bytes: counted */
	uint64_t parsers_estimate, tls_estimate;           /* bytes: by a measured size each */
};

struct metrics {
	/* sums over the reactors: uint64_t each */
	struct reactor_counts counts;
	struct store_counts store;
	struct present present;
	uint64_t reactor_cpu_us[METRICS_REACTORS];

	struct server *server;
	unsigned reactors;
	struct hosts *hosts;             /* a reference */
	struct host_counts *host_counts; /* of each, in their order; only the numbers */
	void (*done)(struct metrics *m, void *arg);
	void *arg;
};

/* Visits all reactors, then calls `done` on reactor 0 with the sums. They are gone when it returns. Called on
 * reactor 0. */
void metrics_gather(struct server *srv, void (*done)(struct metrics *m, void *arg), void *arg);

/* OpenMetrics text (the format's version 1.0.0), all of it. */
void metrics_write(const struct metrics *m, struct buffer *b);
/* The table for people: a line for each metric. */
void metrics_list(struct buffer *b);

/* Microseconds as Prometheus has time. */
#define US_PER_SECOND 1000000

#endif

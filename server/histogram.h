/* histogram.h - how long something takes: counted by a few fixed bounds, so that it costs next to nothing and
 * the histograms of all reactors add up. */
#ifndef MUSTER_HISTOGRAM_H
#define MUSTER_HISTOGRAM_H

#include <stdint.h>

/* How often something took up to so long, in microseconds; the last one has no bound. */
#define HISTOGRAM_BOUNDS                                                                                   \
	{                                                                                                  \
		100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,     \
		    2500000                                                                                \
	}
#define HISTOGRAM_BUCKETS 15

struct histogram {
	uint64_t buckets[HISTOGRAM_BUCKETS]; /* each without those below */
	uint64_t sum_us;
};

static inline void histogram_add(struct histogram *h, uint64_t us)
{
	static const uint32_t bounds[HISTOGRAM_BUCKETS - 1] = HISTOGRAM_BOUNDS;
	unsigned i = 0;

	while (i < HISTOGRAM_BUCKETS - 1 && us > bounds[i])
		i++;
	h->buckets[i]++;
	h->sum_us += us;
}

#endif

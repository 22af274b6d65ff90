/* progress.c - how far a long command is: a bar where somebody looks, a line now and then in a
 * log. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "parts.h"

#define BAR_WIDTH 40
#define DRAW_MS 100

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const struct call *c, const char *title, uint64_t total)
{
	*p = (struct progress){
		.title = title, .total = total, .is_silent = c->is_quiet, .began = now_ms()
	};
	p->is_terminal = isatty(STDERR_FILENO) == 1;
}

/* Seconds that are left, by what has been done in those that are gone. */
static long long seconds_left(const struct progress *p, uint64_t done)
{
	int64_t gone = p->drawn - p->began;

	return done ? (long long)((double)gone * (double)(p->total - done) / (double)done / 1000 + 0.5) : 0;
}

static void draw_bar(struct progress *p, uint64_t done)
{
	int filled = (int)(done * BAR_WIDTH / p->total);
	char bar[BAR_WIDTH + 1];

	memset(bar, '.', BAR_WIDTH);
	memset(bar, '#', (size_t)filled);
	bar[BAR_WIDTH] = '\0';
	fprintf(stderr, "\r%s [%s] %3d %%, %lld s left \033[K", p->title, bar, (int)(done * 100 / p->total),
	        seconds_left(p, done));
	fflush(stderr);
}

/* How much there will be is not known. */
static void draw_bytes(struct progress *p, uint64_t done, int64_t now)
{
	if (!p->is_terminal || now - p->drawn < DRAW_MS)
		return;
	p->drawn = now;
	fprintf(stderr, "\r%s: %.1f MB \033[K", p->title, (double)done / (1024 * 1024));
	fflush(stderr);
}

void progress_show(struct progress *p, uint64_t done)
{
	int64_t now = now_ms();

	if (p->is_silent)
		return;
	if (p->total == 0) {
		draw_bytes(p, done, now);
		return;
	}
	uint64_t percent = done * 100 / p->total;
	if (p->is_terminal && now - p->drawn >= DRAW_MS) {
		p->drawn = now;
		draw_bar(p, done);
	} else if (!p->is_terminal && percent / 10 > p->shown / 10) {
		p->shown = percent;
		fprintf(stderr, "%s: %d %%\n", p->title, (int)percent / 10 * 10);
	}
}

void progress_end(struct progress *p)
{
	if (p->is_terminal && !p->is_silent && p->drawn)
		fputs("\r\033[K", stderr);
}

/* time.c - XEP-0202: what time it is at the server. */
#include <stdlib.h>
#include <time.h>

#include "module.h"

#define TIME_NS "urn:xmpp:time"

/* The server's offset from UTC, as XEP-0082 section 3.2 writes it: "+05:30". */
static const char *zone_text(struct ctx *c, time_t now)
{
	struct tm local;
	int minutes;

	if (!localtime_r(&now, &local))
		return "Z";
	minutes = (int)(local.tm_gmtoff / 60);
	return arena_printf(&c->scratch, "%c%02d:%02d", minutes < 0 ? '-' : '+', abs(minutes) / 60,
	                    abs(minutes) % 60);
}

static enum verdict on_time(struct ctx *c)
{
	time_t now = (time_t)(now_us(c) / 1000000);
	struct stanza *result = reply_new(c);
	struct element *e = element_add(result, result->root, "time", TIME_NS);
	struct tm utc;
	char text[32];

	gmtime_r(&now, &utc);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
	element_add_text(result, e, "tzo", TIME_NS, zone_text(c, now));
	element_add_text(result, e, "utc", TIME_NS, text);
	return reply(c, result);
}

static const char *const features[] = { TIME_NS, NULL };

static const struct hook hooks[] = {
	ON_IQ_GET(TIME_NS, "time", HOME_HOST, on_time),
	HOOKS_END,
};

const struct module mod_time = {
	.api = MUSTER_API,
	.name = "time",
	.about = "Tells what time it is at the server.",
	.spec = "XEP-0202",
	.features = features,
	.hooks = hooks,
};

/* stamp.c - see stamp.h. */
#include "stamp.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *stamp_write(int64_t us, char out[STAMP_SIZE])
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	size_t n;

	gmtime_r(&seconds, &tm);
	n = strftime(out, STAMP_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, STAMP_SIZE - n, ".%03dZ", (int)(us / 1000 % 1000));
	return out;
}

/* `n` digits at *at, at most `max`. */
static bool read_number(const char **at, unsigned n, int max, int *value)
{
	*value = 0;
	for (; n > 0; n--, (*at)++) {
		if (!isdigit((unsigned char)**at))
			return false;
		*value = *value * 10 + (**at - '0');
	}
	return *value <= max;
}

static bool read_char(const char **at, char wanted)
{
	return *(*at)++ == wanted;
}

/* Of ".123456789" the first six digits count. */
static bool read_fraction(const char **at, int64_t *us)
{
	int64_t unit = 100000;

	*us = 0;
	if (**at != '.')
		return true;
	if (!isdigit((unsigned char)*++*at))
		return false;
	for (; isdigit((unsigned char)**at); ++*at, unit /= 10)
		*us += unit * (**at - '0');
	return true;
}

/* "Z" or "+05:30", to the end. */
static bool read_zone(const char *at, int64_t *seconds)
{
	int sign = *at == '-' ? -1 : 1, hours, minutes;

	*seconds = 0;
	if (strcmp(at, "Z") == 0)
		return true;
	if (*at != '+' && *at != '-')
		return false;
	at++;
	if (!read_number(&at, 2, 23, &hours) || !read_char(&at, ':') || !read_number(&at, 2, 59, &minutes))
		return false;
	*seconds = sign * (hours * 3600 + minutes * 60);
	return *at == '\0';
}

bool stamp_read(const char *text, int64_t *us)
{
	struct tm tm = { 0 };
	int64_t fraction, zone;

	if (!read_number(&text, 4, 9999, &tm.tm_year) || !read_char(&text, '-') ||
	    !read_number(&text, 2, 12, &tm.tm_mon) || !read_char(&text, '-') ||
	    !read_number(&text, 2, 31, &tm.tm_mday) || !read_char(&text, 'T') ||
	    !read_number(&text, 2, 23, &tm.tm_hour) || !read_char(&text, ':') ||
	    !read_number(&text, 2, 59, &tm.tm_min) || !read_char(&text, ':') ||
	    !read_number(&text, 2, 60, &tm.tm_sec) || !read_fraction(&text, &fraction) ||
	    !read_zone(text, &zone) || tm.tm_mon == 0 || tm.tm_mday == 0)
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon--;
	*us = ((int64_t)timegm(&tm) - zone) * 1000000 + fraction;
	return true;
}

unsigned stamp_month(int64_t us)
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;

	gmtime_r(&seconds, &tm);
	int month = (tm.tm_year - 70) * 12 + tm.tm_mon;
	return month < 0 ? 0 : month < STAMP_MONTHS ? (unsigned)month : STAMP_MONTHS - 1;
}

/* csv.c - comma-separated values as RFC 4180 has them: fields may stand in quotes, in which commas,
 * line ends and doubled quotes are text. Lines end with LF or CRLF. */
#include <string.h>

#include "parts.h"

void csv_begin(struct csv *csv, char *text, size_t n)
{
	bool has_mark = n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0;

	*csv = (struct csv){ .at = text + (has_mark ? 3 : 0), .end = text + n, .next_line = 1 };
}

/* Whether a line ends here; its length. */
static size_t line_end(const struct csv *csv, const char *at)
{
	if (at == csv->end)
		return 0;
	if (*at == '\n')
		return 1;
	return *at == '\r' && at + 1 < csv->end && at[1] == '\n' ? 2 : 0;
}

static bool is_field_end(const struct csv *csv, const char *at)
{
	return at == csv->end || *at == ',' || line_end(csv, at);
}

/* A field in quotes, unquoted where it stands. Leaves csv->at behind the closing quote. */
static char *take_quoted(struct csv *csv)
{
	char *field = ++csv->at, *to = field;

	while (csv->at < csv->end) {
		if (*csv->at == '"' && csv->at + 1 < csv->end && csv->at[1] == '"')
			csv->at++;
		else if (*csv->at == '"')
			break;
		csv->next_line += *csv->at == '\n';
		*to++ = *csv->at++;
	}
	if (csv->at == csv->end) {
		csv->problem = "a quote is opened and never closed";
		return NULL;
	}
	csv->at++;
	if (!is_field_end(csv, csv->at))
		csv->problem = "there is text behind a closing quote";
	*to = '\0';
	return field;
}

static char *take_plain(struct csv *csv)
{
	char *field = csv->at;

	for (; !is_field_end(csv, csv->at); csv->at++) {
		if (*csv->at == '"')
			csv->problem = "a quote stands inside a field that does not begin with one";
	}
	return field;
}

/* After a mistake: the next line is a new record. */
static void skip_line(struct csv *csv)
{
	char *end = memchr(csv->at, '\n', (size_t)(csv->end - csv->at));

	csv->at = end ? end + 1 : csv->end;
	csv->next_line++;
}

static void skip_empty_lines(struct csv *csv)
{
	size_t n;

	while ((n = line_end(csv, csv->at))) {
		csv->at += n;
		csv->next_line++;
	}
}

/* Goes over what ends a field and closes it. True: another field follows in this record. */
static bool end_field(struct csv *csv)
{
	char *end = csv->at;
	bool goes_on = end < csv->end && *end == ',';
	size_t n = goes_on ? 1 : line_end(csv, end);

	csv->next_line += !goes_on;
	csv->at += n;
	*end = '\0'; /* behind the text there is a NUL already */
	return goes_on;
}

unsigned csv_next(struct csv *csv, char *fields[CSV_COLUMNS])
{
	unsigned count = 0;
	bool goes_on = true;

	csv->problem = NULL;
	skip_empty_lines(csv);
	if (csv->at == csv->end)
		return 0;
	csv->line = csv->next_line;
	while (goes_on) {
		if (count == CSV_COLUMNS)
			csv->problem = "there are too many fields";
		else
			fields[count++] = *csv->at == '"' ? take_quoted(csv) : take_plain(csv);
		if (csv->problem) {
			skip_line(csv);
			break;
		}
		goes_on = end_field(csv);
	}
	return count;
}

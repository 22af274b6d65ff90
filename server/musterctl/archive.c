/* archive.c - what is in archives, shown to people: messages that were searched for, one of them, and how many
 * there are; and what becomes too old, which goes when they are sure. */
#include "archive.h"

#include <string.h>

#include "archive_text.h"

/* ---- answers in pages: of rows, or of how far it is */

struct pages {
	struct progress progress;
	json_t *rows; /* with --json: all of them */
};

static bool on_page(struct call *c, const json_t *page, void *arg)
{
	struct pages *p = arg;
	const json_t *total = json_object_get(page, "total");

	p->progress.total = total ? (uint64_t)json_integer_value(total) : 1000;
	progress_show(&p->progress, (uint64_t)json_integer_value(json_object_get(page, "done")));
	if (!c->verb->table)
		return true;
	const json_t *rows = json_object_get(page, c->verb->table->rows);
	if (json_array_size(rows) && !c->is_json)
		progress_end(&p->progress); /* the bar makes room */
	if (c->is_json)
		json_array_extend(p->rows, (json_t *)(uintptr_t)rows);
	else
		show_rows(c, page);
	return true;
}

/* The result, a new reference, with the rows in it for --json; NULL: it has complained. */
static json_t *ask_in_pages(struct call *c, const char *title)
{
	struct pages p = { .rows = json_array() };

	progress_begin(&p.progress, c, title, 0);
	p.progress.is_silent =
	    p.progress.is_silent || !p.progress.is_terminal; /* the answer itself is read */
	json_t *result = talk(c, c->verb->name, json_incref(c->args), on_page, &p);
	progress_end(&p.progress);
	if (result && c->is_json) {
		if (c->verb->table)
			json_object_set(result, c->verb->table->rows, p.rows);
		show_json(c, result);
	}
	json_decref(p.rows);
	return result;
}

/* ---- search */

int archive_search(struct call *c)
{
	json_t *result = ask_in_pages(c, "Searching");

	if (result && !c->is_json) {
		if (!c->rows)
			puts(c->verb->table->none);
		if (json_is_true(json_object_get(result, "more")))
			fprintf(stderr, "There may be older ones: say --until %s, or a larger --limit.\n",
			        json_string_value(json_object_get(result, "go_on_until")));
	}
	json_decref(result);
	return c->status;
}

/* ---- show */

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static void show_line(const char *title, const char *text)
{
	struct buffer line = { 0 };

	archive_add_safe(&line, text);
	show_padded(title, 13);
	puts(line.data ? line.data : "");
	buffer_free(&line);
}

static void show_safe(const char *text)
{
	struct buffer lines = { 0 };

	archive_add_safe(&lines, text);
	printf("\n%s\n", lines.data ? lines.data : "");
	buffer_free(&lines);
}

void show_archived(struct call *c, const json_t *result)
{
	const json_t *archive;
	size_t i;

	(void)c;
	show_line("Message", text_of(result, "id"));
	show_line("Record", text_of(result, "record"));
	show_line("Time", text_of(result, "time"));
	show_line("From", text_of(result, "from"));
	show_line("To", text_of(result, "to"));
	show_line("On its way", json_is_true(json_object_get(result, "in_transit")) ? "yes" : "no");
	if (json_is_string(json_object_get(result, "taken_back_by")))
		show_line("Taken back", text_of(result, "taken_back_by"));
	json_array_foreach(json_object_get(result, "archives"), i, archive)
	{
		char *line = mem_printf(
		    "%s: %s%s%s", text_of(archive, "jid"), text_of(archive, "state"),
		    json_is_string(json_object_get(archive, "id")) ? ", as " : "",
		    json_is_string(json_object_get(archive, "id")) ? text_of(archive, "id") : "");
		show_line(i ? "" : "In archives", line);
		mem_free(line);
	}
	show_safe(text_of(result, "text"));
	show_safe(text_of(result, "xml"));
}

/* ---- numbers by month */

static double megabytes(const json_t *object)
{
	return (double)json_integer_value(json_object_get(object, "bytes")) / (1024 * 1024);
}

static void show_months(const json_t *result)
{
	const json_t *month, *bytes;
	size_t i;

	json_array_foreach(json_object_get(result, "months"), i, month)
	{
		bytes = json_object_get(month, "bytes");
		if (i == 0)
			printf("\n%-8s %12s%s\n", "MONTH", "MESSAGES", bytes ? "         MB" : "");
		printf("%-8s %12lld", text_of(month, "month"),
		       (long long)json_integer_value(json_object_get(month, "messages")));
		if (bytes)
			printf(" %10.1f", megabytes(month));
		putchar('\n');
	}
}

/* ---- stats */

static void show_counted(const json_t *result)
{
	bool is_estimate = json_is_true(json_object_get(result, "is_estimate"));

	printf("%s%lld messages, %.1f MB%s, from %s to %s.\n", is_estimate ? "About " : "",
	       (long long)json_integer_value(json_object_get(result, "messages")), megabytes(result),
	       is_estimate ? " with indexes" : "", text_of(result, "oldest"), text_of(result, "newest"));
	if (is_estimate)
		puts(
		    "These are PostgreSQL's own estimates; --exact counts, which takes long where there is much.");
	else
		printf(
		    "They are in the archives of %lld of %lld accounts; one between two of them counts twice.\n",
		    (long long)json_integer_value(json_object_get(result, "with_messages")),
		    (long long)json_integer_value(json_object_get(result, "accounts")));
	show_months(result);
}

int archive_stats(struct call *c)
{
	json_t *result = ask_in_pages(c, "Counting");

	if (result && !c->is_json) {
		if (json_integer_value(json_object_get(result, "messages")) ||
		    json_is_true(json_object_get(result, "is_estimate")))
			show_counted(result);
		else
			puts("There are no messages.");
	}
	json_decref(result);
	return c->status;
}

/* ---- expire */

bool archive_expire_args(struct call *c)
{
	if (!flags_to_args(c))
		return false;
	json_object_del(c->args, "yes");
	return true;
}

static bool on_removed(struct call *c, const json_t *page, void *arg)
{
	struct progress *p = arg;
	uint64_t done = (uint64_t)json_integer_value(json_object_get(page, "done"));

	(void)c;
	progress_show(p, done < p->total ? done : p->total);
	return true;
}

/* Says or, not `is_dry`, does it. `total`: how much that will be, as far as is known. */
static json_t *ask_to_expire(struct call *c, bool is_dry, uint64_t total)
{
	struct progress p;
	json_t *args = json_deep_copy(c->args);

	json_object_set_new(args, "dry_run", json_boolean(is_dry));
	progress_begin(&p, c, is_dry ? "Looking" : "Removing", total);
	json_t *result = talk(c, c->verb->name, args, total ? on_removed : NULL, &p);
	progress_end(&p);
	return result;
}

static uint64_t rows_of(const json_t *result)
{
	return (uint64_t)(json_integer_value(json_object_get(result, "messages")) +
	                  json_integer_value(json_object_get(result, "records")) +
	                  json_integer_value(json_object_get(result, "unwanted")));
}

static void show_expired(const json_t *result, const char *what)
{
	json_int_t unwanted = json_integer_value(json_object_get(result, "unwanted"));

	if (unwanted)
		printf("%lld messages that their owners have got and did not want to keep %s.\n",
		       (long long)unwanted, what);
	if (rows_of(result) == (uint64_t)unwanted)
		return;
	printf("%lld messages in archives and %lld records %s, all from before %s.\n",
	       (long long)json_integer_value(json_object_get(result, "messages")),
	       (long long)json_integer_value(json_object_get(result, "records")), what,
	       text_of(result, "before"));
	show_months(result);
}

/* Also what has gone as a whole month is counted before. */
static void show_removed(struct call *c, const json_t *before, json_t *after)
{
	json_int_t tables = json_integer_value(json_object_get(after, "tables"));

	if (c->is_json) {
		show_json(c, after);
		return;
	}
	printf("Removed %llu rows", (unsigned long long)rows_of(after));
	if (tables)
		printf(" and %lld whole tables, of %llu rows in all", (long long)tables,
		       (unsigned long long)rows_of(before));
	puts(".");
}

static void show_nothing(const json_t *result)
{
	if (json_is_string(json_object_get(result, "before")))
		printf("Nothing is from before %s.\n", text_of(result, "before"));
	else
		puts(
		    "Archives are kept for ever, and nothing is left of what their owners did not want to keep.");
}

int archive_expire(struct call *c)
{
	json_t *before = ask_to_expire(c, true, 0), *after = NULL;
	bool is_dry = call_flag(c, "--dry-run");

	if (before && is_dry && c->is_json)
		show_json(c, before);
	else if (before && !rows_of(before) && !c->is_json)
		show_nothing(before);
	else if (before && !c->is_json)
		show_expired(before, is_dry ? "would go" : "are to go");
	if (before && !is_dry && (rows_of(before) || c->is_json) && ask_if_sure(c, "Remove them for good?"))
		after = ask_to_expire(c, false, rows_of(before) + 1);
	if (after)
		show_removed(c, before, after);
	json_decref(before);
	json_decref(after);
	return c->status;
}

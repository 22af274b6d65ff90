/* option.h - configuration as tables: one row per key, with its type, its bounds, its default and a
 * sentence for the administrator. The parser, --show-config and the manual all read the same rows. */
#ifndef MUSTER_OPTION_H
#define MUSTER_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
	OPT_BOOL,   /* bool: true | false */
	OPT_INT,    /* int64_t */
	OPT_BYTES,  /* int64_t: a number with an optional unit: k, M, G (of 1024) */
	OPT_TIME,   /* int64_t milliseconds: a number with a unit: ms, s, m, h, d, w */
	OPT_TEXT,   /* const char *, one line, owned by the snapshot; default NULL: none */
	OPT_PATH,   /* the same, made absolute: a relative path starts from the file's directory */
	OPT_CHOICE, /* int64_t: the index of one of the words in `choices` */
	OPT_WORDS /* int64_t: a bit for each of the words in `choices`; written with spaces between them */
};

struct option {
	const char *name; /* "stanza_bytes"; NULL ends the table */
	enum option_type type;
	size_t offset;        /* of the member in the options struct */
	const char *fallback; /* the default, written as in the file; NULL: none (texts, paths) */
	const char *help;     /* one sentence */
	int64_t min, max;     /* for numbers, in the type's own unit; both 0: any */
	/* OPT_CHOICE, OPT_WORDS: words, NULL-terminated; OPT_INT: one that may stand instead of a number, and is
	 * kept as OPTION_WORD */
	const char *const *choices;
};
#define OPTION_WORD INT64_MIN
#define OPTIONS_END                                                                                        \
	{                                                                                                  \
		.name = NULL                                                                               \
	}

#endif

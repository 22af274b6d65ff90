/* conf_parts.h - what the conf*.c files share. Nobody else includes it.
 *
 * The way of a file: conf_yaml.c makes a tree of nodes of its bytes; conf.c walks the tree by the tables
 * of conf_table.c; conf_value.c reads each value into its member, and writes it again for conf_show.c.
 * Whoever finds a mistake notes it and goes on. */
#ifndef MUSTER_CONF_PARTS_H
#define MUSTER_CONF_PARTS_H

#include <sys/types.h>

#include "conf.h"

/* ---- mistakes (conf_yaml.c) */

/* A file that is being read, in the snapshot's arena. */
struct conf_file {
	const char *name; /* as the administrator knows it: the path given, or the include's */
	const char *dir;  /* its directory, absolute: where relative paths start */
	dev_t dev;        /* with ino: a file is read once only */
	ino_t ino;
	struct conf_file *next;
};

/* Where something stands; lines and columns count from 1, columns in characters. */
struct place {
	const struct conf_file *file;
	unsigned line, column;
};
const char *place_text(struct arena *a, const struct place *at); /* "file:line:column" */

/* The lines for *errors. Behind the first MISTAKES_SHOWN the others are only counted. */
struct mistakes {
	struct buffer lines;
	unsigned count;
};
enum { MISTAKES_SHOWN = 100 };
/* Notes a sentence (no full stop, no line break). Control characters in it are shown as '?'. */
void mistake(struct mistakes *m, const struct place *at, const char *format, ...) PRINTF(3, 4);
/* Hands the lines over, for the caller of conf_load to free; NULL when there was no mistake. */
char *mistakes_take(struct mistakes *m);
/* 'text' in quotes for a mistake, shortened when long. */
const char *quoted(struct arena *a, const char *text);

/* ---- nodes (conf_yaml.c) */

enum node_kind {
	NODE_SCALAR,
	NODE_MAP,
	NODE_LIST,
	NODE_WRONG /* noted as a mistake already: whoever walks here keeps quiet */
};

struct conf_node {
	enum node_kind kind;
	bool is_plain;    /* NODE_SCALAR: not in quotes */
	bool is_flow;     /* NODE_MAP, NODE_LIST: in brackets */
	const char *text; /* NODE_SCALAR: "" with is_plain when nothing is written */
	struct place place;
	const char *key; /* inside a map, else NULL */
	struct place key_place;
	struct conf_node *first, *last, *next; /* entries of a map or list; the next of its siblings */
};

/* Makes nodes of one file's bytes. NULL when there are none (an empty file is fine). After a mistake of
 * syntax the nodes before it are returned, so that their own mistakes are found in the same run. */
struct conf_node *yaml_read(const struct conf_file *file, const char *bytes, size_t n, struct arena *a,
                            struct mistakes *m);
/* "'abc'", "a mapping", "a list", "nothing": for mistakes. */
const char *node_shown(struct arena *a, const struct conf_node *n);
/* Whether a text is one line of characters that every YAML reader takes as they are. */
bool is_one_line(const char *text);

/* ---- values (conf_value.c) */

/* Reads the entries of map `n` into the options struct. `seen`, zeroed by the caller, has one place per
 * row: the entry that set it, also from an earlier file. `where`: "in 'limits'", for mistakes. */
void options_read(const struct option *table, void *base, const struct conf_node *n,
                  const struct conf_node **seen, const char *where, struct arena *a, struct mistakes *m);
unsigned options_count(const struct option *table);
/* Writes a member as in the file: "256k", "'::'", "" for none. */
void value_write(struct buffer *b, const struct option *o, const void *base);
/* Writes a text so that YAML reads it as that text. */
void text_write(struct buffer *b, const char *text);
/* Notes a key that is in no table. `nearest` has been asked before with every name that there is. */
struct nearest {
	const char *name; /* the best so far, or NULL */
	unsigned distance;
};
void nearest_ask(struct nearest *best, const char *wrong, const char *name);
void unknown_key(const struct conf_node *n, const char *where, const struct nearest *best, struct arena *a,
                 struct mistakes *m);

/* ---- tables (conf_table.c) */

enum section_kind {
	SECTION_OPTIONS,   /* a map of options: a struct inside struct conf */
	SECTION_LISTENERS, /* a list of such maps */
	SECTION_MODULES,
	SECTION_INCLUDE
};

struct section {
	const char *name; /* NULL ends the table */
	enum section_kind kind;
	const char *help;
	const struct option *options; /* SECTION_OPTIONS, SECTION_LISTENERS: of one entry */
	size_t offset;                /* SECTION_OPTIONS: of the member in struct conf */
};
enum { SECTION_COUNT = 8, SECTION_OPTIONS_MAX = 48 };
extern const struct section conf_sections[SECTION_COUNT + 1];
enum {
	LISTENER_KIND_ROW,
	LISTENER_ADDRESS_ROW,
	LISTENER_PORT_ROW,
	LISTENER_TLS_ROW,
	LISTENER_PROXY_ROW,
	LISTENER_ROWS
};
extern const struct option conf_listener_options[LISTENER_ROWS + 1];
/* The modules of a file without `modules:`, NULL-terminated. */
extern const char *const conf_default_modules[];
enum { LISTENERS_MAX = 64, MODULES_MAX = 256 };

/* ---- loading (conf.c) */

/* conf_load from memory, where `include:` is a mistake: for tests. */
struct conf *conf_load_bytes(const char *name, const char *bytes, size_t n, char **errors) MUST_CHECK;

#endif

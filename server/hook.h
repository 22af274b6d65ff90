/* hook.h - what the loaded modules hook into, sorted once for the way stanzas take. Immutable: built when
 * modules are loaded, shared by all reactors. */
#ifndef MUSTER_HOOK_H
#define MUSTER_HOOK_H

#include "module.h"

#define HOME_KINDS 6   /* bits of enum home_kind */
#define STANZA_KINDS 3 /* message, presence, iq */

struct hook_entry {
	const struct hook *hook;
	uint16_t module; /* its index */
};

struct hook_list {
	struct hook_entry *entries; /* of EVENT_STANZA: in the order of the stages */
	unsigned count;
};

struct iq_hook {
	struct hash_node node; /* by type, namespace, element */
	struct hook_entry entry;
};

struct hooks {
	struct hook_list stages[HOME_KINDS][2][STANZA_KINDS]; /* by home, direction, kind */
	struct hook_list events[HOME_KINDS][EVENT_COUNT];
	struct hash iqs;
	const struct module **modules;
	void **handles; /* dlopen's */
	unsigned module_count;
	uint8_t *homes;                /* by module: at which kinds it has hooks */
	const char *const **features;  /* the modules' lists, for disco */
	struct buffer stream_features; /* all of them, as written after login */
};

struct module_conf;

/* Loads NAME.so of each entry from `dir` and sorts their hooks. NULL on failure, with all problems (a
 * module that is missing, not one of ours, made for another version, not whole, or a conflict of two for
 * the same IQ) in *errors, a line each that begins with the entry's place in the file (the caller frees
 * it). */
struct hooks *hooks_load(const char *dir, const struct module_conf *modules, unsigned count,
                         char **errors) MUST_CHECK;
void hooks_free(struct hooks *h); /* the objects stay loaded: ARCHITECTURE, section 8 */

/* Whoever handles this request at that kind of home, or NULL. */
const struct hook_entry *hooks_find_iq(const struct hooks *h, enum stanza_type type, const char *ns,
                                       const char *name, enum home_kind kind);

/* HOME_USER -> 1 and so on: the index for the tables above. */
static inline unsigned home_kind_index(unsigned kind)
{
	return (unsigned)__builtin_ctz(kind);
}

#endif

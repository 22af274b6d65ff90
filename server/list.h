/* list.h - doubly linked lists through a member of the listed struct. The list owns nothing. */
#ifndef MUSTER_LIST_H
#define MUSTER_LIST_H

#include <stdbool.h>

#include "mem.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_before(struct list *at, struct list *node)
{
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}

static inline void list_append(struct list *head, struct list *node)
{
	list_add_before(head, node);
}

static inline void list_prepend(struct list *head, struct list *node)
{
	list_add_before(head->next, node);
}

/* Takes the node out; it may be added elsewhere or removed again. */
static inline void list_remove(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define LIST_FIRST(head, type, member)                                                                     \
	(list_is_empty(head) ? NULL : CONTAINER_OF((head)->next, type, member))

/* Walks the list; the current entry may be removed and freed, no other. */
#define LIST_EACH(var, head, type, member)                                                                 \
	for (struct list *var##_at = (head)->next, *var##_next = var##_at->next;                           \
	     var##_at != (head) ? (var = CONTAINER_OF(var##_at, type, member), 1) : 0;                     \
	     var##_at = var##_next, var##_next = var##_at->next)

#endif

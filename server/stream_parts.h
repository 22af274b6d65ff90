/* stream_parts.h - what the four files of a stream call in each other. Nobody else includes it. */
#ifndef MUSTER_STREAM_PARTS_H
#define MUSTER_STREAM_PARTS_H

#include "stream.h"

#define GOODBYE_MS 2000 /* for the peer to take what is left, and then to close its side */

/* ---- stream.c */

/* The connection is gone or given up. Its memory stays until libuv has let go of the handle, so this may be
 * called anywhere; what holds the stream looks at is_dead afterwards. */
void stream_kill(struct stream *s);
/* Makes it known to its reactor, and unknown. */
void stream_list(struct stream *s);
void stream_unlist(struct stream *s);
/* Its handle is closed: it is freed at the end of the turn. */
void stream_entomb(struct stream *s);
void stream_free(struct stream *s);
void stream_shutdown(struct stream *s); /* system-shutdown */
/* All of the goodbye has left. */
void stream_shut(struct stream *s);
bool stream_may_read(const struct stream *s); /* its state and the reasons to pause let it */
void stream_update_reading(struct stream *s); /* begins to, if it may */
void stream_stop_reading(struct stream *s);

/* ---- stream_move.c */

/* All that was queued has left: it goes, or stays for good. */
void stream_depart(struct stream *s);

/* ---- stream_read.c */

void stream_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf);
void stream_on_read(uv_stream_t *tcp, ssize_t n, const uv_buf_t *buf);
/* Waits for a hello on a connection that has been in the clear, or has said nothing. */
void stream_begin_tls(struct stream *s);

/* The balancer's header comes first, and soon. */
void stream_await_proxy(struct stream *s);
void stream_end_proxy(struct stream *s);
void stream_init_pace(struct stream *s);

/* ---- stream_write.c */

void stream_dirty(struct stream *s); /* has something to write, or to do when all is written */
void stream_init_queues(struct stream *s);
void stream_take_write(struct reactor *r, struct stream *s, struct envelope *e);
void stream_take_mark(struct stream *s, struct envelope *e);
/* Empties the queues: messages go back to where they came from. */
void stream_return_queues(struct stream *s);
/* Sends what OpenSSL has written. To be called after every call into OpenSSL that may write: what is left
 * in the reactor's buffer would go to the next connection that uses it. */
void stream_send_tls(struct stream *s);

#endif

/* strophe.c - libstrophe, as Profanity uses it: told by lines what to do, as program.py has them.
 *
 *   strophe JID PASSWORD PORT CA */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strophe.h>
#include <sys/select.h>
#include <unistd.h>

struct program {
	xmpp_ctx_t *ctx;
	xmpp_conn_t *conn;
	const char *jid, *password, *ca;
	unsigned short port;
	int is_over;
};

static void say(const char *what, const char *whom, const char *text)
{
	printf("%s%s%s%s%s\n", what, whom ? " " : "", whom ? whom : "", text ? " " : "", text ? text : "");
	fflush(stdout);
}

/* ---- what comes */

static int on_message(xmpp_conn_t *conn, xmpp_stanza_t *st, void *arg)
{
	struct program *p = arg;
	char *body = xmpp_message_get_body(st);

	(void)conn;
	if (body) {
		say("message", xmpp_stanza_get_from(st), body);
		xmpp_free(p->ctx, body);
	}
	return 1;
}

static void answer(struct program *p, const char *to, const char *type)
{
	xmpp_stanza_t *st = xmpp_presence_new(p->ctx);

	if (to)
		xmpp_stanza_set_to(st, to);
	if (type)
		xmpp_stanza_set_type(st, type);
	xmpp_send(p->conn, st);
	xmpp_stanza_release(st);
}

static int on_presence(xmpp_conn_t *conn, xmpp_stanza_t *st, void *arg)
{
	struct program *p = arg;
	const char *type = xmpp_stanza_get_type(st);
	xmpp_stanza_t *show = xmpp_stanza_get_child_by_name(st, "show");
	char *text = show ? xmpp_stanza_get_text(show) : NULL;
	char *bare = xmpp_jid_bare(p->ctx, xmpp_stanza_get_from(st));

	(void)conn;
	if (type && strcmp(type, "subscribe") == 0) {
		answer(p, bare, "subscribed");
		say("authorized", bare, NULL);
	} else {
		say("presence", bare, type ? type : text ? text : "available");
	}
	xmpp_free(p->ctx, text);
	xmpp_free(p->ctx, bare);
	return 1;
}

static int on_roster(xmpp_conn_t *conn, xmpp_stanza_t *st, void *arg)
{
	xmpp_stanza_t *query = xmpp_stanza_get_child_by_name(st, "query");
	unsigned n = 0;
	char count[16];

	(void)conn;
	(void)arg;
	for (xmpp_stanza_t *i = query ? xmpp_stanza_get_children(query) : NULL; i;
	     i = xmpp_stanza_get_next(i))
		n += xmpp_stanza_get_name(i) && strcmp(xmpp_stanza_get_name(i), "item") == 0;
	snprintf(count, sizeof count, "%u", n);
	say("listed", count, NULL);
	return 0;
}

static void on_connection(xmpp_conn_t *conn, xmpp_conn_event_t event, int error,
                          xmpp_stream_error_t *stream, void *arg)
{
	struct program *p = arg;

	(void)error;
	(void)stream;
	if (event != XMPP_CONN_CONNECT) {
		say("signed-off", NULL, NULL);
		return;
	}
	xmpp_handler_add(conn, on_message, NULL, "message", NULL, p);
	xmpp_handler_add(conn, on_presence, NULL, "presence", NULL, p);
	answer(p, NULL, NULL);
	say("signed-on", NULL, NULL);
}

static int on_bad_certificate(const xmpp_tlscert_t *cert, const char *why)
{
	/* It checks the name that is connected to, and here that is an address. */
	(void)cert;
	return strstr(why, "mismatch") != NULL || strstr(why, "doesn't match") != NULL;
}

/* ---- commands */

static void dial(struct program *p)
{
	if (p->conn)
		xmpp_conn_release(p->conn);
	p->conn = xmpp_conn_new(p->ctx);
	xmpp_conn_set_flags(p->conn, XMPP_CONN_FLAG_MANDATORY_TLS);
	xmpp_conn_set_cafile(p->conn, p->ca);
	xmpp_conn_set_certfail_handler(p->conn, on_bad_certificate);
	xmpp_conn_set_jid(p->conn, p->jid);
	xmpp_conn_set_pass(p->conn, p->password);
	if (xmpp_connect_client(p->conn, "127.0.0.1", p->port, on_connection, p) != XMPP_EOK)
		say("error", "cannot connect", NULL);
}

static void list(struct program *p)
{
	xmpp_stanza_t *iq = xmpp_iq_new(p->ctx, "get", "roster"), *query = xmpp_stanza_new(p->ctx);

	xmpp_stanza_set_name(query, "query");
	xmpp_stanza_set_ns(query, XMPP_NS_ROSTER);
	xmpp_stanza_add_child(iq, query);
	xmpp_stanza_release(query);
	xmpp_id_handler_add(p->conn, on_roster, "roster", p);
	xmpp_send(p->conn, iq);
	xmpp_stanza_release(iq);
}

static void send_message(struct program *p, const char *to, const char *text)
{
	xmpp_stanza_t *m = xmpp_message_new(p->ctx, "chat", to, "m");

	xmpp_message_set_body(m, text);
	xmpp_send(p->conn, m);
	xmpp_stanza_release(m);
}

static void run_command(struct program *p, char *line)
{
	char *whom = strchr(line, ' '), *text;

	if (whom)
		*whom++ = '\0';
	text = whom ? strchr(whom, ' ') : NULL;
	if (strcmp(line, "connect") == 0)
		dial(p);
	else if (strcmp(line, "disconnect") == 0)
		xmpp_disconnect(p->conn);
	else if (strcmp(line, "list") == 0)
		list(p);
	else if (strcmp(line, "add") == 0)
		answer(p, whom, "subscribe");
	else if (strcmp(line, "away") == 0)
		xmpp_send_raw_string(p->conn, "<presence><show>away</show><status>%s</status></presence>",
		                     whom);
	else if (strcmp(line, "send") == 0 && text) {
		*text = '\0';
		send_message(p, whom, text + 1);
	} else if (strcmp(line, "quit") == 0)
		p->is_over = 1;
}

static int has_input(void)
{
	fd_set set;
	struct timeval now = { 0, 0 };

	FD_ZERO(&set);
	FD_SET(0, &set);
	return select(1, &set, NULL, NULL, &now) > 0;
}

int main(int argc, char **argv)
{
	struct program p = { 0 };
	char line[4096];

	if (argc != 5) {
		fputs("usage: strophe JID PASSWORD PORT CA\n", stderr);
		return 2;
	}
	p.jid = argv[1];
	p.password = argv[2];
	p.port = (unsigned short)atoi(argv[3]);
	p.ca = argv[4];
	setvbuf(stdin, NULL, _IONBF, 0); /* select sees what fgets has not taken */
	xmpp_initialize();
	p.ctx = xmpp_ctx_new(NULL, xmpp_get_default_logger(XMPP_LEVEL_DEBUG));
	say("ready", NULL, NULL);
	while (!p.is_over) {
		while (!p.is_over && has_input()) {
			if (!fgets(line, sizeof line, stdin))
				return 0;
			line[strcspn(line, "\n")] = '\0';
			run_command(&p, line);
		}
		xmpp_run_once(p.ctx, 10);
	}
	if (p.conn)
		xmpp_conn_release(p.conn);
	xmpp_ctx_free(p.ctx);
	xmpp_shutdown();
	return 0;
}

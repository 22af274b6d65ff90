/* purple.c - Pidgin without its windows: libpurple's XMPP client, told by lines what to do, as program.py has
 * them.
 *
 *   purple DIR JID PASSWORD PORT [old_ssl]
 *
 * DIR is its own directory; a server certificate in DIR/certificates/x509/tls_peers/127.0.0.1 is trusted,
 * any other refused ("question"). */
#include <glib.h>
#include <purple.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

struct program {
	GMainLoop *loop;
	PurpleAccount *account;
};

static void say(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* ---- libpurple's event loop on GLib's */

struct watch {
	PurpleInputFunction run;
	gpointer data;
};

static gboolean on_io(GIOChannel *channel, GIOCondition condition, gpointer data)
{
	struct watch *w = data;
	int what = 0;

	if (condition & (G_IO_IN | G_IO_HUP | G_IO_ERR))
		what |= PURPLE_INPUT_READ;
	if (condition & (G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL))
		what |= PURPLE_INPUT_WRITE;
	w->run(w->data, g_io_channel_unix_get_fd(channel), (PurpleInputCondition)what);
	return TRUE;
}

static guint input_add(gint fd, PurpleInputCondition what, PurpleInputFunction run, gpointer data)
{
	struct watch *w = g_new(struct watch, 1);
	GIOChannel *channel = g_io_channel_unix_new(fd);
	int condition = 0;
	guint id;

	*w = (struct watch){ run, data };
	if (what & PURPLE_INPUT_READ)
		condition |= G_IO_IN | G_IO_HUP | G_IO_ERR;
	if (what & PURPLE_INPUT_WRITE)
		condition |= G_IO_OUT | G_IO_HUP | G_IO_ERR | G_IO_NVAL;
	id = g_io_add_watch_full(channel, G_PRIORITY_DEFAULT, (GIOCondition)condition, on_io, w, g_free);
	g_io_channel_unref(channel);
	return id;
}

static PurpleEventLoopUiOps loop_ops = {
	.timeout_add = g_timeout_add,
	.timeout_remove = g_source_remove,
	.input_add = input_add,
	.input_remove = g_source_remove,
	.timeout_add_seconds = g_timeout_add_seconds,
};

/* ---- the user: refuses every question; the only one that comes is whether to trust a certificate */

static void *on_question(const char *title, const char *primary, const char *secondary, int default_action,
                         PurpleAccount *account, const char *who, PurpleConversation *conv, void *data,
                         size_t count, va_list actions)
{
	(void)title, (void)secondary, (void)default_action, (void)account, (void)who, (void)conv;
	say("question %s", primary);
	for (size_t i = 0; i < count; i++) {
		const char *text = va_arg(actions, const char *);
		PurpleRequestActionCb run = va_arg(actions, PurpleRequestActionCb);

		if (strcmp(text, "_Reject") == 0 || strcmp(text, "Reject") == 0)
			run(data, (int)i);
	}
	return NULL;
}

static PurpleRequestUiOps request_ops = { .request_action = on_question };

/* ---- what happens */

static void on_signed_on(PurpleConnection *gc)
{
	(void)gc;
	say("signed-on");
}

static void on_signed_off(PurpleConnection *gc)
{
	(void)gc;
	say("signed-off");
}

static void on_error(PurpleConnection *gc, PurpleConnectionError reason, const char *text)
{
	(void)gc, (void)reason;
	say("error %s", text);
}

static void on_message(PurpleAccount *account, char *sender, char *text, PurpleConversation *conv,
                       int flags)
{
	char *plain = purple_markup_strip_html(text);

	(void)account, (void)conv, (void)flags;
	say("message %s %s", sender, plain);
	g_free(plain);
}

static void on_buddy_on(PurpleBuddy *b)
{
	say("presence %s available", purple_buddy_get_name(b));
}

static void on_buddy_off(PurpleBuddy *b)
{
	say("presence %s unavailable", purple_buddy_get_name(b));
}

static void on_buddy_status(PurpleBuddy *b, PurpleStatus *old, PurpleStatus *new)
{
	(void)old;
	say("presence %s %s", purple_buddy_get_name(b), purple_status_get_id(new));
}

static int on_authorize(PurpleAccount *account, const char *who)
{
	(void)account;
	say("authorized %s", who);
	return 1; /* accept */
}

static void listen(struct program *p)
{
	void *connections = purple_connections_get_handle(), *list = purple_blist_get_handle();
	const struct {
		void *from;
		const char *name;
		PurpleCallback run;
	} signals[] = {
		{ connections, "signed-on", PURPLE_CALLBACK(on_signed_on) },
		{ connections, "signed-off", PURPLE_CALLBACK(on_signed_off) },
		{ connections, "connection-error", PURPLE_CALLBACK(on_error) },
		{ purple_conversations_get_handle(), "received-im-msg", PURPLE_CALLBACK(on_message) },
		{ list, "buddy-signed-on", PURPLE_CALLBACK(on_buddy_on) },
		{ list, "buddy-signed-off", PURPLE_CALLBACK(on_buddy_off) },
		{ list, "buddy-status-changed", PURPLE_CALLBACK(on_buddy_status) },
		{ purple_accounts_get_handle(), "account-authorization-requested",
		  PURPLE_CALLBACK(on_authorize) },
	};

	for (size_t i = 0; i < G_N_ELEMENTS(signals); i++)
		purple_signal_connect(signals[i].from, signals[i].name, p, signals[i].run, NULL);
}

/* ---- commands */

static void add(struct program *p, const char *jid)
{
	PurpleGroup *group = purple_group_new("Friends");
	PurpleBuddy *b = purple_buddy_new(p->account, jid, NULL);

	purple_blist_add_group(group, NULL);
	purple_blist_add_buddy(b, NULL, group, NULL);
	purple_account_add_buddy(p->account, b);
}

/* What a user types is HTML to libpurple. */
static void send_message(struct program *p, const char *to, const char *text)
{
	char *html = g_markup_escape_text(text, -1);

	serv_send_im(purple_account_get_connection(p->account), to, html, 0);
	g_free(html);
}

static void list(struct program *p)
{
	GSList *all = purple_find_buddies(p->account, NULL);

	say("listed %u", g_slist_length(all));
	g_slist_free(all);
}

static void run_command(struct program *p, char *line)
{
	char **word = g_strsplit(line, " ", 3); /* what, whom, text */
	guint n = g_strv_length(word);

	if (strcmp(line, "connect") == 0)
		purple_account_set_enabled(p->account, purple_core_get_ui(), TRUE);
	else if (strcmp(line, "disconnect") == 0)
		purple_account_set_enabled(p->account, purple_core_get_ui(), FALSE);
	else if (strcmp(line, "list") == 0)
		list(p);
	else if (strcmp(line, "quit") == 0)
		g_main_loop_quit(p->loop);
	else if (n == 2 && strcmp(word[0], "add") == 0)
		add(p, word[1]);
	else if (n == 3 && strcmp(word[0], "send") == 0)
		send_message(p, word[1], word[2]);
	else if (n == 2 && strcmp(word[0], "away") == 0)
		purple_account_set_status(p->account, "away", TRUE, "message", word[1], NULL);
	else
		say("unknown command: %s", line);
	g_strfreev(word);
}

static gboolean on_stdin(GIOChannel *channel, GIOCondition condition, gpointer data)
{
	struct program *p = data;
	char *line = NULL;

	(void)condition;
	if (g_io_channel_read_line(channel, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
		g_main_loop_quit(p->loop);
		return FALSE;
	}
	run_command(p, g_strchomp(line));
	g_free(line);
	return TRUE;
}

/* ---- the start */

static void make_account(struct program *p, char **argv)
{
	char *jid = g_strconcat(argv[2], "/pidgin", NULL);

	p->account = purple_account_new(jid, "prpl-jabber");
	g_free(jid);
	purple_account_set_password(p->account, argv[3]);
	purple_account_set_remember_password(p->account, TRUE);
	purple_account_set_string(p->account, "connect_server", "127.0.0.1");
	purple_account_set_int(p->account, "port", atoi(argv[4]));
	purple_account_set_string(p->account, "connection_security", argv[5] ? argv[5] : "require_tls");
	purple_accounts_add(p->account);
	purple_account_set_status(p->account, "available", TRUE, NULL);
}

int main(int argc, char **argv)
{
	struct program p = { 0 };

	if (argc < 5) {
		fputs("usage: purple DIR JID PASSWORD PORT [old_ssl]\n", stderr);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	p.loop = g_main_loop_new(NULL, FALSE);
	purple_util_set_user_dir(argv[1]);
	purple_debug_set_enabled(g_getenv("PURPLE_DEBUG") != NULL);
	purple_eventloop_set_ui_ops(&loop_ops);
	if (!purple_core_init("muster-test")) {
		fputs("libpurple does not start\n", stderr);
		return 2;
	}
	purple_request_set_ui_ops(&request_ops);
	purple_set_blist(purple_blist_new());
	listen(&p);
	if (!purple_find_prpl("prpl-jabber")) {
		fputs("libpurple has no XMPP protocol\n", stderr);
		return 2;
	}
	make_account(&p, argv);
	GIOChannel *in = g_io_channel_unix_new(0);
	g_io_add_watch(in, G_IO_IN | G_IO_HUP, on_stdin, &p);
	say("ready");
	g_main_loop_run(p.loop);
	purple_core_quit();
	return 0;
}

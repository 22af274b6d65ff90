/* ask.c - what only the person at the terminal can say: passwords, and whether he is sure.
 *
 * A password never stands on the command line, where every user of the machine could read it. */
#include "musterctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#define PASSWORD_MAX 1023 /* as jid.h has it */

/* ---- lines */

/* Reads up to the end of the line into `out` (size PASSWORD_MAX + 2), byte by byte: what is behind it is
 * not ours. False: nothing, or too long. */
static bool read_line(int fd, char *out)
{
	size_t n = 0;
	ssize_t got;

	while (n <= PASSWORD_MAX && (got = read(fd, out + n, 1)) == 1 && out[n] != '\n')
		n++;
	if (n > PASSWORD_MAX)
		return false;
	if (n && out[n - 1] == '\r')
		n--;
	out[n] = '\0';
	return n > 0;
}

/* ---- the terminal */

/* Asks at the terminal. While nothing is echoed a signal must not leave the terminal so: it waits until the
 * echo is on again. False: no answer. */
static bool ask(int tty, const char *prompt, bool is_secret, char *out)
{
	struct termios before, silent;
	sigset_t watched, mask;

	sigemptyset(&watched);
	sigaddset(&watched, SIGINT);
	sigaddset(&watched, SIGTERM);
	sigaddset(&watched, SIGHUP);
	sigaddset(&watched, SIGQUIT);
	sigaddset(&watched, SIGTSTP);
	sigprocmask(SIG_BLOCK, &watched, &mask);
	int signals = signalfd(-1, &watched, SFD_CLOEXEC);

	bool is_silent = is_secret && tcgetattr(tty, &before) == 0;
	if (is_silent) {
		silent = before;
		silent.c_lflag &= ~(tcflag_t)ECHO;
		tcsetattr(tty, TCSAFLUSH, &silent);
	}
	dprintf(tty, "%s", prompt);
	struct pollfd fds[] = { { .fd = tty, .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	bool has_line = poll(fds, 2, -1) > 0 && !fds[1].revents && read_line(tty, out);
	if (is_silent) {
		tcsetattr(tty, TCSAFLUSH, &before);
		dprintf(tty, "\n");
	}
	close(signals);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return has_line;
}

static int terminal_open(void)
{
	return open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
}

/* ---- passwords */

/* 20 of 32 letters and digits that are not mixed up when read aloud: 100 random bits. */
static bool make_password(struct call *c, char *out)
{
	static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
	unsigned char random[20];
	char *at = out;

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return complain(c, CONTROL_BROKEN, NULL, "The system gives no random numbers: %s.",
		                strerror(errno));
	for (size_t i = 0; i < sizeof(random); i++) {
		if (i && i % 5 == 0)
			*at++ = '-';
		*at++ = letters[random[i] % 32];
	}
	*at = '\0';
	explicit_bzero(random, sizeof(random));
	c->is_random_password = true;
	return true;
}

static bool read_password(struct call *c, const char *file, char *out)
{
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;

	if (fd < 0)
		return complain(c, CONTROL_USAGE, NULL, "%s cannot be read: %s.", file, strerror(errno));
	bool ok = read_line(fd, out);
	if (file)
		close(fd);
	if (!ok)
		complain(c, CONTROL_USAGE, "It must be the first line, of 1 to 1023 bytes.",
		         "There is no password in %s.", file ? file : "the standard input");
	return ok;
}

static bool ask_twice(struct call *c, char *out)
{
	int tty = terminal_open();

	if (tty < 0)
		return complain(c, CONTROL_USAGE, "Use --password-stdin, --password-file FILE or --random.",
		                "There is no terminal to ask for the password.");
	char again[PASSWORD_MAX + 2];
	char *prompt = mem_printf("Password for %s: ", c->words[0]);
	bool ok = ask(tty, prompt, true, out) && ask(tty, "The same again: ", true, again);
	mem_free(prompt);
	close(tty);
	if (!ok)
		complain(c, CONTROL_USAGE, NULL,
		         "A password of 1 to 1023 bytes is needed; nothing was changed.");
	else if (strcmp(out, again) != 0)
		ok = complain(c, CONTROL_USAGE, "Try again.",
		              "The two passwords differ; nothing was changed.");
	explicit_bzero(again, sizeof(again));
	return ok;
}

bool ask_password(struct call *c)
{
	char password[PASSWORD_MAX + 2];
	const char *file = call_flag(c, "--password-file");
	bool from_stdin = call_flag(c, "--password-stdin"), random = call_flag(c, "--random");

	if ((file != NULL) + from_stdin + random > 1)
		return complain(c, CONTROL_USAGE, "Take one of them.",
		                "--password-stdin, --password-file and --random exclude each other.");
	bool ok = random               ? make_password(c, password)
	          : file || from_stdin ? read_password(c, file, password)
	                               : ask_twice(c, password);
	if (ok && json_object_set_new(c->args, "password", json_string(password)) != 0)
		ok = complain(c, CONTROL_USAGE, NULL, "The password is no UTF-8 text.");
	explicit_bzero(password, sizeof(password));
	if (ok && call_flag(c, "--kick"))
		json_object_set_new(c->args, "kick", json_true());
	return ok;
}

/* ---- being sure */

bool ask_if_sure(struct call *c, const char *question)
{
	char answer[PASSWORD_MAX + 2] = "";

	if (call_flag(c, "--yes"))
		return true;
	int tty = terminal_open();
	if (tty < 0)
		return complain(c, CONTROL_USAGE, "Say --yes when you are sure.",
		                "There is no terminal to ask whether you are sure.");
	char *prompt = mem_printf("%s [y/N] ", question);
	bool is_yes = ask(tty, prompt, false, answer) && (answer[0] == 'y' || answer[0] == 'Y');
	mem_free(prompt);
	close(tty);
	return is_yes || complain(c, CONTROL_REFUSED, NULL, "Nothing was removed.");
}

bool ask_if_removed(struct call *c)
{
	char *question = mem_printf("Remove %s with all that is its own?", c->words[c->word_count - 1]);
	bool is_sure = ask_if_sure(c, question);

	mem_free(question);
	return is_sure;
}

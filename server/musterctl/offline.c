/* offline.c - where no server runs: starts a musterd that does nothing but serve this tool's
 * commands, on a pair of sockets. It takes the lock of a server, so both cannot be there at once. */
#include "musterctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANNOT_RUN 127

char *musterd_path(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	self[n > 0 ? n : 0] = '\0';
	char *slash = strrchr(self, '/');
	static const char *const places[] = { "musterd", "../sbin/musterd" };
	for (unsigned i = 0; slash && i < COUNT_OF(places); i++) {
		char *beside = mem_printf("%.*s/%s", (int)(slash - self), self, places[i]);

		if (access(beside, X_OK) == 0)
			return beside;
		mem_free(beside);
	}
	return mem_strdup(access(MUSTER_SBINDIR "/musterd", X_OK) == 0 ? MUSTER_SBINDIR "/musterd"
	                                                               : "musterd");
}

static void complain_program(struct call *c)
{
	complain(c, CONTROL_BROKEN, "Install it beside musterctl, or add its directory to PATH.",
	         "The program musterd cannot be run.");
}

/* In the child. It is no service: a manager that waits for one must not hear of it. Signals that are held are not
 * held from it. */
static void become_musterd(struct call *c, const char *program, int fd)
{
	char number[16];

	talk_release_signals(c);
	snprintf(number, sizeof(number), "%d", fd);
	int null = open("/dev/null", O_RDONLY);
	unsetenv("NOTIFY_SOCKET");
	if (null >= 0 && dup2(null, STDIN_FILENO) == STDIN_FILENO && fcntl(fd, F_SETFD, 0) == 0)
		execlp(program, program, "--config", talk_config(c), "--admin-fd", number,
		       c->verb && c->verb->is_database ? "--admin-database" : (char *)NULL, (char *)NULL);
	_exit(CANNOT_RUN);
}

void offline_start(struct call *c)
{
	int ends[2];
	char *program = musterd_path();

	c->fd = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		complain(c, CONTROL_BROKEN, NULL, "No sockets can be made: %s.", strerror(errno));
	} else if ((c->child = fork()) < 0) {
		c->child = 0;
		complain(c, CONTROL_BROKEN, NULL, "No process can be started: %s.", strerror(errno));
		close(ends[0]);
		close(ends[1]);
	} else if (c->child == 0) {
		become_musterd(c, program, ends[1]);
	} else {
		close(ends[1]);
		c->fd = ends[0];
	}
	mem_free(program);
}

bool offline_wait(struct call *c)
{
	int status = 0;
	pid_t child = c->child;

	c->child = 0;
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		continue;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != CANNOT_RUN)
		return true;
	complain_program(c);
	return false;
}

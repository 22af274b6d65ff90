/* slow_sync.c - LD_PRELOAD: each fsync and fdatasync takes SYNC_MS longer, as on a slower disk. Only for the benchmark
 * (muster.sh); the sync itself is made. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_disk(void)
{
	const char *ms = getenv("SYNC_MS");
	struct timespec t = { 0, (ms ? atol(ms) : 0) * 1000000 };

	while (nanosleep(&t, &t)) {
	}
}

int fsync(int fd)
{
	wait_for_disk();
	return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
	wait_for_disk();
	return (int)syscall(SYS_fdatasync, fd);
}

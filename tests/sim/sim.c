/* sim.c - many homes on one loop, under a clock and a chance of their own (design, section 9): the run,
 * and the main program. README says how to read what it prints.
 *
 *   tests/sim/sim [--seeds N] [--first SEED] [--long]   what is known, and one seed after the other: 50; 5000
 *                                                       with --long
 *   tests/sim/sim --seed SEED [--verbose]               one of them, with all that happens in it
 *   tests/sim/sim --known NAME [--verbose]              one of those in known.c */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hash.h"
#include "home.h"
#include "sim.h"

struct sim *sim;

/* ---- chance, and what is said about a run */

unsigned draw(unsigned below)
{
	sim->chance ^= sim->chance << 13;
	sim->chance ^= sim->chance >> 7;
	sim->chance ^= sim->chance << 17;
	return (unsigned)((sim->chance * UINT64_C(2685821657736338717) >> 33) % below);
}

void fail(const char *format, ...)
{
	va_list args;

	if (*sim->failure)
		return;
	va_start(args, format);
	vsnprintf(sim->failure, sizeof sim->failure, format, args);
	va_end(args);
	tell("FAILED: %s", sim->failure);
}

void tell(const char *format, ...)
{
	va_list args;

	if (!sim->is_verbose)
		return;
	printf("%6u ", sim->steps);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* ---- a run */

static void sim_begin(uint64_t seed, bool is_verbose)
{
	memset(sim, 0, sizeof *sim);
	memset(sim->at, -1, sizeof sim->at);
	sim->seed = seed;
	sim->chance = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	sim->server_chance = seed;
	sim->is_verbose = is_verbose;
	sim->now = INT64_C(1700000000000000);
	snprintf(sim->dir, sizeof sim->dir, "/tmp/muster-sim-XXXXXX");
	ASSERT(mkdtemp(sim->dir));
	for (unsigned n = 0; n < 8; n++) /* seeds that are neighbours begin alike */
		draw(2);
}

static void draw_profile(void)
{
	struct profile *p = &sim->profile;

	p->reactors = 1 + draw(SIM_REACTORS);
	p->shares = draw(4) != 0;
	p->has_faults = draw(4) != 0;
	p->has_spool = draw(2);
	p->has_kills = ONE_IN(3);
	p->has_blocks = ONE_IN(3);
	p->has_admin = ONE_IN(3);
	p->has_small_mailbox = ONE_IN(10);
	p->has_sm = draw(2);
	p->has_wishes = ONE_IN(3);
	p->has_copies = draw(2) && !p->has_wishes; /* what is not kept could not be looked for */
	tell("seed %llu: %u reactors%s%s%s%s%s%s%s%s%s%s", (unsigned long long)sim->seed, p->reactors,
	     p->shares ? ", shared transactions" : "", p->has_faults ? ", faults" : "",
	     p->has_spool ? ", spool" : "", p->has_kills ? ", kills" : "", p->has_blocks ? ", blocks" : "",
	     p->has_admin ? ", administrators" : "", p->has_small_mailbox ? ", small mailboxes" : "",
	     p->has_sm ? ", stream management" : "", p->has_wishes ? ", wishes" : "",
	     p->has_copies ? ", copies" : "");
}

static void run_epoch(void)
{
	sim->is_failing_now = sim->profile.has_faults || sim->profile.has_kills;
	while (sim->actions < EPOCH_ACTIONS && !*sim->failure) {
		action_any();
		for (unsigned n = draw(12); n > 0 && loop_step(); n--)
			;
	}
	sim->is_failing_now = false;
	loop_rest_for(2500);
	check_rest();
	memset(sim->touched, 0, sizeof sim->touched);
	sim->actions = 0;
	sim->epoch++;
}

static void come_back(void)
{
	loop_rest_for(8000);
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		struct play *p = client_at(i / SLOTS, i % SLOTS);

		if (!p || p->state == DEAD)
			client_connect(i / SLOTS, i % SLOTS);
	}
	loop_rest();
	for (unsigned i = 0; i < USERS * SLOTS; i++) {
		struct play *p = client_at(i / SLOTS, i % SLOTS);

		if (p->state == BOUND)
			action_come_back(p);
	}
	loop_rest_for(8000);
}

static void leave(void)
{
	for (unsigned i = 0; i < sim->play_count; i++)
		if (sim->plays[i].state != DEAD)
			client_die(&sim->plays[i]);
	loop_rest_for(15000);
	if (!*sim->failure)
		check_homes_gone();
	for (unsigned i = 0; i < world->reactor_count; i++)
		homes_sleep_all(world->reactors[i]);
	loop_rest();
	for (unsigned i = 0; i < sim->play_count; i++)
		managed_end(&sim->plays[i]);
}

/* From the start of the server to its end, whichever it is. */
static void live(void)
{
	tell("life %u", sim->life);
	loop_begin();
	world_begin();
	loop_rest(); /* what was on its way has arrived before anybody may come */
	if (sim->life > 1)
		check_lost();
	if (sim->known)
		sim->known->play();
	while (!sim->known && sim->epoch < EPOCHS && !*sim->failure)
		run_epoch();
	if (!*sim->failure)
		come_back();
	if (!*sim->failure)
		check_end();
	if (!*sim->failure)
		leave();
	sim->is_over = true;
	if (*sim->failure) { /* nothing is in a state in which it could end */
		fflush(stdout);
		_exit(1);
	}
	world_end();
	loop_end();
}

/* In a process of its own. */
static void run_life(void)
{
	int status;
	pid_t pid;

	sim->life++;
	sim->is_killed = sim->is_failing_now = false;
	client_forget_all();
	fflush(stdout);
	pid = fork();
	ASSERT(pid >= 0);
	if (pid == 0) {
		live();
		fflush(stdout);
		exit(0);
	}
	ASSERT(waitpid(pid, &status, 0) == pid);
	if (!sim->is_killed && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		fail("the server ended with %s %d", WIFSIGNALED(status) ? "signal" : "status",
		     WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* `name`: what makes it begin again. */
static bool run(const char *name)
{
	do
		run_life();
	while (sim->is_killed && !*sim->failure);
	if (*sim->failure && sim->is_verbose)
		printf("its database and spool are in %s\n", sim->dir);
	else
		world_remove_files();
	if (*sim->failure)
		printf("%s: %s; again with: tests/sim/sim --%s --verbose\n", name, sim->failure, name);
	else if (sim->is_verbose)
		printf("%s: %u messages, %u streams, %u lives, %u steps\n", name, sim->sent_count,
		       sim->play_count, sim->life, sim->steps);
	return !*sim->failure;
}

static bool run_seed(uint64_t seed, bool is_verbose)
{
	char name[32];

	sim_begin(seed, is_verbose);
	draw_profile();
	snprintf(name, sizeof name, "seed %llu", (unsigned long long)seed);
	return run(name);
}

static bool run_known(const struct known *k, bool is_verbose)
{
	char name[64];

	sim_begin(0, is_verbose);
	sim->known = k;
	sim->profile = (struct profile){ .reactors = k->reactors, .shares = true, .has_sm = k->has_sm };
	snprintf(name, sizeof name, "known %s", k->name);
	return run(name);
}

int main(int argc, char **argv)
{
	unsigned long long first = 1, seeds = 50, failed = 0, count = 0;
	const char *name = "";
	bool is_verbose = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0) {
			is_verbose = true;
		} else if (strcmp(argv[i], "--long") == 0) {
			seeds = 5000;
		} else if (i + 1 < argc && strcmp(argv[i], "--seeds") == 0) {
			seeds = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--first") == 0) {
			first = strtoull(argv[++i], NULL, 10);
		} else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0) {
			first = strtoull(argv[++i], NULL, 10);
			seeds = 1;
			name = NULL; /* none of those */
		} else if (i + 1 < argc && strcmp(argv[i], "--known") == 0) {
			name = argv[++i];
			seeds = 0;
		} else {
			fprintf(stderr, "usage: sim [--seeds N] [--first SEED] [--long]\n"
			                "       sim --seed SEED | --known NAME [--verbose]\n");
			return 2;
		}
	}
	sim = mmap(NULL, sizeof *sim, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT(sim != MAP_FAILED);
	setvbuf(stdout, NULL, _IOLBF, 0); /* in one order with the server's log */
	hash_seed(true);
	world_load_modules();
	for (const struct known *k = known; name && k->name; k++)
		if (!*name || strcmp(k->name, name) == 0) {
			failed += !run_known(k, is_verbose);
			count++;
		}
	for (unsigned long long i = 0; i < seeds; i++, count++)
		failed += !run_seed(first + i, is_verbose);
	printf("%llu passed, %llu failed\n", count - failed, failed);
	return failed > 0 || count == 0;
}

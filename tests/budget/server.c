/* server.c - musterd as tests/budget/run counts it: all of it but its main(), with a fixed key of the hash, so
 * that the same names lie in the same buckets in each run. musterd itself always draws its key. */
#include <stdio.h>
#include <string.h>

#include "hash.h"
#include "server.h"

int main(int argc, char **argv)
{
	if (argc != 3 || strcmp(argv[1], "--config") != 0) {
		fprintf(stderr, "usage: server --config FILE\n");
		return 2;
	}
	hash_seed(true);
	return server_run(argv[2]);
}

/* replay.c - runs a fuzz target over the files of its corpus, for builds without libFuzzer.
 *
 * tests/corpora calls the target with folders and files, exactly as it would call a libFuzzer binary;
 * options (-runs=0) mean nothing here. Each input is handed over in a block of its own size, so that
 * AddressSanitizer sees a read behind its end. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned replay_file(const char *path, size_t size)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data = mem_alloc(size + (size == 0));

	if (!file || fread(data, 1, size, file) != size) {
		fprintf(stderr, "%s: cannot be read\n", path);
		exit(1);
	}
	fclose(file);
	LLVMFuzzerTestOneInput(data, size);
	mem_free(data);
	return 1;
}

static unsigned replay(const char *path)
{
	struct stat st;
	struct dirent *entry;
	unsigned count = 0;

	if (stat(path, &st) != 0) {
		perror(path);
		exit(1);
	}
	if (!S_ISDIR(st.st_mode))
		return replay_file(path, (size_t)st.st_size);

	DIR *dir = opendir(path);
	if (!dir) {
		perror(path);
		exit(1);
	}
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		char *inner = mem_printf("%s/%s", path, entry->d_name);
		count += replay(inner);
		mem_free(inner);
	}
	closedir(dir);
	return count;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (int i = 1; i < argc; i++) {
		if (argv[i][0] != '-')
			count += replay(argv[i]);
	}
	printf("%u inputs\n", count);
	return count > 0 ? 0 : 1;
}

// Prints a variable of a commyfs service at every change:
//
//	cc -std=c11 -O2 -o watch watch.c && ./watch /run/user/1000/commyfs/service_3.mem temp
//
// SPDX-License-Identifier: MIT
#include "commyfs.h"

#include <stdio.h>

static char value[COMMYFS_MAX_VALUE];

int main(int argc, char **argv) {
	struct commyfs_file f;
	struct commyfs_var v;
	struct commyfs_meta meta;
	uint64_t last = 0;
	int r;
	if (argc != 3) {
		fprintf(stderr, "usage: watch FILE VARIABLE\n");
		return 2;
	}
	if ((r = commyfs_open(&f, argv[1], COMMYFS_PREAD))) {
		fprintf(stderr, "watch: %s: %s\n", argv[1], strerror(-r));
		return 1;
	}
	r = commyfs_find(&f, argv[2], &v);
	while (r >= 0 || r == -ENOENT || r == -ESTALE || r == -EAGAIN) { // what is not there may come
		r = commyfs_read(&f, &v, value, sizeof value, &meta);
		if (r == 0 && meta.version != last) {
			printf("%.*s\n", (int)meta.size, value);
			fflush(stdout);
			last = meta.version;
		}
		if (r == 0 || r == -ENOENT || r == -ESTALE || r == -EAGAIN) r = commyfs_wait(&f, -1);
	}
	fprintf(stderr, "watch: %s\n", strerror(-r));
	commyfs_close(&f);
	return 1;
}

// What the tests do with commyfs.h. check.rs does the same with commyfs.rs.
//
//	check list FILE...              one line per variable: slot id version mtime length name value; goes on after errors
//	check hammer FILE NAME READS    reads a value that tells whether it is whole, and finds READS of them to be so
//	check follow FILE NAME LAST     waits for changes until the value's number is LAST
//	check load FILE NAME            prints the value as a number of both kinds
//	check store FILE OFFSET SIZE N  stores N times the counter, in all bytes, at an offset of a bare service's file
//	check range FILE OFFSET SIZE    loads there, stores the same, and says whether that is possible
//	check grow FILE OFFSET          cannot store there, waits for a change, and can
//	check bell FILE OFFSET          prints the word there at every change, until it is 0
//	check wait FILE                 prints that it waits, then what the first change is
//
// PREAD in the environment: without mapping the file.
#include "../c/commyfs_bare.h"

#include <inttypes.h>
#include <stdio.h>

static char value[COMMYFS_MAX_VALUE + 1];
static struct commyfs_file f; // which those that fail leave open

static int fail(const char *what, int r) {
	printf("%s: %s\n", what, strerror(-r));
	return 1;
}

// The number of a sealed value: its first word, from which its length and its other bytes follow. 0: it is torn.
static uint64_t sealed(const char *b, size_t size) {
	uint64_t n;
	if (size < sizeof n) return 0;
	memcpy(&n, b, sizeof n);
	if (size != 8 + n * 7919 % 6000) return 0;
	for (size_t i = 8; i < size; i++)
		if ((uint8_t)b[i] != (uint8_t)(n + i)) return 0;
	return n;
}

static int list(const char *path, int flags) {
	struct commyfs_var v;
	struct commyfs_meta meta;
	uint32_t slot = 0;
	int r = commyfs_open(&f, path, flags), errors = 0;
	if (r) return fail("open", r);
	printf("service %" PRIu64 " generation %" PRIu64 " state %d store %02x%02x%02x\n", f.service, f.generation, commyfs_state(&f),
	       f.store[0], f.store[1], f.store[2]);
	while ((r = commyfs_next(&f, &slot, &v)) != -ENOENT) {
		if (r == 0) r = commyfs_read(&f, &v, value, COMMYFS_MAX_VALUE, &meta);
		if (r) {
			errors |= fail("read", r);
			if (r != -EBADMSG) break; // an entry that does not hold still takes a while
			continue;
		}
		value[meta.size] = 0;
		printf("%" PRIu32 " %" PRIu64 " %" PRIu64 " %" PRId64 " %zu %s %s\n", v.slot, v.id, meta.version, meta.mtime, meta.size, v.name, value);
	}
	if ((r = commyfs_find(&f, "name", &v)) && r != -ENOENT) errors |= fail("find", r);
	if ((r = commyfs_wait(&f, 1)) < 0) errors |= fail("wait", r);
	commyfs_close(&f);
	return errors;
}

static int hammer(const char *path, const char *name, long reads, int flags) {
	struct commyfs_var v;
	struct commyfs_meta meta;
	uint64_t n, last = 0, version = 0, generation;
	long values = 0, files = 1, retries = 0;
	int r = commyfs_open(&f, path, flags);
	if (r || (r = commyfs_find(&f, name, &v))) return fail("open", r);
	generation = f.generation;
	for (long i = 0; i < reads;) {
		r = commyfs_read(&f, &v, value, sizeof value, &meta);
		if (r == -EAGAIN) {
			retries++;
			continue;
		}
		if (r) return fail("read", r);
		if ((n = sealed(value, meta.size)) == 0) return fail("torn", 0);
		if (n < last || meta.version < version) return fail("went back", 0);
		values += n != last, files += f.generation != generation, i++;
		last = n, version = meta.version, generation = f.generation;
	}
	printf("whole %ld values %ld files %ld retries %ld\n", reads, values, files, retries);
	commyfs_close(&f);
	return 0;
}

static int follow(const char *path, const char *name, uint64_t last, int flags) {
	struct commyfs_var v;
	struct commyfs_meta meta;
	uint64_t n = 0;
	long changes = 0;
	int r = commyfs_open(&f, path, flags);
	if (r) return fail("open", r);
	r = commyfs_find(&f, name, &v);
	while (n != last) {
		r = commyfs_read(&f, &v, value, sizeof value, &meta);
		if (r == 0 && (n = sealed(value, meta.size)) == 0) return fail("torn", 0);
		if (r && r != -ENOENT && r != -ESTALE) return fail("read", r);
		if (n == last) break;
		if ((r = commyfs_wait(&f, 60000)) < 0) return fail("wait", r);
		if (r == 0) return fail("no change", 0);
		changes++;
	}
	printf("saw %" PRIu64 " woken %ld\n", n, changes);
	commyfs_close(&f);
	return 0;
}

static int load(const char *path, const char *name, int flags) {
	struct commyfs_var v;
	uint64_t u;
	double d;
	int r = commyfs_open(&f, path, flags);
	if (r || (r = commyfs_find(&f, name, &v))) return fail("open", r);
	if ((r = commyfs_load_u64(&f, &v, &u)) || (r = commyfs_load_f64(&f, &v, &d))) return fail("load", r);
	printf("%" PRIu64 " %g\n", u, d);
	commyfs_close(&f);
	return 0;
}

static int wait_once(const char *path, int flags) {
	int r = commyfs_open(&f, path, flags);
	if (r) return fail("open", r);
	printf("waits\n");
	fflush(stdout);
	r = commyfs_wait(&f, 60000);
	printf("wait %d state %d\n", r, commyfs_state(&f));
	commyfs_close(&f);
	return r < 0;
}

static struct commyfs_bare b;

static int store(const char *path, uint64_t off, size_t size, long n) {
	int r = commyfs_bare_open(&b, path);
	if (r) return fail("open", r);
	for (long i = 1; i <= n; i++) {
		memset(value, (int)i, size);
		if ((r = commyfs_bare_store(&b, off, value, size))) return fail("store", r);
	}
	commyfs_bare_close(&b);
	return 0;
}

static int range(const char *path, uint64_t off, size_t size) {
	int r = commyfs_bare_open(&b, path);
	if (r) return fail("open", r);
	if ((r = commyfs_bare_load(&b, off, value, size)) || (r = commyfs_bare_store(&b, off, value, size))) return fail("range", r);
	if ((r = commyfs_bare_wait(&b, 1)) < 0) return fail("wait", r);
	printf("possible\n");
	commyfs_bare_close(&b);
	return 0;
}

static int grow(const char *path, uint64_t off) {
	int r = commyfs_bare_open(&b, path);
	if (r) return fail("open", r);
	if (commyfs_bare_store(&b, off, "grown up", 8) != -ERANGE) return fail("it is large", 0);
	if ((r = commyfs_bare_wait(&b, 60000)) != 1) return fail("wait", r);
	if ((r = commyfs_bare_store(&b, off, "grown up", 8))) return fail("store", r);
	commyfs_bare_close(&b);
	return 0;
}

static int bell(const char *path, uint64_t off) {
	uint64_t w;
	int r = commyfs_bare_open(&b, path);
	if (r) return fail("open", r);
	do {
		if ((r = commyfs_bare_load(&b, off, &w, sizeof w))) return fail("load", r);
		printf("%" PRIu64 "\n", w);
		fflush(stdout);
	} while (w && (r = commyfs_bare_wait(&b, 60000)) == 1);
	commyfs_bare_close(&b);
	return w ? fail("wait", r) : 0;
}

int main(int argc, char **argv) {
	const int flags = getenv("PREAD") ? COMMYFS_PREAD : 0;
	int r = 0;
	if (argc >= 3 && !strcmp(argv[1], "list")) {
		for (int i = 2; i < argc; i++) r |= list(argv[i], flags);
		return r;
	}
	if (argc == 5 && !strcmp(argv[1], "hammer")) return hammer(argv[2], argv[3], atol(argv[4]), flags);
	if (argc == 5 && !strcmp(argv[1], "follow")) return follow(argv[2], argv[3], strtoull(argv[4], NULL, 10), flags);
	if (argc == 4 && !strcmp(argv[1], "load")) return load(argv[2], argv[3], flags);
	if (argc == 6 && !strcmp(argv[1], "store")) return store(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), atol(argv[5]));
	if (argc == 5 && !strcmp(argv[1], "range")) return range(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
	if (argc == 4 && !strcmp(argv[1], "grow")) return grow(argv[2], strtoull(argv[3], NULL, 10));
	if (argc == 4 && !strcmp(argv[1], "bell")) return bell(argv[2], strtoull(argv[3], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "wait")) return wait_once(argv[2], flags);
	return 2;
}

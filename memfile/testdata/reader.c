// A reader of commyfs memory files in C, after docs/memfile.md.
//   reader FILE              one line per variable: slot id version mtime length name value
//   reader FILE SLOT ID N    reads the variable N times and counts the reads whose bytes are not all the same
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct header {
	char magic[8];
	uint32_t layout, header_size;
	uint64_t generation, service;
	uint8_t store[16];
	uint64_t file_size, dir;
	uint32_t entry_size, slots;
	uint64_t names, names_size, values, values_size;
	uint8_t reserved[24];
	uint32_t state, used;
};

struct entry {
	uint64_t seq, id, version;
	int64_t mtime;
	uint64_t value;
	uint32_t length, capacity;
	uint64_t name;
	uint32_t name_length, flags;
};

_Static_assert(sizeof(struct header) == 136 && sizeof(struct entry) == 64, "layout");

static const uint8_t *file;
static size_t size;

static void die(const char *why) { fprintf(stderr, "reader: %s\n", why); exit(1); }

enum { OK, NO_ENTRY, SUPERSEDED, CORRUPT, TORN };

static int inside(uint64_t off, uint64_t n) { return off <= size && n <= size - off; }

// Copies entry, name and value (with a zero byte behind each). id 0 takes whatever is there.
static int read_slot(uint32_t slot, uint64_t id, struct entry *out, char **name, uint8_t **value) {
	const struct header *h = (const void *)file;
	if (slot >= __atomic_load_n(&h->used, __ATOMIC_ACQUIRE) || slot >= h->slots) return NO_ENTRY;
	const struct entry *e = (const void *)(file + h->dir + (uint64_t)slot * sizeof *e);
	for (int tries = 0; tries < 100000000; tries++) {
		uint64_t seq = __atomic_load_n(&e->seq, __ATOMIC_ACQUIRE);
		if (seq & 1) continue;
		int err = OK;
		const volatile uint64_t *words = (const volatile void *)e;
		for (int i = 0; i < 8; i++) ((uint64_t *)out)[i] = words[i];
		if (out->id == 0 || (id != 0 && out->id != id)) err = NO_ENTRY;
		else if (!inside(out->value, out->length) || !inside(out->name, out->name_length)) err = CORRUPT;
		else {
			*value = realloc(*value, (size_t)out->length + 1);
			*name = realloc(*name, (size_t)out->name_length + 1);
			if (!*value || !*name) die("out of memory");
			memcpy(*value, file + out->value, out->length);
			memcpy(*name, file + out->name, out->name_length);
			(*value)[out->length] = 0, (*name)[out->name_length] = 0;
		}
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&e->seq, __ATOMIC_RELAXED) != seq) continue;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&h->state, __ATOMIC_RELAXED) == 2) return SUPERSEDED;
		return err;
	}
	return TORN;
}

int main(int argc, char **argv) {
	if (argc != 2 && argc != 5) die("usage: reader FILE [SLOT ID N]");
	int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) || st.st_size < 4096) die("no memory file");
	size = (size_t)st.st_size;
	file = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED) die("mmap");
	close(fd);
	const struct header *h = (const void *)file;
	if (memcmp(h->magic, "COMMYMEM", 8) || h->layout != 1 || h->entry_size != 64 || h->file_size != size ||
	    h->dir % 64 || !inside(h->dir, (uint64_t)h->slots * 64))
		die("corrupt header");

	struct entry e;
	char *name = NULL;
	uint8_t *value = NULL;
	if (argc == 5) {
		uint32_t slot = (uint32_t)strtoul(argv[2], NULL, 10);
		uint64_t id = strtoull(argv[3], NULL, 10);
		long torn = 0, reads = strtol(argv[4], NULL, 10), versions = 0;
		uint64_t last = 0;
		for (long i = 0; i < reads; i++) {
			if (read_slot(slot, id, &e, &name, &value) != OK) die("cannot read");
			if (e.version < last) die("went back");
			versions += e.version != last;
			last = e.version;
			for (uint32_t k = 1; k < e.length; k++)
				if (value[k] != value[0]) { torn++; break; }
		}
		printf("torn %ld several %d\n", torn, versions > 1);
		return 0;
	}
	printf("service %llu generation %llu state %u store %02x%02x%02x\n", (unsigned long long)h->service,
	       (unsigned long long)h->generation, h->state, h->store[0], h->store[1], h->store[2]);
	for (uint32_t slot = 0; slot < h->used; slot++) {
		switch (read_slot(slot, 0, &e, &name, &value)) {
		case OK:
			printf("%u %llu %llu %lld %u %s %s\n", slot, (unsigned long long)e.id, (unsigned long long)e.version,
			       (long long)e.mtime, e.length, name, (char *)value);
		case NO_ENTRY:
			break;
		default:
			die("cannot read");
		}
	}
	return 0;
}

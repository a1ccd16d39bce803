// commyfs.h: read the memory file of a commyfs service, and store into the file of a bare service. One header, C11 or C++17, Linux,
// 64-bit little-endian, gcc or clang, nothing to link. The layouts are in docs/memfile.md. See watch.c for a whole program.
//
// SPDX-License-Identifier: MIT
//
//	struct commyfs_file f;
//	struct commyfs_var temp;
//	double value;
//	if (commyfs_open(&f, path, 0) == 0 && commyfs_find(&f, "temp", &temp) == 0)
//		do
//			if (commyfs_load_f64(&f, &temp, &value) == 0) printf("%g\n", value);
//		while (commyfs_wait(&f, -1) >= 0);
//
// Functions return 0 or more, or a negative errno:
//
//	-ENOENT    there is no such variable (or, of an open, no file)
//	-ESTALE    the server keeps no such file any more: ask it for the path again
//	-EAGAIN    the entry does not hold still: its writer was killed, or stands still, in the middle of a write
//	-EMSGSIZE  the value has another size than asked for, or is larger than the buffer
//	-EBADMSG   the file is corrupt, was cut short, or is none
//
// When the server puts another file in the place of the one that is open, or another server does, functions go on with that
// by themselves, and a variable is found in it by its id, then by its name. Nothing in a file is trusted.
//
// A struct is for one thread at a time; threads open the same path as often as they like.
#ifndef COMMYFS_H
#define COMMYFS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__GLIBC__) && !defined(__USE_GNU)
#error "include commyfs.h before other headers, or compile with -D_GNU_SOURCE"
#endif
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || !defined(__LP64__)
#error "commyfs.h is for 64-bit little-endian machines"
#endif

// A flag of commyfs_open. A file that another process of the same user cuts short raises SIGBUS in who has it mapped. With this flag
// it is read with pread(2) instead, at some system calls for each value, and such a file is only an error.
#define COMMYFS_PREAD 1

#define COMMYFS_MAX_NAME 4096
#define COMMYFS_MAX_VALUE (16u << 20)
#define COMMYFS_MAX_SLOTS (1u << 26)

enum { COMMYFS_LIVE = 1, COMMYFS_SUPERSEDED = 2, COMMYFS_CLOSED = 3 };

struct commyfs_file {
	char *path;
	int flags, fd; // fd only with COMMYFS_PREAD
	uint8_t *map;
	size_t mapped;
	uint64_t generation, service, dir, names, names_size, values, values_size;
	uint8_t store[16];
	uint32_t slots, seen; // seen: the number of changes that commyfs_wait has told of
	int moved;            // to another file, of which commyfs_wait has not told
	dev_t dev;
	ino_t ino;
};

struct commyfs_var {
	uint64_t id, generation, named;
	uint32_t slot;
	int missing; // was not in the file of this generation when its names were as of named
	char name[COMMYFS_MAX_NAME + 1];
};

struct commyfs_meta {
	uint64_t version;
	int64_t mtime; // Unix nanoseconds
	size_t size;
};

// The following, up to commyfs_open, is for the functions below only.

#define COMMYFS__FENCE() __atomic_thread_fence(__ATOMIC_ACQUIRE)

// Others change the bytes at the same time: to C that is a race unless all loads are atomic. Whole words are as fast as memcpy for
// small values.
static inline void commyfs__copy(void *to, const uint8_t *from, size_t n) {
	uint8_t *t = (uint8_t *)to;
	for (; n > 0 && ((uintptr_t)from & 7) != 0; n--) *t++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
	for (; n >= 8; n -= 8, t += 8, from += 8) {
		uint64_t w = __atomic_load_n((const uint64_t *)(const void *)from, __ATOMIC_RELAXED);
		memcpy(t, &w, 8);
	}
	for (; n > 0; n--) *t++ = __atomic_load_n(from++, __ATOMIC_RELAXED);
}

static inline int commyfs__pread(int fd, uint64_t off, void *to, size_t n) {
	while (n > 0) {
		ssize_t k = pread(fd, to, n, (off_t)off);
		if (k < 0 && errno == EINTR) continue;
		if (k <= 0) return k < 0 ? -errno : -EBADMSG;
		to = (uint8_t *)to + k, off += (uint64_t)k, n -= (size_t)k;
	}
	return 0;
}

static inline int commyfs__get(const struct commyfs_file *f, uint64_t off, void *to, size_t n) {
	if (f->fd >= 0) return commyfs__pread(f->fd, off, to, n);
	commyfs__copy(to, f->map + off, n);
	return 0;
}

static inline uint64_t commyfs__now(void) { // milliseconds
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline int commyfs__futex(uint32_t *word, int op, uint32_t value, uint64_t ms) {
	struct timespec t;
	t.tv_sec = (time_t)(ms / 1000), t.tv_nsec = (long)(ms % 1000) * 1000000;
	return syscall(SYS_futex, word, op, value, op == FUTEX_WAIT ? &t : NULL, NULL, 0) < 0 ? -errno : 0;
}

static inline int commyfs__within(uint64_t off, uint64_t n, uint64_t from, uint64_t size) {
	return off >= from && off - from <= size && n <= size - (off - from);
}

// Waits a little and says whether to try again: a write takes microseconds, so after 100 ms its writer is dead or stopped.
static inline int commyfs__patience(unsigned tries, uint64_t *deadline) {
	struct timespec nap = {0, 50000};
	if (tries < 32) return 1;
	if (*deadline == 0) *deadline = commyfs__now() + 100;
	if (tries < 256) sched_yield();
	else nanosleep(&nap, NULL);
	return commyfs__now() < *deadline;
}

// What commyfs__look is to look for, and what it has found.
struct commyfs__search {
	uint64_t id;     // 0: any
	size_t name_len; // SIZE_MAX: any
	char *name;      // room for a name and a 0, or NULL
	void *value;     // room for cap bytes, or NULL
	size_t cap;
	uint64_t deadline;
	uint64_t e[8]; // the entry
};

static inline struct commyfs__search commyfs__searching(uint64_t id) {
	struct commyfs__search l;
	memset(&l, 0, sizeof l);
	l.id = id, l.name_len = SIZE_MAX;
	return l;
}

// Checks the entry and copies what is wanted, all of which counts only if the sequence is the same after that.
static inline int commyfs__take(const struct commyfs_file *f, struct commyfs__search *l) {
	uint32_t length = (uint32_t)l->e[5], capacity = (uint32_t)(l->e[5] >> 32), name_len = (uint32_t)l->e[7];
	int r = 0;
	if (l->e[1] == 0 || (l->id != 0 && l->e[1] != l->id)) return -ENOENT;
	if (length > capacity || length > COMMYFS_MAX_VALUE || !commyfs__within(l->e[4], capacity, f->values, f->values_size) ||
	    name_len > COMMYFS_MAX_NAME || !commyfs__within(l->e[6], name_len, f->names, f->names_size))
		return -EBADMSG;
	if (l->name_len != SIZE_MAX && l->name_len != name_len) return -ENOENT;
	if (l->name) r = commyfs__get(f, l->e[6], l->name, name_len), l->name[name_len] = 0;
	if (r || !l->value) return r;
	return length > l->cap ? -EMSGSIZE : commyfs__get(f, l->e[4], l->value, length);
}

static inline int commyfs__look(const struct commyfs_file *f, uint32_t slot, struct commyfs__search *l) {
	const uint64_t at = f->dir + (uint64_t)slot * 64;
	uint64_t seq, again;
	uint32_t used, state;
	int r, err = commyfs__get(f, 132, &used, 4);
	if (err) return err;
	COMMYFS__FENCE();
	r = slot < used && slot < f->slots ? 0 : -ENOENT;
	for (unsigned tries = 0; r == 0; tries++) {
		if ((err = commyfs__get(f, at, &seq, 8))) return err;
		COMMYFS__FENCE();
		if (!(seq & 1)) {
			if ((err = commyfs__get(f, at, l->e, 64))) return err;
			r = commyfs__take(f, l);
			COMMYFS__FENCE();
			if ((err = commyfs__get(f, at, &again, 8))) return err;
			if (again == seq) break;
		}
		r = 0;
		if (!commyfs__patience(tries, &l->deadline)) return -EAGAIN;
	}
	COMMYFS__FENCE();
	if ((err = commyfs__get(f, 128, &state, 4))) return err;
	if (state == COMMYFS_SUPERSEDED) return -ESTALE;
	return state == COMMYFS_LIVE || state == COMMYFS_CLOSED ? r : -EBADMSG;
}

static inline void commyfs__release(struct commyfs_file *f) {
	if (f->map) munmap(f->map, f->mapped);
	if (f->fd >= 0) close(f->fd);
	f->map = NULL, f->fd = -1;
}

static inline uint64_t commyfs__word(const uint8_t *b, size_t off, size_t n) {
	uint64_t w = 0;
	memcpy(&w, b + off, n);
	return w;
}

// Opens what is to be mapped: no link, and no FIFO or device, which could block. It can meet the server asking the kernel who has
// a bare service's file open, which takes a moment.
static inline int commyfs__regular(const char *path, int mode, struct stat *st) {
	int r = 0, fd = -1;
	for (int i = 0; fd < 0 && i < 1000; i++) {
		if (i) usleep(1000);
		fd = open(path, mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0 && errno != EWOULDBLOCK) break;
	}
	if (fd < 0) return -errno;
	if (fstat(fd, st)) r = -errno;
	else if (!S_ISREG(st->st_mode) || st->st_size < 4096) r = -EBADMSG;
	if (r) close(fd);
	return r ? r : fd;
}

// Opens the file at f->path. Everything that is relied upon later is checked here.
static inline int commyfs__attach(struct commyfs_file *f) {
	uint8_t h[4096];
	struct stat st;
	uint64_t size;
	int r, fd = commyfs__regular(f->path, O_RDONLY, &st);
	f->map = NULL, f->fd = -1;
	if (fd < 0) return fd;
	if ((r = commyfs__pread(fd, 0, h, sizeof h))) goto out;
	size = (uint64_t)st.st_size;
	f->generation = commyfs__word(h, 16, 8), f->service = commyfs__word(h, 24, 8), memcpy(f->store, h + 32, 16);
	f->dir = commyfs__word(h, 56, 8), f->slots = (uint32_t)commyfs__word(h, 68, 4);
	f->names = commyfs__word(h, 72, 8), f->names_size = commyfs__word(h, 80, 8);
	f->values = commyfs__word(h, 88, 8), f->values_size = commyfs__word(h, 96, 8);
	f->dev = st.st_dev, f->ino = st.st_ino;
	r = -EBADMSG;
	if (memcmp(h, "COMMYMEM", 8) || commyfs__word(h, 8, 4) != 1 || commyfs__word(h, 12, 4) != 4096 ||
	    commyfs__word(h, 48, 8) != size || commyfs__word(h, 64, 4) != 64 || f->dir % 64 || f->slots > COMMYFS_MAX_SLOTS ||
	    !commyfs__within(f->dir, (uint64_t)f->slots * 64, 4096, size - 4096) ||
	    !commyfs__within(f->names, f->names_size, 4096, size - 4096) ||
	    !commyfs__within(f->values, f->values_size, 4096, size - 4096))
		goto out;
	f->mapped = f->flags & COMMYFS_PREAD ? 4096 : (size_t)size; // the futex is in the header, and only the kernel looks at it
	f->map = (uint8_t *)mmap(NULL, f->mapped, PROT_READ, MAP_SHARED, fd, 0);
	if (f->map == MAP_FAILED) {
		r = -errno, f->map = NULL;
		goto out;
	}
	if (f->flags & COMMYFS_PREAD) f->fd = fd, fd = -1;
	if ((r = commyfs__get(f, 144, &f->seen, 4))) commyfs__release(f);
out:
	if (fd >= 0) close(fd);
	return r;
}

// Goes over to the file that is now at the path. 0: there is none, or it is the same.
static inline int commyfs__follow(struct commyfs_file *f) {
	struct stat st;
	struct commyfs_file next = *f;
	if (lstat(f->path, &st) || (st.st_dev == f->dev && st.st_ino == f->ino) || commyfs__attach(&next)) return 0;
	if (next.service != f->service || memcmp(next.store, f->store, 16)) {
		commyfs__release(&next);
		return 0;
	}
	commyfs__release(f);
	*f = next;
	f->moved = 1;
	return 1;
}

// Finds the slot of an id, or of v->name if it is 0.
static inline int commyfs__scan(struct commyfs_file *f, uint64_t id, struct commyfs_var *v) {
	char name[COMMYFS_MAX_NAME + 1];
	struct commyfs__search l = commyfs__searching(id);
	int r = -ENOENT;
	uint32_t used;
	if (id == 0) l.name_len = strlen(v->name), l.name = name;
	if ((r = commyfs__get(f, 132, &used, 4))) return r;
	for (uint32_t slot = 0; slot < f->slots && slot < used; slot++) {
		r = commyfs__look(f, slot, &l);
		if (r == -ENOENT || (r == 0 && id == 0 && memcmp(name, v->name, l.name_len))) continue;
		if (r == 0) v->slot = slot, v->id = l.e[1], v->generation = f->generation, v->missing = 0;
		return r;
	}
	return -ENOENT;
}

// Finds a variable again that is not in its slot. It keeps its slot in one file and the following ones of the same server.
static inline int commyfs__again(struct commyfs_file *f, struct commyfs_var *v) {
	uint64_t named;
	int r = commyfs__get(f, 136, &named, 8);
	if (r) return r;
	COMMYFS__FENCE();
	if (v->missing && v->generation == f->generation && v->named == named) return -ENOENT;
	r = v->id && v->generation != f->generation ? commyfs__scan(f, v->id, v) : -ENOENT;
	if (r == -ENOENT) r = commyfs__scan(f, 0, v);
	if (r == -ENOENT) v->missing = 1, v->generation = f->generation, v->named = named;
	return r;
}

// Opens the memory file at path, which is the server's answer to GetServiceFilePath. flags: 0 or COMMYFS_PREAD.
static inline int commyfs_open(struct commyfs_file *f, const char *path, int flags) {
	int r;
	memset(f, 0, sizeof *f);
	f->fd = -1, f->flags = flags, f->path = strdup(path);
	if (!f->path) return -ENOMEM;
	if ((r = commyfs__attach(f))) free(f->path), f->path = NULL;
	return r;
}

static inline void commyfs_close(struct commyfs_file *f) {
	commyfs__release(f);
	free(f->path);
	f->path = NULL;
}

static inline int commyfs_state(const struct commyfs_file *f) {
	uint32_t state;
	int r = commyfs__get(f, 128, &state, 4);
	return r ? r : (int)(state & INT_MAX);
}

// Finds a variable by its name, the path inside the service. It looks at every entry, so keep what it has found. If there is none
// now, commyfs_read can be called all the same, and finds it when there is.
static inline int commyfs_find(struct commyfs_file *f, const char *name, struct commyfs_var *v) {
	int r = -ESTALE;
	memset(v, 0, sizeof *v);
	if (strlen(name) > COMMYFS_MAX_NAME) return -ENAMETOOLONG;
	strcpy(v->name, name);
	for (int tries = 0; tries < 16; tries++) {
		r = commyfs__scan(f, 0, v);
		if (r != -ESTALE || !commyfs__follow(f)) break;
	}
	return r;
}

// Finds the first variable in *slot or behind it, and counts *slot on. -ENOENT: there are no more.
static inline int commyfs_next(struct commyfs_file *f, uint32_t *slot, struct commyfs_var *v) {
	struct commyfs__search l = commyfs__searching(0);
	uint32_t used;
	int r;
	memset(v, 0, sizeof *v);
	l.name = v->name;
	while ((r = commyfs__get(f, 132, &used, 4)) == 0 && *slot < used && *slot < f->slots) {
		r = commyfs__look(f, *slot, &l);
		if (r == -ESTALE && commyfs__follow(f)) continue;
		if (r != -ENOENT) v->slot = (*slot)++, v->id = l.e[1], v->generation = f->generation;
		if (r != -ENOENT) return r;
		++*slot;
	}
	return r ? r : -ENOENT;
}

// Copies a value, and says what it is in *meta, which may be NULL. If the buffer is too small, *meta has the size.
static inline int commyfs_read(struct commyfs_file *f, struct commyfs_var *v, void *buf, size_t cap, struct commyfs_meta *meta) {
	for (int tries = 0; tries < 16; tries++) {
		struct commyfs__search l = commyfs__searching(v->id);
		int r;
		l.value = buf, l.cap = cap;
		r = v->id == 0 || v->missing ? -ENOENT : commyfs__look(f, v->slot, &l);
		if (r == -ENOENT && (r = commyfs__again(f, v)) == 0) continue;
		if (r == -ESTALE && commyfs__follow(f)) continue;
		if (r == 0 || r == -EMSGSIZE) v->generation = f->generation;
		if (meta && (r == 0 || r == -EMSGSIZE))
			meta->version = l.e[2], meta->mtime = (int64_t)l.e[3], meta->size = (uint32_t)l.e[5];
		return r;
	}
	return -EAGAIN;
}

static inline int commyfs_load_u64(struct commyfs_file *f, struct commyfs_var *v, uint64_t *out) {
	struct commyfs_meta meta;
	int r = commyfs_read(f, v, out, sizeof *out, &meta);
	return r == 0 && meta.size != sizeof *out ? -EMSGSIZE : r;
}

static inline int commyfs_load_f64(struct commyfs_file *f, struct commyfs_var *v, double *out) {
	uint64_t bits;
	int r = commyfs_load_u64(f, v, &bits);
	if (r == 0) memcpy(out, &bits, sizeof *out);
	return r;
}

// Waits until something in the service may have changed since the last call, or since the open: then read again what is of interest.
// 1: it has, 0: not within timeout_ms; -1 is no limit. While the server keeps no file it waits for the next one.
static inline int commyfs_wait(struct commyfs_file *f, int timeout_ms) {
	const uint64_t end = timeout_ms < 0 ? UINT64_MAX : commyfs__now() + (uint64_t)timeout_ms;
	for (;;) {
		uint32_t state, changes;
		uint64_t now, step;
		int r = commyfs__get(f, 144, &changes, 4);
		COMMYFS__FENCE();
		if (r == 0) r = commyfs__get(f, 128, &state, 4);
		if (r == 0 && state == COMMYFS_SUPERSEDED) commyfs__follow(f);
		if (r == 0 && !f->moved && changes == f->seen) {
			if ((now = commyfs__now()) >= end) return 0;
			// Nobody wakes who waits at the file of a server that was killed or has gone: look for the next one.
			step = state == COMMYFS_LIVE ? 500 : 20;
			if (step > end - now) step = end - now;
			r = commyfs__futex((uint32_t *)(void *)(f->map + 144), FUTEX_WAIT, changes, step);
			if (r == -ETIMEDOUT) commyfs__follow(f);
			if (r != -EFAULT) continue;
		}
		if (r && !commyfs__follow(f)) return r == -EFAULT ? -EBADMSG : r; // cut short
		if (!f->moved) f->seen = changes;
		f->moved = 0;
		return 1;
	}
}

#endif

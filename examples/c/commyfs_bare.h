// commyfs_bare.h: store into the file of a bare service, and ring its bell, so that the server looks at once and only where it must.
// For C11 or C++17, together with commyfs.h, whose conventions are the same. The layout of the bell is in docs/bare.md.
//
// SPDX-License-Identifier: MIT
//
//	struct commyfs_bare b;
//	uint64_t n = 1;
//	if (commyfs_bare_open(&b, "/var/lib/commyfs/bare/service_3.mem") == 0) commyfs_bare_store(&b, 64, &n, sizeof n);
//
// The file has to be mapped, so a process of the same user that makes it shorter raises SIGBUS here; the server does not.
#ifndef COMMYFS_BARE_H
#define COMMYFS_BARE_H

#include "commyfs.h"

#include <stdio.h>

struct commyfs_bare {
	int fd;
	uint8_t *mem, *bell;
	uint64_t size, bell_size, bitmap, pages;
	uint32_t seen; // the number of changes that commyfs_bare_wait has told of
};

static inline void commyfs_bare_close(struct commyfs_bare *b) {
	if (b->mem) munmap(b->mem, b->size);
	if (b->bell) munmap(b->bell, b->bell_size);
	if (b->fd >= 0) close(b->fd);
	b->mem = b->bell = NULL, b->fd = -1;
}

static inline uint32_t *commyfs_bare__word(const struct commyfs_bare *b, size_t off) { return (uint32_t *)(void *)(b->bell + off); }

static inline int commyfs_bare__map(int fd, uint64_t size, uint8_t **to) {
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) return -errno;
	*to = (uint8_t *)p;
	return 0;
}

// Opens the file at path, service_N.mem, and the bell beside it, service_N.bell.
static inline int commyfs_bare_open(struct commyfs_bare *b, const char *path) {
	char bell[PATH_MAX];
	struct stat st;
	size_t n = strlen(path);
	uint64_t bytes;
	int r;
	memset(b, 0, sizeof *b);
	b->fd = -1;
	if (n < 4 || n >= sizeof bell - 1 || strcmp(path + n - 4, ".mem")) return -EINVAL;
	snprintf(bell, sizeof bell, "%.*s.bell", (int)(n - 4), path);
	if ((r = commyfs__regular(bell, O_RDWR, &st)) < 0) return r;
	b->bell_size = (uint64_t)st.st_size;
	{
		const int fd = r;
		r = commyfs_bare__map(fd, b->bell_size, &b->bell);
		close(fd);
	}
	if (r) return r;
	b->bitmap = commyfs__word(b->bell, 48, 8), bytes = commyfs__word(b->bell, 56, 8);
	if (memcmp(b->bell, "COMMYBEL", 8) || commyfs__word(b->bell, 8, 4) != 1 || commyfs__word(b->bell, 12, 4) != 4096 || b->bitmap % 8 ||
	    bytes % 8 || !commyfs__within(b->bitmap, bytes, 4096, b->bell_size - 4096))
		r = -EBADMSG;
	b->pages = bytes * 8;
	if (!r && (r = commyfs__regular(path, O_RDWR, &st)) >= 0) {
		b->fd = r, b->size = (uint64_t)st.st_size;
		r = commyfs_bare__map(b->fd, b->size, &b->mem);
	}
	if (r < 0) commyfs_bare_close(b);
	else b->seen = __atomic_load_n(commyfs_bare__word(b, 136), __ATOMIC_ACQUIRE);
	return r;
}

// Says whether there are n bytes at off, mapping those by which the file has grown.
static inline int commyfs_bare__inside(struct commyfs_bare *b, uint64_t off, uint64_t n) {
	const uint64_t size = __atomic_load_n((uint64_t *)(void *)(b->bell + 40), __ATOMIC_ACQUIRE);
	struct stat st;
	uint8_t *mem = NULL;
	int r;
	if (!commyfs__within(off, n, 0, size)) return -ERANGE;
	if (commyfs__within(off, n, 0, b->size)) return 0;
	if (fstat(b->fd, &st)) return -errno;
	if (!commyfs__within(off, n, 0, (uint64_t)st.st_size)) return -EBADMSG;
	if ((r = commyfs_bare__map(b->fd, (uint64_t)st.st_size, &mem))) return r;
	munmap(b->mem, b->size);
	b->mem = mem, b->size = (uint64_t)st.st_size;
	return 0;
}

// The largest word that can be loaded or stored at once at an address, of n bytes.
static inline size_t commyfs_bare__unit(const uint8_t *at, size_t n) {
	size_t unit = 8;
	while (unit > n || ((uintptr_t)at & (unit - 1)) != 0) unit /= 2;
	return unit;
}

// Copies n bytes from off. Words of 2, 4 and 8 bytes at multiples of their size are whole, more is not.
static inline int commyfs_bare_load(struct commyfs_bare *b, uint64_t off, void *to, size_t n) {
	uint8_t *t = (uint8_t *)to;
	const int r = commyfs_bare__inside(b, off, n);
	if (r) return r;
	for (const uint8_t *p = b->mem + off; n > 0;) {
		const size_t unit = commyfs_bare__unit(p, n);
		uint64_t w;
		if (unit == 8) w = __atomic_load_n((const uint64_t *)(const void *)p, __ATOMIC_RELAXED);
		else if (unit == 4) w = __atomic_load_n((const uint32_t *)(const void *)p, __ATOMIC_RELAXED);
		else if (unit == 2) w = __atomic_load_n((const uint16_t *)(const void *)p, __ATOMIC_RELAXED);
		else w = __atomic_load_n(p, __ATOMIC_RELAXED);
		memcpy(t, &w, unit);
		t += unit, p += unit, n -= unit;
	}
	return 0;
}

// Stores n bytes at off, such words at once, and tells the server. -ERANGE: the memory is not that large.
static inline int commyfs_bare_store(struct commyfs_bare *b, uint64_t off, const void *from, size_t n) {
	const uint8_t *s = (const uint8_t *)from;
	const uint64_t end = off + n;
	const int r = commyfs_bare__inside(b, off, n);
	if (r || n == 0) return r;
	for (uint8_t *p = b->mem + off; n > 0;) {
		const size_t unit = commyfs_bare__unit(p, n);
		uint64_t w = 0;
		memcpy(&w, s, unit);
		if (unit == 8) __atomic_store_n((uint64_t *)(void *)p, w, __ATOMIC_RELAXED);
		else if (unit == 4) __atomic_store_n((uint32_t *)(void *)p, (uint32_t)w, __ATOMIC_RELAXED);
		else if (unit == 2) __atomic_store_n((uint16_t *)(void *)p, (uint16_t)w, __ATOMIC_RELAXED);
		else __atomic_store_n(p, (uint8_t)w, __ATOMIC_RELAXED);
		s += unit, p += unit, n -= unit;
	}
	for (uint64_t page = off / 4096; page * 4096 < end && page < b->pages; page++) // others are found by the scan
		__atomic_fetch_or((uint64_t *)(void *)(b->bell + b->bitmap + page / 64 * 8), (uint64_t)1 << page % 64, __ATOMIC_RELEASE);
	__atomic_fetch_add(commyfs_bare__word(b, 128), 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(commyfs_bare__word(b, 132), __ATOMIC_SEQ_CST)) commyfs__futex(commyfs_bare__word(b, 128), FUTEX_WAKE, 1, 0);
	return 0;
}

// Waits until the server has put or taken changes since the last call, or since the open. 1: it has, 0: not within timeout_ms; -1 is no
// limit. While there is no server it waits for what the next one does.
static inline int commyfs_bare_wait(struct commyfs_bare *b, int timeout_ms) {
	const uint64_t end = timeout_ms < 0 ? UINT64_MAX : commyfs__now() + (uint64_t)timeout_ms;
	for (;;) {
		const uint32_t changes = __atomic_load_n(commyfs_bare__word(b, 136), __ATOMIC_ACQUIRE);
		uint64_t now, step;
		if (changes != b->seen) {
			b->seen = changes;
			return 1;
		}
		if ((now = commyfs__now()) >= end) return 0;
		step = end - now < 3600000 ? end - now : 3600000;
		if (commyfs__futex(commyfs_bare__word(b, 136), FUTEX_WAIT, changes, step) == -EFAULT) return -EBADMSG;
	}
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other side of a test on a real engine: peers as plain sockets, byte patterns that show a lost or doubled byte,
 * and a look at what the process holds (fds, threads). Nothing here uses the library but its address type. A call that
 * cannot do its work fails the running test.
 */
#ifndef TESTS_SUPPORT_NET_H
#define TESTS_SUPPORT_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <ioreactor/addr.h>

/* The monotonic clock in ns, read without the library. */
uint64_t net_now(void);

/* Connected pairs: [0] for the service, [1] for the peer. All blocking, all close-on-exec. */
void net_unix_pair(int fds[2]);
void net_tcp_pair(int fds[2]);

/* A TCP listener on 127.0.0.1 with a port of the kernel's choice. */
int net_tcp_listener(struct ior_addr *addr, int backlog);

/* A Unix listener at a path. */
int net_unix_listener(const char *path, int backlog);

/* A blocking connection to an address. */
int net_connect(const struct ior_addr *addr);

/* A non-blocking connect: the fd, with the connection under way or done, or -errno. */
int net_connect_start(const struct ior_addr *addr);

/* An address on loopback that refuses connections, as long as the fd is open: nobody else can listen there meanwhile. */
int net_refused_addr(struct ior_addr *addr);

/* Closes a TCP socket with a reset. */
void net_reset(int fd);

void net_nonblock(int fd);
void net_close(int *fd);

/* Writes everything; the fd may be blocking or not. */
void net_write(int fd, const void *bytes, size_t len);

/* Reads exactly len bytes, waiting for them, but not for ever. */
void net_read(int fd, void *bytes, size_t len);

/* Reads what is there without waiting: the count, 0 at the end, or -errno. */
ssize_t net_read_some(int fd, void *bytes, size_t len);

/* Waits until `len` bytes lie unread in the fd's receive buffer. */
void net_await_unread(int fd, size_t len);

/* Waits until poll(2) tells one of `events` for the fd; answers revents. */
int net_await(int fd, short events);

/* The byte at an offset of the pattern, a whole run of it, and whether bytes are such a run. */
unsigned char net_pattern_at(uint64_t offset);
void net_pattern(void *bytes, uint64_t offset, size_t len);
bool net_is_pattern(const void *bytes, uint64_t offset, size_t len);

/* Writes `len` bytes of the pattern from `offset` on. */
void net_write_pattern(int fd, uint64_t offset, size_t len);

/* Open fds and threads of this process. */
size_t net_fd_count(void);
size_t net_thread_count(void);

/*
 * The threads of this process when the test has made none, or none is left: waits until it is so. They are counted at
 * the first call, so a program makes one before its tests: what an earlier test left behind may be on its way out still.
 */
size_t net_threads_at_rest(void);

/* Waits until the process has no more than so many threads; one that was joined may still be on its way out. */
void net_await_threads(size_t n);

/* Raises the soft limit of fds to `wanted` where the hard one allows it; answers the limit now in force. */
size_t net_raise_fd_limit(size_t wanted);

/* `len` bytes of the pattern, allocated. */
unsigned char *net_new_pattern(size_t len);

/* An unnamed file of `len` bytes with a run of the pattern at an offset, and holes elsewhere. */
int net_sparse_file(uint64_t len, uint64_t offset, size_t run);

/* A fresh folder for files, and its removal with the files in it. */
char *net_temp_dir(void);
void net_temp_dir_remove(char *dir);

/*
 * fork(2), once all other threads of this process sleep: one that begins, ends or works may hold a lock of the C library
 * or of a sanitizer's allocator, and the child would wait for it for ever. So threads have to be at a point where they
 * wait for this one. In the child a failed assertion ends the process.
 */
pid_t net_fork(void);

/* Runs `child` in a forked process and answers its exit status; a signal that killed it as 128 + the signal. */
int net_in_child(int (*child)(void *arg), void *arg);

#endif

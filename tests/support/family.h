/* SPDX-License-Identifier: Apache-2.0 */
/* Child processes for tests on real engines: programs that sh runs, what they say, and a look for those left over. */
#ifndef TESTS_SUPPORT_FAMILY_H
#define TESTS_SUPPORT_FAMILY_H

#include "probe.h"

#define FAMILY_PATH "/usr/local/bin:/usr/bin:/bin"

/*
 * probe_os, where a kill with SIGKILL returns only when the child has exited, and that can be seen. The library waits a
 * second for a child that it has killed; on a machine that has much else to do that may be too short.
 */
const struct ior_os *family_os(void);

/* A probe on it. */
struct probe *family_probe(void);

/* Options with their size filled in, for `sh -c script`; the child's stdout is what the probe collects below. */
struct family_sh {
    char *argv[4];
    struct ior_child_fd fds[8];
    struct ior_spawn_options opts;
};

void family_sh(struct family_sh *sh, const char *script);

/* Adds an fd; answers its place in the list. */
size_t family_fd(struct family_sh *sh, int number, enum ior_child_fd_kind kind, int fd);

/* ior_spawn, which must succeed. */
ior_id family_spawn(struct probe *p, struct family_sh *sh);

/* Skips the whole program (77) where the kernel, or what emulates it, has no child processes for us. */
void family_need(void);

bool family_under_valgrind(void);

/* Waits until a child is a zombie, without reaping it. */
void family_await_exit(pid_t pid);

/* Fails the test where this process has any child left, running or not. */
void family_none_left(void);

/* Collects data events of a stream as text. */
struct family_text {
    ior_id id;
    size_t len;
    char text[65536];
};

void family_collect(struct family_text *text, const struct ior_event *ev);

#endif

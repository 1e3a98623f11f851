/* SPDX-License-Identifier: Apache-2.0 */
/* Members of the real struct ior_os by file; os.c has the table and the rest. */
#ifndef IOR_SRC_OS_KINDS_H
#define IOR_SRC_OS_KINDS_H

#include <ioreactor/os.h>

/* os.c */
ssize_t ior__os_pread(void *arg, int fd, void *bytes, size_t len, uint64_t offset);

/* os_blocking.c */
extern const struct ior_os_blocking ior__os_blocking;

/* os_fds.c */
ssize_t ior__os_send_fds(void *arg, int fd, const void *bytes, size_t len, const int *fds, unsigned n);
ssize_t ior__os_recv_fds(void *arg, int fd, void *bytes, size_t len, struct ior_os_fds *ret);

/* os_changes.c, Linux only */
int ior__os_changes_open(void *arg);
int ior__os_changes_add(void *arg, int fd, const char *path, uint32_t mask);
int ior__os_changes_remove(void *arg, int fd, int watch);

/* tty.c */
int ior__os_tty_open(void *arg, const char *path);
int ior__os_tty_get(void *arg, int fd, struct ior_os_tty *ret);
int ior__os_tty_set(void *arg, int fd, const struct ior_os_tty *settings);
int ior__os_tty_ask(void *arg, int fd, enum ior_os_tty_ask what);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The members of the simulated struct ior_os, by file. */
#ifndef IOREACTOR_SIM_OS_CALLS_H
#define IOREACTOR_SIM_OS_CALLS_H

#include "world.h"

/* os_sockets.c */
int ior__sim_os_socket(void *arg, int domain, int type, int protocol);
int ior__sim_os_bind(void *arg, int fd, const struct ior_addr *addr);
int ior__sim_os_listen(void *arg, int fd, int backlog);
int ior__sim_os_accept(void *arg, int fd, struct ior_addr *peer);
int ior__sim_os_connect(void *arg, int fd, const struct ior_addr *addr);
int ior__sim_os_getsockname(void *arg, int fd, struct ior_addr *addr);
int ior__sim_os_getpeername(void *arg, int fd, struct ior_addr *addr);
int ior__sim_os_getsockopt(void *arg, int fd, int level, int name, void *value, uint32_t *len);
int ior__sim_os_setsockopt(void *arg, int fd, int level, int name, const void *value, uint32_t len);
int ior__sim_os_shutdown(void *arg, int fd, int how);

/* os_bytes.c */
ssize_t ior__sim_os_recv(void *arg, int fd, void *bytes, size_t len);
ssize_t ior__sim_os_send(void *arg, int fd, const struct iovec *iov, int n);
ssize_t ior__sim_os_read(void *arg, int fd, void *bytes, size_t len);
ssize_t ior__sim_os_write(void *arg, int fd, const struct iovec *iov, int n);
ssize_t ior__sim_os_sendfile(void *arg, int out, int in, uint64_t offset, size_t len);
ssize_t ior__sim_os_pread(void *arg, int fd, void *bytes, size_t len, uint64_t offset);

/* lookups.c */
int ior__sim_os_resolve(void *arg, const struct ior_os_name *asked, struct ior_addr *addrs, uint32_t max,
                        uint64_t *after_ns);

/* os_datagrams.c */
int ior__sim_os_recv_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
int ior__sim_os_send_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
int ior__sim_os_recv_error(void *arg, int fd, struct ior_os_datagram *datagram);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Datagrams of the real operating system, see os_datagrams.c. */
#ifndef IOR_SRC_OS_DATAGRAMS_H
#define IOR_SRC_OS_DATAGRAMS_H

#include <ioreactor/os.h>

int ior__os_recv_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
int ior__os_send_datagrams(void *arg, int fd, struct ior_os_datagram *datagrams, int n);
int ior__os_recv_error(void *arg, int fd, struct ior_os_datagram *datagram);

/* The same one by one, where the system takes no more in a call. */
int ior__os_recv_each(int fd, struct ior_os_datagram *datagrams, int n);
int ior__os_send_each(int fd, const struct ior_os_datagram *datagrams, int n);

#endif

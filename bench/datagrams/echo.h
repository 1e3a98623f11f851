/* SPDX-License-Identifier: Apache-2.0 */
/* A UDP server in the main thread, as datagrams.c drives it: it is linked once with each of bare.c, ours.c and libuv.c. */
#ifndef IOR_BENCH_DATAGRAMS_ECHO_H
#define IOR_BENCH_DATAGRAMS_ECHO_H

#include <netinet/in.h>
#include <stddef.h>

/* What a datagram asks for: to be sent back, to be taken, that the server ends. */
enum { WANTS_ECHO = 'e', WANTS_NOTHING = 's', WANTS_END = 'q' };

static inline int wish_of(const void *bytes, size_t len)
{
    return len > 0 ? *(const unsigned char *)bytes : 0;
}

/* Opens it on a port of 127.0.0.1. */
void echo_open(struct sockaddr_in *ret);
/* Runs until the end is wanted. */
void echo_run(void);
void echo_close(void);

#endif

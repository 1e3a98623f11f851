/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of the PING servers: RESP's "*1\r\n$4\r\nPING\r\n", answered with "+PONG\r\n". It is matched byte for
 * byte, which is less than a server that knows other commands has to do.
 */
#ifndef IOR_BENCH_PING_H
#define IOR_BENCH_PING_H

#include <stddef.h>
#include <string.h>

#define PING_REQUEST "*1\r\n$4\r\nPING\r\n"
#define PING_ANSWER "+PONG\r\n"
#define PING_REQUEST_BYTES (sizeof PING_REQUEST - 1)
#define PING_ANSWER_BYTES (sizeof PING_ANSWER - 1)

/* Answers for all requests that one read of 64 KiB can hold. */
#define PING_ANSWERS_BYTES ((65536 / PING_REQUEST_BYTES + 2) * PING_ANSWER_BYTES)

/*
 * How many requests end in the next `len` bytes of a connection; -1: it sent something else. `at` is the connection's
 * place in a request that came in part, 0 at first.
 */
static inline int ping_count(size_t *at, const char *bytes, size_t len)
{
    int requests = 0;
    while (len > 0) {
        size_t part = PING_REQUEST_BYTES - *at < len ? PING_REQUEST_BYTES - *at : len;
        if (memcmp(bytes, &PING_REQUEST[*at], part) != 0)
            return -1;
        bytes += part;
        len -= part;
        *at += part;
        if (*at == PING_REQUEST_BYTES) {
            *at = 0;
            requests++;
        }
    }
    return requests;
}

#endif

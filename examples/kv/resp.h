/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads requests of RESP2 (the protocol of Redis) and inline ones. It is pure: bytes in, request out, no state, no
 * allocation, no I/O; it never reads past `len`. The arguments point into the bytes it was given.
 */
#ifndef KV_RESP_H
#define KV_RESP_H

#include <stddef.h>

#define RESP_REQUEST_MAX_BYTES ((size_t)1024 * 1024) /* a whole request, with all that frames it */
#define RESP_INLINE_MAX_BYTES ((size_t)64 * 1024)
#define RESP_ARGS_MAX 4096

struct resp_arg {
    const char *bytes;
    size_t len;
};

struct resp_request {
    size_t used;    /* RESP_REQUEST: how many bytes it took */
    size_t need;    /* RESP_MORE: with fewer bytes than this the answer stays the same */
    size_t count;   /* RESP_REQUEST: arguments; 0 for an empty request, which wants no answer */
    char error[96]; /* RESP_ERROR: what is wrong, zero-terminated */
    struct resp_arg args[RESP_ARGS_MAX];
};

enum resp_result {
    RESP_REQUEST, /* a whole request */
    RESP_MORE,    /* the start of one */
    RESP_ERROR,   /* none, and what follows cannot be understood either */
};

enum resp_result resp_parse(const char *bytes, size_t len, struct resp_request *request);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dials: the state of a stream that is being dialled. It hangs on the stream's options, which are that stream's alone,
 * so that no other stream is larger for it. The stream itself has no fd until an attempt has won.
 */
#ifndef IOR_SRC_DIAL_H
#define IOR_SRC_DIAL_H

#include "kinds.h"
#include "lookup.h"
#include <ioreactor/dial.h>

/* A connect under way: a resource of the library's own, of which services are told nothing. */
struct ior__attempt {
    struct ior_resource base;
    struct ior__dial *dial; /* NULL: it is called off, or over */
    struct ior__attempt *next;
    uint32_t index; /* in causes */
};

struct ior__dial {
    struct ior_resource *stream;
    struct ior__lookup *lookup;    /* under way, or NULL */
    struct ior_dial_cause *causes; /* the addresses in the order of the attempts; `single`, or allocated */
    struct ior__attempt *attempts; /* under way */
    uint32_t count, tried;         /* addresses, and those of them that were tried */
    uint32_t first_family;         /* as in the options */
    uint64_t delay_ns;
    uint64_t next_ns; /* when the next attempt joins those that are under way, or 0: now */
    struct ior_dial_cause single;
};

/* The dial of a stream that is being dialled, else NULL. */
static inline struct ior__dial *ior__dial_of(const struct ior_resource *res)
{
    if (!(res->bits & IOR__STREAM))
        return NULL;
    return ((const struct ior__stream *)(const void *)res)->opts->dial;
}

/*
 * The order of attempts (RFC 8305, section 4): the addresses come sorted; `first` of the family of the first one, and
 * then the families take turns as long as there are both. Fills in the addresses of `causes`.
 */
void ior__dial_order(const struct ior_addr *addrs, uint32_t n, uint32_t first, struct ior_dial_cause *causes);

/* The most telling of the errors of n causes; the first of equals. n is not 0. */
int ior__dial_error(const struct ior_dial_cause *causes, uint32_t n);

/* ---- dial_race.c ---- */

/* Begins with the next address, and with those after it where that fails at once. */
void ior__dial_advance(struct ior__dial *dial);
/* The attempts under way are over: what they would have come to is `error` (0: nobody knows). */
void ior__dial_call_off_attempts(struct ior__dial *dial, int error);

/* ---- dial.c ---- */

/*
 * 0: the stream has this connected fd from now on, OPEN was told, and the dial is gone; or why it cannot have it: the fd
 * is closed, and the race goes on.
 */
int ior__dial_won(struct ior__dial *dial, int fd);

#endif

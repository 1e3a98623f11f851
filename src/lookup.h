/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name look-ups, for whoever waits for one: ior_resolve and ior_dial. The waiting resource has no fd; it is put on the
 * ready list when its look-up is done.
 */
#ifndef IOR_SRC_LOOKUP_H
#define IOR_SRC_LOOKUP_H

#include "core.h"

/* The most bytes of a name: 253, and a dot at its end. */
#define IOR__NAME_MAX 254

struct ior__lookup;

/* What is asked for: the options of ior_resolve and ior_dial, checked. */
struct ior__question {
    const char *host;
    unsigned port;
    int family;
    uint32_t max; /* addresses */
};

/* Fills in the default of `max`. -EINVAL, -EAFNOSUPPORT, -ENAMETOOLONG. */
int ior__question_check(struct ior__question *question);

/*
 * The host may be an address: "192.0.2.1", "2001:db8::1", "fe80::1%eth0", "[::1]", and "unix:/path" with the port 0. 1:
 * it is, and *ret is it; 0: it is a name; or -errno: it can be neither.
 */
int ior__question_literal(const struct ior__question *question, struct ior_addr *ret);

/*
 * Starts a look-up of a name on behalf of a resource that is about to be registered: its deadlines are reserved, its cx
 * is set. Errors: -ENOMEM, -ENOSYS, -EAGAIN (too many are waiting).
 */
int ior__lookup_start(struct ior_resource *res, const struct ior__question *question, struct ior__lookup **ret);

/* The resource has its id now, without which it has no deadlines. */
void ior__lookup_registered(const struct ior__lookup *lookup);

/* -EINPROGRESS; how many addresses there are in *ret_addrs (and in all), or what the look-up answered. */
int ior__lookup_answer(const struct ior__lookup *lookup, const struct ior_addr **ret_addrs, uint32_t *ret_total);

/* Nobody waits any more, or the answer was taken. NULL does nothing. */
void ior__lookup_drop(struct ior__lookup *lookup);

/* The real system's member of struct ior_os. */
int ior__os_resolve(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max,
                    uint64_t *after_ns);

#endif

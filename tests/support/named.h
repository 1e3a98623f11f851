/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted world with names: a recorder whose struct ior_os has a resolver that answers from a table, on the loop and
 * after a virtual time.
 */
#ifndef TESTS_SUPPORT_NAMED_H
#define TESTS_SUPPORT_NAMED_H

#include "recorder.h"

#define NAMED_ADDRS 80

/* What the resolver answers to each name but those that begin with "unknown" (-ENOENT, at once). */
struct named {
    struct recorder *r;
    const char *addrs[NAMED_ADDRS]; /* as ior_addr_parse reads them; up to the first NULL */
    int error;                      /* in the place of addresses: positive */
    uint64_t after_ns;
    unsigned asked; /* look-ups so far */
    char host[300]; /* the last one's */
    int family;
};

/* Starts the recorder's runtime (with a service that has begun). `like` may be NULL. */
void named_init(struct named *named, const struct ior_config *like);
void named_free(struct named *named);

/* What must succeed; answers the id. */
ior_id named_dial(struct named *named, const char *host, const struct ior_dial_options *opts);
ior_id named_resolve(struct named *named, const char *host, const struct ior_resolve_options *opts);

#define NAMED_DIAL(...) (&(const struct ior_dial_options){.struct_size = sizeof(struct ior_dial_options), __VA_ARGS__})
#define NAMED_RESOLVE(...) \
    (&(const struct ior_resolve_options){.struct_size = sizeof(struct ior_resolve_options), __VA_ARGS__})

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The proxy service, apart from the program: proxy.c runs it on real sockets, tests also in a simulated world. It knows
 * nothing of either.
 */
#ifndef EXAMPLES_PROXY_SERVICE_H
#define EXAMPLES_PROXY_SERVICE_H

#include <ioreactor.h>

/* Zero it and set what is above the line; once the runtime is made, proxy_listen_options says how to listen. */
struct proxy {
    const char *host; /* where to dial, as for ior_dial */
    unsigned port;
    uint64_t max_pairs;  /* at once; more wait in the listener's backlog */
    uint64_t connect_ns; /* for the whole of dialling */
    uint64_t idle_ns;    /* a pair ends when nothing moved on one of its sides for so long; 0: never */
    size_t buffer_bytes; /* what waits for a slow side before its other side is no longer read */
    void (*failed)(void *arg, const char *why); /* a dial failed: once, until one succeeds again; may be NULL */
    void *failed_arg;
    /* ---- */
    ior_id listener;
    uint64_t pairs; /* now */
    uint64_t total; /* ever */
    bool full;      /* the listener is paused */
    bool failing;   /* `failed` was told */
};

extern const struct ior_handler proxy_handler;

void proxy_listen_options(const struct proxy *proxy, struct ior_listen_options *opts);

#endif

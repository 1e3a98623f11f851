/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A world in a box, for tests of the world itself: two hosts, "server" (10.0.0.1) with an echo service on port 7000,
 * and "client" (10.0.0.2) for plain peers. The service can do a few other things; what it was told is counted.
 */
#ifndef TESTS_SUPPORT_SIM_BOX_H
#define TESTS_SUPPORT_SIM_BOX_H

#include <ioreactor/sim.h>

#define BOX_ADDR "10.0.0.1:7000"

struct box {
    struct ior_sim *sim;
    int server, client;
    struct ior_runtime *rt;
    struct ior_context *cx;
    const char *listen; /* where it listens; NULL: BOX_ADDR; "": nowhere */
    bool deaf;          /* counts and does not echo */
    ior_id listener, last;
    unsigned accepted, opened, eofs, ended, errors, timers, commands;
    int last_error; /* of END */
    enum ior_why last_why;
    unsigned ready; /* of the last READY */
    uint64_t bytes;
    uint64_t timer_ns; /* when the last one fired */
    char *trace;
    size_t trace_len;
    unsigned violations[IOR_SIM_VIOLATIONS];
    char violation[256]; /* the last one */
};

/* The shape of the engine in box_config. */
extern enum ior_sim_shape box_shape;

/* A config with the box's trace and violations; `keep` keeps the text of the trace. */
struct ior_sim_config box_config(struct box *box, uint64_t seed, bool keep);

/* A fresh box; config NULL: seed 1. The service is started. */
void box_init(struct box *box, const struct ior_sim_config *config);
/* Starts another runtime with the box's service. */
void box_start(struct box *box);
void box_stop(struct box *box);
/* Stops and frees all; answers the violations. */
unsigned box_free(struct box *box);

/* A connected peer. */
struct ior_sim_peer *box_dial(struct box *box);

extern const struct ior_handler box_handler;

#endif

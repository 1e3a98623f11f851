/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine that does the I/O, made of one that tells what is ready and a table of system calls: it receives and
 * accepts as soon as it can, and sends in the next wait. So the runtime's way with such engines can be tried on every
 * kernel, and in the scripted world.
 */
#ifndef TESTS_SUPPORT_EAGER_H
#define TESTS_SUPPORT_EAGER_H

#include <ioreactor.h>

struct eager_base {
    const struct ior_engine_ops *ops;
    void *arg;            /* its engine_arg */
    struct eager *engine; /* set by open */
};

struct eager;

/* Whether the next wait would tell something that is held. */
bool eager_any_ready(const struct eager_base *base);

/* To be given as engine_ops, with a struct eager_base as engine_arg. */
extern const struct ior_engine_ops eager_ops;

#endif

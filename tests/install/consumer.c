/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program as a user writes it, C11 and C++11 alike: a service whose timer stops its runtime. It says "ok" where the
 * library that runs is the one its headers are of.
 */
#include <ioreactor.h>
#include <stdio.h>
#include <string.h>

static int on_start(void *self, struct ior_context *cx)
{
    ior_timer_id id;

    (void)self;
    return ior_timer_set(cx, IOR_NS_PER_MS, NULL, &id);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)id;
    (void)user;
    ++*(int *)self;
    ior_stop(cx, 0);
}

int main(void)
{
    struct ior_handler handler;
    struct ior_runtime *rt;
    int fired = 0;
    int err;

    memset(&handler, 0, sizeof(handler));
    handler.struct_size = sizeof(handler);
    handler.start = on_start;
    handler.timer = on_timer;
    err = ior_runtime_new(NULL, &handler, &fired, &rt);
    if (err < 0) {
        fprintf(stderr, "ior_runtime_new: %s\n", ior_strerror(err));
        return 1;
    }
    err = ior_runtime_run(rt);
    ior_runtime_free(rt);
    if (err < 0 || fired != 1 || strcmp(ior_version(), IOR_VERSION_STRING) != 0) {
        fprintf(stderr, "run %d, fired %d, version %s\n", err, fired, ior_version());
        return 1;
    }
    puts("ok");
    return 0;
}

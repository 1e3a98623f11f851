/* SPDX-License-Identifier: Apache-2.0 */
/* What our own small servers share: a runtime that listens on a free port of 127.0.0.1 until a signal ends it. */
#ifndef IOR_BENCH_SERVICE_H
#define IOR_BENCH_SERVICE_H

#include "bench.h"
#include "server.h"

/* Accepts everybody. */
static inline void service_on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        bench_must(ior_accept(cx, ev, &id), "ior_accept");
}

/* Runs a service; it does not return but for failures, which end the program. `engine`: by name, NULL: IOR_ENGINE. */
static inline int service_run(const char *engine, const struct ior_handler *handler, void *self,
                              const struct ior_stream_options *stream)
{
    struct ior_config config = {.struct_size = sizeof config, .engine = engine ? engine : ior_engine_from_env()};
    struct ior_listen_options options = {.struct_size = sizeof options};
    struct ior_runtime *rt;
    struct ior_addr addr;
    char text[IOR_ADDR_TEXT_MAX];
    ior_id id;
    server_begin();
    if (stream)
        options.stream = *stream;
    bench_must(ior_runtime_new(&config, handler, self, &rt), "ior_runtime_new");
    struct ior_context *cx = ior_runtime_context(rt);
    bench_must(ior_addr_parse(&addr, "127.0.0.1:0"), "ior_addr_parse");
    bench_must(ior_listen(cx, &addr, &options, &id), "ior_listen");
    bench_must(ior_local(cx, id, &addr), "ior_local");
    bench_must(ior_addr_format(&addr, text, sizeof text), "ior_addr_format");
    printf("listening on %s\n", text);
    fflush(stdout);
    bench_must(ior_runtime_run(rt), "ior_runtime_run");
    ior_runtime_free(rt);
    return 0;
}

#endif

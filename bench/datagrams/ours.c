/* SPDX-License-Identifier: Apache-2.0 */
/* Ours, on the engine that IOR_ENGINE names. */
#include "bench.h"
#include "echo.h"

static struct ior_runtime *rt;
static ior_id id;

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type != IOR_EV_DATAGRAM)
        return;
    const struct ior_datagram *d = ev->datagram;
    int wish = wish_of(d->bytes, d->len);
    if (wish == WANTS_ECHO)
        bench_must(ior_send_to(cx, id, d->peer, d->bytes, d->len), "ior_send_to");
    else if (wish == WANTS_END)
        ior_stop(cx, 0);
}

void echo_open(struct sockaddr_in *ret)
{
    static const struct ior_handler handler = {.struct_size = sizeof handler, .transport = on_transport};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    struct ior_addr addr;
    bench_must(ior_runtime_new(&config, &handler, NULL, &rt), "ior_runtime_new");
    struct ior_context *cx = ior_runtime_context(rt);
    bench_must(ior_addr_parse(&addr, "127.0.0.1:0"), "ior_addr_parse");
    bench_must(ior_datagram_open(cx, &addr, NULL, &id), "ior_datagram_open");
    bench_must(ior_local(cx, id, &addr), "ior_local");
    memcpy(ret, addr.raw, sizeof *ret);
}

void echo_run(void)
{
    bench_must(ior_runtime_run(rt), "ior_runtime_run");
}

void echo_close(void)
{
    ior_runtime_free(rt);
}

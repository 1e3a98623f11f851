/* SPDX-License-Identifier: Apache-2.0 */
/* A program outside of this project that tests a service in the simulated world. Prints "ok". */
#include <stdio.h>
#include <string.h>
#include <ioreactor/sim.h>

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    if (ev->type == IOR_EV_DATA)
        ior_send(cx, ev->id, ev->data.bytes, ev->data.len);
}

int main(void)
{
    struct ior_handler handler;
    struct ior_sim *sim;
    struct ior_runtime *rt;
    struct ior_addr addr;
    ior_id id;

    memset(&handler, 0, sizeof(handler));
    handler.struct_size = sizeof(handler);
    handler.listener = on_listener;
    handler.transport = on_transport;
    if (ior_sim_new(NULL, &sim) < 0 || ior_sim_host(sim, "server") != 1)
        return 1;
    if (ior_sim_runtime_new(sim, 1, NULL, &handler, NULL, &rt) < 0)
        return 1;
    addr = ior_sim_host_addr(sim, 1, false, 7000);
    if (ior_listen(ior_runtime_context(rt), &addr, NULL, &id) < 0)
        return 1;
    struct ior_sim_peer *peer = ior_sim_dial(sim, 1, "10.0.0.1:7000");
    ior_sim_say(peer, "hello", 5);
    int err = ior_sim_expect(peer, "hello", 5);
    ior_runtime_free(rt);
    if (err < 0 || ior_sim_free(sim) != 0)
        return 1;
    puts("ok");
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An engine of one's own: the skeleton of examples/engine carries a service with connections, timers and commands
 * from another thread, as the built-in engines do. What the engine was asked to do is not looked at here: the contract
 * suite does that; this shows how a program brings an engine.
 */
#include "../../examples/engine/skeleton.h"
#include "program.h"

#define CLIENTS 100
#define TICKS 20

struct service {
    struct ior_addr addr;
    unsigned ends, ticks, commands;
    uint64_t last_ns;
};

struct poke {
    struct ior_command base;
    unsigned ticks; /* the answer */
};

static int service_start(void *self, struct ior_context *cx)
{
    struct service *service = self;
    struct ior_addr any = loopback();
    ior_timer_id timer;
    ior_id id;
    int err = ior_listen(cx, &any, NULL, &id);
    if (err < 0)
        return err;
    CHECK(ior_local(cx, id, &service->addr) == 0);
    service->last_ns = ior_now(cx);
    return ior_timer_set(cx, IOR_NS_PER_MS, NULL, &timer);
}

static void service_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct service *service = self;
    uint64_t now_ns = ior_now(cx);
    (void)id;
    (void)user;
    CHECK(now_ns - service->last_ns >= IOR_NS_PER_MS); /* Never early, whatever the engine's resolution. */
    service->last_ns = now_ns;
    if (++service->ticks < TICKS)
        CHECK(ior_timer_set(cx, IOR_NS_PER_MS, NULL, &id) == 0);
}

static void service_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct service *service = self;
    service->commands++;
    ((struct poke *)command)->ticks = service->ticks;
    ior_reply(cx, command, 0);
}

static void service_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        CHECK(ior_accept(cx, ev, &id) == 0);
}

static void service_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_DATA)
        CHECK(ior_send(cx, ev->id, ev->data.bytes, ev->data.len) >= 0);
    else if (ev->type == IOR_EV_END)
        ((struct service *)self)->ends++;
}

static const struct ior_handler service_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = service_start,
    .timer = service_timer,
    .command = service_command,
    .listener = service_listener,
    .transport = service_transport,
};

struct other_thread {
    const struct ior_addr *addr;
    struct ior_controller *ctl;
};

static void *client_main(void *arg)
{
    struct other_thread *other = arg;
    struct poke poke = {.base = {.kind = 1}};
    int fds[CLIENTS];

    /* The first call returns only once the loop runs, and so the address is known. */
    CHECK(ior_controller_call(other->ctl, &poke.base, IOR_NEVER) == 0);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client_connect(other->addr);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CLIENTS; i++)
            client_send(fds[i], "over and over", 13);
        for (int i = 0; i < CLIENTS; i++)
            client_expect(fds[i], "over and over");
    }
    for (int i = 0; i < CLIENTS; i++) {
        CHECK(shutdown(fds[i], SHUT_WR) == 0);
        client_expect_eof(fds[i]);
        close(fds[i]);
    }
    do {
        CHECK(ior_controller_call(other->ctl, &poke.base, IOR_NEVER) == 0);
    } while (poke.ticks < TICKS);
    CHECK(ior_controller_shutdown(other->ctl, IOR_NS_PER_SEC) == 0);
    return NULL;
}

int main(void)
{
    struct ior_config config = {.struct_size = sizeof config, .engine_ops = &skeleton_engine};
    struct service service = {.ends = 0};
    struct ior_runtime *runtime;
    struct other_thread other;
    pthread_t thread;

    program_begin();
    CHECK(ior_runtime_new(&config, &service_handler, &service, &runtime) == 0);
    CHECK(strcmp(ior_runtime_engine(runtime), "skeleton") == 0);
    CHECK(ior_runtime_fd(runtime) == -ENOTSUP); /* Not among its features. */

    other.addr = &service.addr;
    other.ctl = ior_controller_of(ior_runtime_context(runtime));
    CHECK(other.ctl);
    CHECK(pthread_create(&thread, NULL, client_main, &other) == 0);
    CHECK(ior_runtime_run(runtime) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    ior_controller_unref(other.ctl);
    ior_runtime_free(runtime);

    CHECK(service.ends == CLIENTS && service.ticks == TICKS && service.commands >= 2);
    return 0;
}

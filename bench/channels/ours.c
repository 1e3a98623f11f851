/* SPDX-License-Identifier: Apache-2.0 */
/* The library's commands, on the engine that IOR_ENGINE names. */
#include "bench.h"
#include "channel.h"

enum { COUNT = 0, ANSWER = 1 };

_Static_assert(sizeof(struct ior_command) <= CHANNEL_MESSAGE_BYTES, "messages are of one size");

static struct ior_reactor *reactor;
static struct ior_controller *ctl;

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    (void)self;
    if (command->kind == ANSWER)
        ior_reply(cx, command, 0);
    else
        channel_on_message();
}

void channel_open(void)
{
    static const struct ior_handler handler = {.struct_size = sizeof handler, .command = on_command};
    struct ior_config config = {.struct_size = sizeof config, .engine = ior_engine_from_env()};
    bench_must(ior_reactor_new(&config, &handler, NULL, &reactor), "ior_reactor_new");
    ctl = ior_reactor_controller(reactor);
}

void channel_close(void)
{
    ior_reactor_free(reactor);
}

void channel_send(void *message)
{
    bench_must(ior_controller_send(ctl, message), "ior_controller_send");
}

void channel_call(void *message)
{
    struct ior_command *command = message;
    command->kind = ANSWER;
    bench_must(ior_controller_call(ctl, command, IOR_NEVER), "ior_controller_call");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chat: rooms for people with netcat. The service is in chat/service.c; this is the program around it.
 *
 * Try it:  build/release/examples/chat     and, in other terminals,     nc 127.0.0.1 7001
 */
#include "chat/service.h"
#include "program.h"

int main(int argc, char **argv)
{
    struct program program = {.name = "chat", .summary = "Rooms for people with netcat.", .listen = "127.0.0.1:7001"};
    program_init(&program, argc, argv);

    struct chat chat = {0};
    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine, .read_bytes = CHAT_READ_BYTES};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &chat_handler, &chat, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    chat.cx = ior_runtime_context(rt);

    struct ior_listen_options opts;
    chat_listen_options(&opts);
    int status = PROGRAM_EXIT_FAILURE;
    if (program_listen(&program, chat.cx, &opts, NULL) == 0)
        status = program_run(&program, rt);
    ior_runtime_free(rt);
    return status;
}

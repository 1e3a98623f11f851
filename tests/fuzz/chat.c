/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service of the chat example, unmodified, in the scripted world: whatever the pieces in which the words of a member come, he and
 * the one who listens get the same answers. The first byte is the number of pieces whose lengths come next; the rest
 * is what he says.
 */
#include <stdlib.h>
#include <string.h>
#include "../../examples/chat/service.h"

#include "fuzz.h"
#include "support/live.h"
#include "support/script_world.h"

enum { TALKER, LISTENER, MEMBERS };

/* All that a member was told. */
struct told {
    size_t len;
    char *bytes;
};

static int join(struct script *s, struct ior_context *cx, ior_id *id)
{
    struct ior_listen_options opts;
    chat_listen_options(&opts);
    int fd = script_stream(s);
    FUZZ_CHECK(ior_adopt(cx, fd, &opts.stream, id) == 0, "a member joins");
    script_give_away(s, fd, true);
    return fd;
}

static struct told hear(struct script *s, int fd)
{
    const struct line *line = world_look(s, fd);
    struct told told = {line->out.len, malloc(line->out.len + 1)};
    FUZZ_CHECK(told.bytes != NULL, "memory");
    memcpy(told.bytes, line->out.at, told.len);
    return told;
}

/* Says all of it, in pieces, and answers what both were told. */
static void play(const uint8_t *data, size_t size, struct fuzz_input pieces, struct told told[MEMBERS])
{
    struct script *s = script_new();
    struct ior_config config = script_config(s);
    struct chat chat = {0};
    struct ior_runtime *rt;
    int fds[MEMBERS];
    ior_id id;
    config.read_bytes = CHAT_READ_BYTES;
    live_alloc_start();
    FUZZ_CHECK(ior_runtime_new(&config, &chat_handler, &chat, &rt) == 0, "a runtime");
    chat.cx = ior_runtime_context(rt);
    for (int i = 0; i < MEMBERS; i++) {
        fds[i] = join(s, chat.cx, &id);
        script_settle(s, rt);
    }
    for (size_t at = 0; at < size && script_is_open(s, fds[TALKER]);) {
        size_t piece = pieces.left > 0 ? (size_t)fuzz_byte(&pieces) * 8 + 1 : size - at;
        piece = piece < size - at ? piece : size - at;
        script_say(s, fds[TALKER], data + at, piece);
        script_settle(s, rt);
        at += piece;
    }
    if (script_is_open(s, fds[TALKER]))
        script_eof(s, fds[TALKER]);
    script_settle(s, rt);
    for (int i = 0; i < MEMBERS; i++)
        told[i] = hear(s, fds[i]);
    script_free_runtime(s, rt);
    FUZZ_CHECK(chat.rooms == NULL, "rooms end with their last member");
    live_alloc_stop();
    script_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t n = (size_t)fuzz_below(&in, 32);
    struct fuzz_input pieces = {in.at, n < in.left ? n : in.left};
    struct told whole[MEMBERS], parts[MEMBERS];
    data = in.at + pieces.left;
    size = in.left - pieces.left;
    play(data, size, (struct fuzz_input){NULL, 0}, whole);
    play(data, size, pieces, parts);
    for (int i = 0; i < MEMBERS; i++) {
        FUZZ_CHECK(whole[i].len == parts[i].len && memcmp(whole[i].bytes, parts[i].bytes, whole[i].len) == 0,
                   i == TALKER ? "the same is answered" : "the same is heard");
        free(whole[i].bytes);
        free(parts[i].bytes);
    }
    return 0;
}

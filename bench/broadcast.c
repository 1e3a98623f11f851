/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Broadcasts on the library; bare_broadcast.c does the same by hand. Usage: broadcast BYTES [ENGINE]. A message is put
 * into one shared buffer, and each receiver's queue holds a reference: it is copied once in user space, however many
 * receivers there are. A receiver that is too slow (-ENOBUFS: over its cap) is cut off.
 */
#include "service.h"

struct room {
    size_t message_len;
    ior_id *members;
    unsigned members_n, members_room;
};

static void join(struct room *room, struct ior_context *cx, ior_id id)
{
    if (room->members_n == room->members_room) {
        room->members_room = room->members_room ? 2 * room->members_room : 64;
        room->members = realloc(room->members, room->members_room * sizeof *room->members);
        bench_must(room->members ? 0 : -ENOMEM, "realloc");
    }
    room->members[room->members_n++] = id;
    ior_send(cx, id, "+", 1);
}

static void leave(struct room *room, ior_id id)
{
    for (unsigned i = 0; i < room->members_n; i++) {
        if (room->members[i] == id) {
            room->members[i] = room->members[--room->members_n];
            return;
        }
    }
}

static void broadcast(struct room *room, struct ior_context *cx, const char *bytes)
{
    struct ior_buf *buf = ior_buf_copy(bytes, room->message_len);
    bench_must(buf ? 0 : -ENOMEM, "ior_buf_copy");
    for (unsigned i = 0; i < room->members_n; i++)
        if (ior_send_buf(cx, room->members[i], buf) < 0)
            ior_abort(cx, room->members[i]);
    ior_buf_unref(buf);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct room *room = self;
    if (ev->type == IOR_EV_OPEN) {
        join(room, cx, ev->id);
    } else if (ev->type == IOR_EV_DATA) {
        size_t at = 0;
        for (; ev->data.len - at >= room->message_len; at += room->message_len)
            broadcast(room, cx, (const char *)ev->data.bytes + at);
        if (at < ev->data.len)
            ior_unread(cx, ev->id, ev->data.len - at);
    } else if (ev->type == IOR_EV_END) {
        leave(room, ev->id);
    }
}

int main(int argc, char **argv)
{
    struct room room = {.message_len = argc > 1 ? strtoul(argv[1], NULL, 10) : 0};
    struct ior_handler handler = {
        .struct_size = sizeof handler, .listener = service_on_listener, .transport = on_transport};
    if (argc > 3 || room.message_len == 0 || room.message_len > IOR_UNREAD_MAX_BYTES_DEFAULT) {
        fprintf(stderr, "usage: broadcast BYTES [ENGINE]\n");
        return 2;
    }
    return service_run(argc > 2 ? argv[2] : NULL, &handler, &room, NULL);
}

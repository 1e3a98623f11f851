/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chat: lines are told to all members. It shows state that lives and dies with a connection (user_size), whole lines
 * without a buffer of one's own (ior_unread), one buffer shared by all receivers (ior_send_buf), and what to do with a
 * member who does not read: the send is refused, the member is put out, and nobody else notices.
 */
#include "program.h"

#define LINE_MAX_BYTES 512

/* A member: allocated with its stream, zeroed, freed with it. */
struct member {
    struct member *next, **link; /* in the room; link is NULL before it is open */
    ior_id id;
    char name[32];
};

struct room {
    struct ior_addr addr;
    struct member *members;
    unsigned put_out; /* members who did not read */
};

static void room_tell(struct room *room, struct ior_context *cx, const char *text, size_t len)
{
    struct ior_buf *buf = ior_buf_copy(text, len);
    CHECK(buf);
    for (struct member *m = room->members; m; m = m->next) {
        /* The member stays in the list until END, which comes from the loop: nothing here changes under the walk. */
        if (ior_send_buf(cx, m->id, buf) == -ENOBUFS && ior_abort(cx, m->id) == 0)
            room->put_out++;
    }
    ior_buf_unref(buf);
}

static void room_line(struct room *room, struct ior_context *cx, struct member *member, const char *line, size_t len)
{
    char text[sizeof member->name + LINE_MAX_BYTES + 8];
    int n;
    if (!member->name[0]) {
        snprintf(member->name, sizeof member->name, "%.*s", (int)len, line);
        n = snprintf(text, sizeof text, "* %s is here\n", member->name);
    } else {
        n = snprintf(text, sizeof text, "%s: %.*s\n", member->name, (int)len, line);
    }
    room_tell(room, cx, text, (size_t)n);
}

static void room_data(struct room *room, struct ior_context *cx, const struct ior_event *ev)
{
    const char *at = ev->data.bytes, *end = at + ev->data.len, *newline;
    while (at < end && (newline = memchr(at, '\n', (size_t)(end - at)))) {
        if (newline - at > LINE_MAX_BYTES)
            break;
        room_line(room, cx, ev->user, at, (size_t)(newline - at));
        at = newline + 1;
    }
    if (end - at > LINE_MAX_BYTES)
        ior_abort(cx, ev->id);
    else if (at < end)
        ior_unread(cx, ev->id, (size_t)(end - at)); /* -EALREADY where the member was put out just now: fine. */
}

static void room_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct room *room = self;
    struct member *member = ev->user;
    char text[64];
    switch (ev->type) {
    case IOR_EV_OPEN:
        member->id = ev->id;
        member->next = room->members;
        member->link = &room->members;
        if (member->next)
            member->next->link = &member->next;
        room->members = member;
        break;
    case IOR_EV_DATA:
        room_data(room, cx, ev);
        break;
    case IOR_EV_END:
        if (!member->link)
            break;
        *member->link = member->next;
        if (member->next)
            member->next->link = member->link;
        if (member->name[0])
            room_tell(room, cx, text, (size_t)snprintf(text, sizeof text, "* %s has left\n", member->name));
        break;
    default:
        break;
    }
}

static void room_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    ior_id id;
    (void)self;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

static int room_start(void *self, struct ior_context *cx)
{
    struct room *room = self;
    struct ior_listen_options options = {
        .struct_size = sizeof options,
        /* A member who is far behind must not stop being read: what is said is for the others. */
        .stream = {.struct_size = sizeof options.stream, .user_size = sizeof(struct member), .read_when_full = true},
    };
    struct ior_addr any = loopback();
    ior_id id;
    int err = ior_listen(cx, &any, &options, &id);
    return err < 0 ? err : ior_local(cx, id, &room->addr);
}

static const struct ior_handler room_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = room_start,
    .listener = room_listener,
    .transport = room_transport,
};

/* The members: ann and bob talk, carl joins and never reads. */

/* Reads one thing that is told to a member: 0: this line of ann's, 1: carl has left. */
static int heard(int fd, const char *said)
{
    char told[LINE_MAX_BYTES + 1];
    client_read(fd, told, 5);
    if (memcmp(told, "* car", 5) == 0) {
        client_expect(fd, "l has left\n");
        return 1;
    }
    CHECK(memcmp(told, "ann: ", 5) == 0);
    client_read(fd, told, sizeof told);
    CHECK(memcmp(told, said, sizeof told) == 0);
    return 0;
}

static void talk_until_put_out(int ann, int bob)
{
    char said[LINE_MAX_BYTES + 1];
    int left = 0;
    memset(said, 'x', LINE_MAX_BYTES);
    said[LINE_MAX_BYTES] = '\n';
    /* The kernel's buffers take some megabytes for carl; his queue in the room takes its cap and no more. */
    while (!left) {
        client_send(ann, said, sizeof said);
        left = heard(ann, said);
        CHECK(heard(bob, said) == left);
    }
    CHECK(heard(ann, said) == 0 && heard(bob, said) == 0);
}

int main(void)
{
    struct ior_config config = program_config();
    struct ior_reactor *reactor;
    struct room room = {0};

    program_begin();
    CHECK(ior_reactor_new(&config, &room_handler, &room, &reactor) == 0);

    int ann = client_connect(&room.addr);
    client_send(ann, "ann\n", 4);
    client_expect(ann, "* ann is here\n");
    int bob = client_connect(&room.addr);
    client_send(bob, "bob\n", 4);
    client_expect(ann, "* bob is here\n");
    client_expect(bob, "* bob is here\n");
    client_send(bob, "h", 1); /* A line in two pieces ... */
    client_send(ann, "first\n", 6);
    client_expect(ann, "ann: first\n");
    client_expect(bob, "ann: first\n");
    client_send(bob, "i\nhow are you\nfine?\n", 20); /* ... and three lines in one. */
    client_expect(ann, "bob: hi\nbob: how are you\nbob: fine?\n");
    client_expect(bob, "bob: hi\nbob: how are you\nbob: fine?\n");

    int carl = client_connect(&room.addr);
    client_send(carl, "carl\n", 5);
    client_expect(ann, "* carl is here\n");
    client_expect(bob, "* carl is here\n");
    talk_until_put_out(ann, bob);

    close(ann);
    client_expect(bob, "* ann has left\n");
    ior_reactor_free(reactor);
    CHECK(room.put_out == 1);
    close(bob);
    close(carl);
    return 0;
}

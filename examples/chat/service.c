/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chat service: rooms for people with netcat. Lines starting with "/" are commands, all others are said in the room.
 *
 * What it shows:
 *  - State for each connection that the loop allocates and frees with it (user_size), so there is nothing to clean up
 *    but the links between connections.
 *  - Partial lines: what is no whole line yet is given back with ior_unread and comes again in front of the next bytes.
 *  - One message for many: a shared buffer, of which each queue holds a reference instead of a copy.
 *  - Slow readers: when a queue is full (-ENOBUFS), messages to this one are dropped and counted; when it has drained,
 *    it is told how many. Nobody else waits, and memory stays bounded.
 *
 * Everybody is in exactly one room from OPEN to /quit or END; a room is there as long as somebody is in it. Rooms are a
 * plain list, and a nickname is looked for in all of them: good for some thousand people.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "service.h"

#define LINE_MAX_BYTES 1024
#define NAME_MAX_BYTES 24
#define TEXT_MAX_BYTES 4096
#define CAP_BYTES ((size_t)1024 * 1024)
#define QUIT_DRAIN_NS (5 * IOR_NS_PER_SEC)

struct room {
    struct room *next;
    struct member *members;
    size_t count;
    char name[NAME_MAX_BYTES + 1];
};

struct member {
    ior_id id;
    struct room *room;
    struct member *next;  /* in the room */
    struct member **link; /* what points to this one */
    uint64_t dropped;     /* messages since the queue was full */
    bool full;            /* DRAINED is owed: nothing more is read from this one until then */
    bool skipping;        /* in a line that is too long, up to its end */
    char nick[NAME_MAX_BYTES + 1];
};

/* Puts a message into the queue of one member, or counts it as dropped. */
static void deliver(struct chat *chat, struct member *member, struct ior_buf *message)
{
    /* After a drop everything is dropped until DRAINED: one gap is easier to understand than many. */
    if (member->dropped > 0) {
        member->dropped++;
        return;
    }
    int result = ior_send_buf(chat->cx, member->id, message);
    if (result == -ENOBUFS)
        member->dropped++;
    if (result == -ENOBUFS || result == 1)
        member->full = true;
}

static void tell(struct chat *chat, struct member *member, const char *text)
{
    struct ior_buf *message = ior_buf_copy(text, strlen(text));
    if (message)
        deliver(chat, member, message);
    ior_buf_unref(message);
}

/* Tells everybody in the room, but for one (NULL: all). The bytes are there once, however many read them. */
static void broadcast(struct chat *chat, struct room *room, const struct member *but, const char *text)
{
    struct ior_buf *message = ior_buf_copy(text, strlen(text));
    if (!message)
        return;
    for (struct member *member = room->members; member; member = member->next) {
        if (member != but)
            deliver(chat, member, message);
    }
    ior_buf_unref(message);
}

/* The queue has drained: tells how much was lost. Where even this does not fit, DRAINED is owed again. */
static void on_drained(struct chat *chat, struct member *member)
{
    char text[96];
    member->full = false;
    if (member->dropped == 0)
        return;
    snprintf(text, sizeof(text), "* %llu messages were dropped, because you read too slowly\n",
             (unsigned long long)member->dropped);
    int result = ior_send(chat->cx, member->id, text, strlen(text));
    if (result >= 0)
        member->dropped = 0;
    member->full = result == 1 || result == -ENOBUFS;
}

static struct room *room_find(struct chat *chat, const char *name)
{
    struct room *room = chat->rooms;
    while (room && strcmp(room->name, name) != 0)
        room = room->next;
    return room;
}

static struct room *room_get(struct chat *chat, const char *name)
{
    struct room *room = room_find(chat, name);
    if (room)
        return room;
    room = calloc(1, sizeof(*room));
    if (!room)
        return NULL;
    snprintf(room->name, sizeof(room->name), "%s", name);
    room->next = chat->rooms;
    chat->rooms = room;
    return room;
}

static void room_leave(struct chat *chat, struct member *member)
{
    char text[2 * NAME_MAX_BYTES + 32];
    struct room *room = member->room;
    *member->link = member->next;
    if (member->next)
        member->next->link = member->link;
    member->room = NULL;
    room->count--;
    if (room->members) {
        snprintf(text, sizeof(text), "* %s left %s\n", member->nick, room->name);
        broadcast(chat, room, NULL, text);
        return;
    }
    struct room **link = &chat->rooms;
    while (*link != room)
        link = &(*link)->next;
    *link = room->next;
    free(room);
}

/* Moves a member, who may be in no room yet, to a room; false: out of memory. */
static bool room_join(struct chat *chat, struct member *member, const char *name)
{
    char text[2 * NAME_MAX_BYTES + 32];
    struct room *room = room_get(chat, name);
    if (!room)
        return false;
    if (room == member->room)
        return true;
    if (member->room)
        room_leave(chat, member);
    member->room = room;
    member->next = room->members;
    member->link = &room->members;
    if (member->next)
        member->next->link = &member->next;
    room->members = member;
    room->count++;
    snprintf(text, sizeof(text), "* %s joined %s\n", member->nick, room->name);
    broadcast(chat, room, NULL, text);
    return true;
}

static struct member *member_find(struct chat *chat, const char *nick)
{
    for (struct room *room = chat->rooms; room; room = room->next) {
        for (struct member *member = room->members; member; member = member->next) {
            if (strcmp(member->nick, nick) == 0)
                return member;
        }
    }
    return NULL;
}

/* Names are letters, digits, "_", "-", and whatever is no ASCII. */
static bool name_is_good(const char *name)
{
    size_t len = strlen(name);
    if (len == 0 || len > NAME_MAX_BYTES)
        return false;
    for (const char *p = name; *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-' || c >= 0x80;
        if (!good)
            return false;
    }
    return true;
}

static void do_nick(struct chat *chat, struct member *member, const char *nick)
{
    char text[2 * NAME_MAX_BYTES + 32];
    if (!name_is_good(nick)) {
        tell(chat, member, "* usage: /nick NAME (up to 24 letters, digits, \"_\" or \"-\")\n");
        return;
    }
    if (member_find(chat, nick)) {
        tell(chat, member, "* this nickname is taken\n");
        return;
    }
    snprintf(text, sizeof(text), "* %s is now %s\n", member->nick, nick);
    snprintf(member->nick, sizeof(member->nick), "%s", nick);
    broadcast(chat, member->room, NULL, text);
}

static void do_join(struct chat *chat, struct member *member, const char *name)
{
    if (!name_is_good(name))
        tell(chat, member, "* usage: /join ROOM (up to 24 letters, digits, \"_\" or \"-\")\n");
    else if (!room_join(chat, member, name))
        tell(chat, member, "* the server is out of memory\n");
}

/* A list of words that is cut where the text is full. */
struct list {
    size_t len;
    char text[TEXT_MAX_BYTES];
};

/* Adds to a list; false: it is full, and says so. The last bytes are kept free for that. */
static bool list_add(struct list *list, const char *piece)
{
    size_t room = sizeof(list->text) - list->len;
    bool fits = strlen(piece) + 16 < room;
    list->len += (size_t)snprintf(list->text + list->len, room, "%s", fits ? piece : " ...");
    return fits;
}

static void list_tell(struct chat *chat, struct member *member, struct list *list)
{
    snprintf(list->text + list->len, sizeof(list->text) - list->len, "\n");
    tell(chat, member, list->text);
}

static void do_who(struct chat *chat, struct member *member)
{
    struct list list = {0};
    char piece[NAME_MAX_BYTES + 64];
    const struct room *room = member->room;
    snprintf(piece, sizeof(piece), "* %zu in %s:", room->count, room->name);
    list_add(&list, piece);
    for (const struct member *other = room->members; other; other = other->next) {
        snprintf(piece, sizeof(piece), " %s", other->nick);
        if (!list_add(&list, piece))
            break;
    }
    list_tell(chat, member, &list);
}

static void do_rooms(struct chat *chat, struct member *member)
{
    struct list list = {0};
    char piece[NAME_MAX_BYTES + 64];
    list_add(&list, "* rooms:");
    for (const struct room *room = chat->rooms; room; room = room->next) {
        snprintf(piece, sizeof(piece), " %s (%zu)", room->name, room->count);
        if (!list_add(&list, piece))
            break;
    }
    list_tell(chat, member, &list);
}

static void do_help(struct chat *chat, struct member *member)
{
    tell(chat, member,
         "* /join ROOM   go to a room (it is made when you enter it)\n"
         "* /nick NAME   change your name\n"
         "* /who         who is in this room\n"
         "* /rooms       which rooms there are\n"
         "* /quit        leave\n");
}

/* One line without its end. Answers false when the connection is closing: then there is nothing more to read. */
static bool on_line(struct chat *chat, struct member *member, char *line)
{
    /* Nothing that could move somebody's cursor gets through. */
    for (char *p = line; *p; p++) {
        if (((unsigned char)*p < 0x20 && *p != '\t') || *p == 0x7f)
            *p = '?';
    }
    if (line[0] != '/') {
        char text[LINE_MAX_BYTES + NAME_MAX_BYTES + 8];
        snprintf(text, sizeof(text), "%s: %s\n", member->nick, line);
        if (line[0] != '\0')
            broadcast(chat, member->room, member, text);
        return true;
    }
    char *argument = line + strcspn(line, " \t");
    if (*argument)
        *argument++ = '\0';
    argument += strspn(argument, " \t");
    if (strcmp(line, "/nick") == 0) {
        do_nick(chat, member, argument);
    } else if (strcmp(line, "/join") == 0) {
        do_join(chat, member, argument);
    } else if (strcmp(line, "/who") == 0) {
        do_who(chat, member);
    } else if (strcmp(line, "/rooms") == 0) {
        do_rooms(chat, member);
    } else if (strcmp(line, "/help") == 0) {
        do_help(chat, member);
    } else if (strcmp(line, "/quit") == 0) {
        tell(chat, member, "* bye\n");
        room_leave(chat, member);
        ior_close(chat->cx, member->id, QUIT_DRAIN_NS);
        return false;
    } else {
        tell(chat, member, "* there is no such command; /help tells which there are\n");
    }
    return true;
}

/* Copies one line, which is lent and has no terminating zero, and serves it. Zero bytes become visible ones. */
static bool serve_line(struct chat *chat, struct member *member, const char *bytes, size_t len)
{
    char line[LINE_MAX_BYTES + 1];
    if (len > 0 && bytes[len - 1] == '\r')
        len--;
    for (size_t i = 0; i < len; i++)
        line[i] = bytes[i] ? bytes[i] : '?';
    line[len] = '\0';
    return on_line(chat, member, line);
}

static void on_data(struct chat *chat, struct member *member, const char *bytes, size_t len)
{
    size_t used = 0;
    /* Whoever does not read the answers to what he said is not listened to either. */
    while (used < len && !member->full) {
        const char *start = bytes + used;
        const char *end = memchr(start, '\n', len - used);
        size_t line_len = end ? (size_t)(end - start) : len - used;
        if (!member->skipping && line_len > LINE_MAX_BYTES) {
            tell(chat, member, "* a line may have 1024 bytes; this one was dropped\n");
            member->skipping = true;
        }
        if (!end && !member->skipping)
            break;
        used += line_len + (end ? 1 : 0);
        if (member->skipping)
            member->skipping = !end;
        else if (!serve_line(chat, member, start, line_len))
            return;
    }
    /* The rest comes again: with the next bytes, or, if the queue is full, after DRAINED. */
    if (chat->bug && member->full)
        return;
    if (used < len && ior_unread(chat->cx, member->id, len - used) < 0)
        ior_abort(chat->cx, member->id);
}

static void on_open(struct chat *chat, struct member *member, ior_id id)
{
    char text[160];
    member->id = id;
    do {
        snprintf(member->nick, sizeof(member->nick), "guest%llu", (unsigned long long)++chat->guests);
    } while (member_find(chat, member->nick));
    snprintf(text, sizeof(text), "* welcome, %s; /help tells the commands\n", member->nick);
    tell(chat, member, text);
    if (!room_join(chat, member, "lobby"))
        ior_abort(chat->cx, id);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct chat *chat = self;
    struct member *member = ev->user;
    (void)cx;
    switch (ev->type) {
    case IOR_EV_OPEN:
        on_open(chat, member, ev->id);
        break;
    case IOR_EV_DATA:
        on_data(chat, member, ev->data.bytes, ev->data.len);
        break;
    case IOR_EV_DRAINED:
        on_drained(chat, member);
        break;
    case IOR_EV_END:
        if (member->room)
            room_leave(chat, member);
        break;
    default:
        break;
    }
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    (void)self;
    ior_id id;
    if (ev->type == IOR_EV_ACCEPTED)
        ior_accept(cx, ev, &id);
}

/* The program is about to end: what is said here is still delivered. */
static void on_stop(void *self, struct ior_context *cx)
{
    struct chat *chat = self;
    (void)cx;
    for (struct room *room = chat->rooms; room; room = room->next)
        broadcast(chat, room, NULL, "* the server is going down\n");
}

const struct ior_handler chat_handler = {
    .struct_size = sizeof(struct ior_handler),
    .listener = on_listener,
    .transport = on_transport,
    .stop = on_stop,
};

/*
 * The most that is given back: the start of a line, and one read that came behind it. The cap is what a reader may be
 * behind; it has room for some thousand lines that somebody pastes at once.
 */
void chat_listen_options(struct ior_listen_options *opts)
{
    *opts = (struct ior_listen_options){.struct_size = sizeof(*opts)};
    opts->stream.struct_size = sizeof(opts->stream);
    opts->stream.user_size = sizeof(struct member);
    opts->stream.unread_max_bytes = CHAT_READ_BYTES + LINE_MAX_BYTES;
    opts->stream.cap_bytes = CAP_BYTES;
}

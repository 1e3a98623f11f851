/* SPDX-License-Identifier: Apache-2.0 */
/* Plays a program in a world: the service that writes down what it is told, the requests, and how everything settles. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "differ.h"

enum { FILE_LEN = 200000, LIMIT_S = 20 };

unsigned char byte_at(uint64_t offset)
{
    return (unsigned char)((offset * 31 + (offset >> 8) * 7) & 0xff);
}

void fill(void *bytes, uint64_t offset, size_t len)
{
    unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++)
        at[i] = byte_at(offset + i);
}

static void complain(struct world *w, const char *what)
{
    if (w->complaint[0] == '\0')
        (void)snprintf(w->complaint, sizeof(w->complaint), "%s", what);
}

/* ---- lines ---- */

static void put(struct lines *lines, const char *text)
{
    size_t len = strlen(text);
    if (lines->room - lines->len < len + 2) {
        lines->room = (lines->len + len) * 2 + 512;
        lines->text = realloc(lines->text, lines->room);
        if (lines->text == NULL)
            abort();
    }
    memcpy(lines->text + lines->len, text, len);
    lines->len += len;
    lines->text[lines->len++] = '\n';
    lines->text[lines->len] = '\0';
}

/* Data events in a row are one line. */
static void put_joined(struct conn *c)
{
    char text[64];
    if (c->joined == 0)
        return;
    (void)snprintf(text, sizeof(text), "data up to %llu", (unsigned long long)c->in);
    c->joined = 0;
    put(&c->lines, text);
}

void note(struct world *w, struct conn *c, const char *format, ...)
{
    char text[200];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    w->changes++;
    if (c != NULL)
        put_joined(c);
    put(c != NULL ? &c->lines : &w->lines, text);
}

/* ---- the service ---- */

static struct conn *conn_of(struct world *w, ior_id id)
{
    for (int i = 0; i < MAX_CONNS; i++)
        if (w->conns[i].born && w->conns[i].id == id)
            return &w->conns[i];
    return NULL;
}

/* What a send adds; the answer is written down, but for whether it passed a mark. */
static int sent(struct conn *c, const char *what, size_t len, int answer)
{
    if (answer >= 0)
        c->accepted += len;
    note(c->world, c, "%s %zu: %s", what, len, answer >= 0 ? "0" : ior_errname(answer));
    return answer;
}

static void send_some(struct conn *c, enum what what, size_t len)
{
    struct world *w = c->world;
    unsigned char bytes[8192];
    fill(bytes, c->accepted, len);
    if (what == SENDV) {
        struct iovec iov[3] = {{.iov_base = bytes, .iov_len = len / 3},
                               {.iov_base = bytes + len / 3, .iov_len = len / 3},
                               {.iov_base = bytes + len / 3 * 2, .iov_len = len - len / 3 * 2}};
        (void)sent(c, "sendv", len, ior_sendv(w->cx, c->id, iov, 3));
    } else if (what == SEND_BUF) {
        struct ior_buf *buf = ior_buf_copy(bytes, len);
        (void)sent(c, "send_buf", len, ior_send_buf(w->cx, c->id, buf));
        ior_buf_unref(buf);
    } else if (what == SEND_FILE) {
        (void)sent(c, "send_file", len, ior_send_file(w->cx, c->id, w->file, c->accepted, len));
    } else {
        (void)sent(c, "send", len, ior_send(w->cx, c->id, bytes, len));
    }
}

static void on_data(struct conn *c, const struct ior_event *ev)
{
    struct world *w = c->world;
    const unsigned char *bytes = ev->data.bytes;
    for (size_t i = 0; i < ev->data.len && !c->gap; i++)
        if (bytes[i] != byte_at(c->in + i))
            complain(w, "bytes were lost, doubled, or told in another order");
    c->in += ev->data.len;
    c->joined += ev->data.len;
    c->tail = 0;
    w->changes++;
    if (c->plan->on_data == ECHOES) {
        static unsigned char echo[65536];
        fill(echo, c->accepted, ev->data.len);
        int answer = ior_send(w->cx, c->id, echo, ev->data.len);
        if (answer >= 0)
            c->accepted += ev->data.len; /* how often depends on how the bytes came */
        else
            c->echo_error = answer;
    } else if (c->plan->on_data == TENS && c->in % 10 != 0 && !c->gap) {
        size_t tail = (size_t)(c->in % 10);
        if (tail > ev->data.len)
            complain(w, "what was given back does not come again in front");
        else if (ior_unread(w->cx, c->id, tail) == 0) {
            c->in -= tail;
            c->tail = tail;
        }
    }
}

static void on_eof(struct conn *c)
{
    struct world *w = c->world;
    c->eof = true;
    switch (c->plan->on_eof) {
    case ANSWERS:
        send_some(c, SEND, 300);
        /* fall through */
    case FINISHES:
        c->finished = true;
        note(w, c, "finish: %s", ior_errname(ior_finish(w->cx, c->id)));
        break;
    case CLOSES:
        c->closing = true;
        note(w, c, "close: %s", ior_errname(ior_close(w->cx, c->id, 60 * IOR_NS_PER_SEC)));
        break;
    default:
        break;
    }
}

static void on_end(struct conn *c, const struct ior_event *ev)
{
    c->ended = true;
    c->unread = ev->end.unread;
    c->world->last_end = c;
    if (c->echo_error != 0)
        note(c->world, c, "echo refused: %s", ior_errname(c->echo_error));
    if (ev->end.written + ev->end.unsent != c->accepted)
        complain(c->world, "written and unsent are not what was accepted");
    note(c->world, c, "end: %s %s, deadline %d, written %llu, unsent %llu, unread %llu", ior_why_name(ev->end.why),
         ior_errname(ev->end.error), ev->end.deadline, (unsigned long long)ev->end.written,
         (unsigned long long)ev->end.unsent, (unsigned long long)ev->end.unread);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct world *w = self;
    struct conn *c = conn_of(w, ev->id);
    (void)cx;
    if (c == NULL) {
        complain(w, "an event of a resource that nobody knows");
        return;
    }
    if (ev->type == IOR_EV_DATA) {
        on_data(c, ev);
        return;
    }
    if (ev->type == IOR_EV_DRAINED)
        return;
    if (ev->type == IOR_EV_END) {
        on_end(c, ev);
        return;
    }
    note(w, c, "%s", ior_event_name(ev->type));
    c->open = c->open || ev->type == IOR_EV_OPEN;
    if (ev->type == IOR_EV_EOF)
        on_eof(c);
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct world *w = self;
    struct conn *c = w->being_born;
    if (ev->type != IOR_EV_ACCEPTED || c == NULL)
        return;
    w->changes++;
    int answer = ior_accept(cx, ev, &c->id);
    c->born = answer == 0;
    w->being_born = NULL;
    note(w, c, "accept: %s", ior_errname(answer));
}

static void on_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct world *w = self;
    struct conn *c = conn_of(w, id);
    (void)cx;
    (void)user;
    if (c != NULL)
        note(w, c, "registered");
}

static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct world *w = self;
    struct conn *c = w->last_end;
    w->last_end = NULL;
    if (c == NULL) {
        complain(w, "a handover without an END");
        ior_resource_free(res);
        return;
    }
    size_t unread = ior_resource_unread(res, NULL, 0, NULL);
    c->closed = c->closed || c->closing;
    note(w, c, "handover: unsent %zu, unread %zu", ior_resource_unsent(res, NULL, 0, NULL), unread);
    c->in += c->unread - unread; /* these are lost: they came while it was closing, behind what was given back */
    c->gap = c->gap || c->unread > unread;
    if (c->plan->again && !c->registered_again) {
        ior_id id;
        int answer = ior_register(cx, res, &id);
        c->registered_again = true;
        note(w, c, "register: %s", ior_errname(answer));
        if (answer == 0) {
            c->id = id;
            c->ended = c->open = c->eof = c->paused = c->closing = false;
            return;
        }
    }
    ior_resource_free(res);
}

static void on_handover_listener(void *self, struct ior_context *cx, struct ior_resource *res)
{
    (void)self;
    (void)cx;
    ior_resource_free(res);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)cx;
    (void)id;
    (void)user;
    note(self, NULL, "timer");
}

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    (void)cx;
    note(self, NULL, "command %d", command->kind);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct world *w = self;
    (void)cx;
    note(w, conn_of(w, id), "error: %s", ior_errname(err));
}

static void on_stop(void *self, struct ior_context *cx)
{
    (void)cx;
    note(self, NULL, "stop");
}

const struct ior_handler differ_handler = {
    .struct_size = sizeof(struct ior_handler),
    .stop = on_stop,
    .timer = on_timer,
    .command = on_command,
    .registered = on_registered,
    .listener = on_listener,
    .transport = on_transport,
    .error = on_error,
    .handover_listener = on_handover_listener,
    .handover_transport = on_handover,
};

/* ---- settling ---- */

static void hear(struct conn *c)
{
    unsigned char bytes[8192];
    while (c->has_peer && c->reads && !c->hung_up && !c->peer_eof && c->peer_error == 0) {
        ssize_t n = c->world->backend->hear(c, bytes, sizeof(bytes));
        if (n == -EAGAIN)
            return;
        c->world->changes++;
        if (n == 0)
            c->peer_eof = true;
        else if (n < 0)
            c->peer_error = (int)-n;
        for (ssize_t i = 0; i < n; i++)
            if (bytes[i] != byte_at(c->heard + (uint64_t)i))
                complain(c->world, "a peer heard other bytes than were sent");
        c->heard += n > 0 ? (uint64_t)n : 0;
    }
}

/* What the peer has not heard yet, and will. */
static const char *owed_to_peer(const struct conn *c)
{
    bool hears =
        c->has_peer && c->reads && !c->hung_up && !c->peer_eof && c->peer_error == 0 && c->plan->how != ADOPT_PIPE_IN;
    if (!hears)
        return NULL;
    if (c->ended)
        return "the peer does not see the end";
    if (c->heard < c->accepted)
        return "the peer does not hear what was sent";
    if (c->finished || c->closing)
        return "the peer does not see that the service finished";
    return NULL;
}

/* What the service has not been told yet, and will be. */
static const char *owed_to_service(const struct conn *c)
{
    bool peer_done = c->peer_finished || c->hung_up || c->was_reset;
    if (c->ended)
        return NULL;
    if (!c->open && !c->closing && c->plan->how != REFUSED_UNIX)
        return "neither OPEN nor END";
    if (c->closing && peer_done)
        return "it does not close";
    if (c->closing || c->paused)
        return NULL;
    if (c->was_reset)
        return "a reset is not told";
    if (c->in + c->tail < c->said && !c->hung_up)
        return "what was said is not told";
    if (peer_done && !c->eof && c->plan->how != ADOPT_PIPE_OUT)
        return "EOF is not told";
    return NULL;
}

static const char *due(struct world *w)
{
    for (int i = 0; i < MAX_CONNS; i++) {
        struct conn *c = &w->conns[i];
        if (!c->born)
            continue;
        const char *what = owed_to_service(c);
        if (what == NULL)
            what = owed_to_peer(c);
        if (what != NULL)
            return what;
    }
    return w->being_born != NULL ? "a connection is not accepted" : NULL;
}

static uint64_t seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec;
}

/* Turns until nothing is due and nothing happens any more. */
static void settle(struct world *w)
{
    uint64_t limit = seconds() + LIMIT_S;
    int quiet = 0;
    bool wait = false;
    while (quiet < 3 && !w->over && w->stuck == NULL) {
        uint64_t before = w->changes;
        w->over = w->backend->step(w, wait) == 0;
        for (int i = 0; i < MAX_CONNS; i++)
            hear(&w->conns[i]);
        const char *what = w->over ? NULL : due(w);
        wait = what != NULL;
        if (w->changes != before)
            quiet = 0;
        else if (!wait)
            quiet++;
        else if (seconds() > limit || w->sim != NULL)
            w->stuck = what;
    }
}

/* ---- requests ---- */

static void adopt(struct conn *c, const struct ior_stream_options *opts)
{
    struct world *w = c->world;
    int fd = w->backend->pair(c);
    int answer = ior_adopt(w->cx, fd, opts, &c->id);
    c->born = answer == 0;
    note(w, c, "adopt: %s", ior_errname(answer));
    if (answer < 0)
        w->backend->close_fd(w, fd);
}

static void connect_to(struct conn *c, const char *text, const struct ior_stream_options *opts)
{
    struct world *w = c->world;
    struct ior_addr addr;
    if (ior_addr_parse(&addr, text) < 0)
        abort();
    int answer = ior_connect(w->cx, &addr, opts, &c->id);
    c->born = answer == 0;
    note(w, c, "connect: %s", ior_errname(answer));
    if (answer < 0 || c->plan->how == REFUSED_TCP)
        return;
    settle(w);
    c->has_peer = w->backend->pick_up(c);
    if (!c->has_peer)
        complain(w, "a connection is open that its peer does not see");
}

static void be_born(struct conn *c)
{
    struct world *w = c->world;
    const struct ior_stream_options opts = {.struct_size = sizeof(opts), .half_open = c->plan->half_open};
    c->reads = true;
    switch (c->plan->how) {
    case ACCEPT_TCP:
    case ACCEPT_UNIX:
        w->being_born = c;
        c->has_peer = true;
        w->backend->dial(c, c->plan->how == ACCEPT_TCP ? w->service_tcp : w->service_unix);
        break;
    case CONNECT_TCP:
    case CONNECT_UNIX:
        connect_to(c, c->plan->how == CONNECT_TCP ? w->peer_tcp : w->peer_unix, &opts);
        break;
    case REFUSED_TCP:
    case REFUSED_UNIX:
        connect_to(c, c->plan->how == REFUSED_TCP ? w->nobody_tcp : w->nobody_unix, &opts);
        break;
    default:
        c->has_peer = true;
        adopt(c, &opts);
    }
}

static void service_does(struct conn *c, const struct op *op)
{
    struct world *w = c->world;
    int answer = 0;
    const char *what = "";
    switch (op->what) {
    case PAUSE:
        what = "pause", answer = ior_pause(w->cx, c->id);
        c->paused = c->paused || answer == 0;
        break;
    case RESUME:
        what = "resume", answer = ior_resume(w->cx, c->id);
        c->paused = c->paused && answer != 0;
        break;
    case CLOSE:
        what = "close", answer = ior_close(w->cx, c->id, 60 * IOR_NS_PER_SEC);
        c->closing = c->closing || answer == 0;
        break;
    case ABORT:
        what = "abort", answer = ior_abort(w->cx, c->id);
        break;
    case UNREGISTER:
        what = "unregister", answer = ior_unregister(w->cx, c->id);
        break;
    case FINISH:
        what = "finish", answer = ior_finish(w->cx, c->id);
        c->finished = c->finished || answer == 0;
        break;
    case DEADLINE:
        what = "deadline", answer = ior_deadline(w->cx, c->id, IOR_DEADLINE_USER, 0);
        break;
    default:
        send_some(c, op->what, op->n);
        return;
    }
    note(w, c, "%s: %s", what, ior_errname(answer));
}

static void peer_does(struct conn *c, const struct op *op)
{
    struct world *w = c->world;
    unsigned char bytes[8192];
    if (!c->has_peer || c->hung_up || c->was_reset)
        return;
    switch (op->what) {
    case SAY:
        if (c->peer_finished || c->ended || c->peer_error != 0 || c->plan->how == ADOPT_PIPE_OUT)
            return;
        fill(bytes, c->said, op->n);
        if (w->backend->say(c, bytes, op->n) != op->n)
            complain(w, "a peer cannot say all it wants to");
        c->said += op->n;
        break;
    case PEER_FINISH:
        if (c->plan->how == ADOPT_PIPE_OUT || c->peer_finished)
            return;
        c->peer_finished = true;
        c->hung_up = c->plan->how == ADOPT_PIPE_IN; /* a pipe has no other way to say so */
        (c->hung_up ? w->backend->hang_up : w->backend->finish)(c);
        break;
    case PEER_HANG_UP:
        w->backend->hang_up(c);
        c->hung_up = true;
        break;
    case PEER_RESET:
        c->was_reset = c->plan->how == ACCEPT_TCP || c->plan->how == CONNECT_TCP || c->plan->how == ADOPT_TCP;
        (c->was_reset ? w->backend->reset : w->backend->hang_up)(c); /* others know no reset */
        c->hung_up = true;
        break;
    default:
        c->reads = op->what == GO_READING;
    }
}

static void act(struct world *w, const struct op *op)
{
    ior_timer_id timer;
    struct conn *c = op->conn >= 0 ? &w->conns[op->conn] : NULL;
    if (op->what == TIMER) {
        note(w, NULL, "timer_set: %s", ior_errname(ior_timer_set(w->cx, 0, NULL, &timer)));
    } else if (op->what == COMMAND) {
        struct ior_command *command = &w->commands[w->commands_n];
        command->kind = ++w->commands_n;
        note(w, NULL, "send: %s", ior_errname(ior_controller_send(w->ctl, command)));
    } else if (op->what == BIRTH) {
        be_born(c);
    } else if (op->what >= SAY) {
        peer_does(c, op);
    } else if (c->born) {
        service_does(c, op);
    }
}

/* ---- a life ---- */

static void listen_at(struct world *w, char *text, size_t size)
{
    struct ior_addr addr;
    ior_id id;
    const struct ior_listen_options opts = {
        .struct_size = sizeof(opts),
        .stream = {.struct_size = sizeof(opts.stream), .half_open = w->program->seed % 2 == 0}};
    if (ior_addr_parse(&addr, text) < 0 || ior_listen(w->cx, &addr, &opts, &id) < 0 ||
        ior_local(w->cx, id, &addr) < 0 || ior_addr_format(&addr, text, size) < 0)
        complain(w, "cannot listen");
}

/* Obstacles go, peers finish, the service stops: what was under way arrives. */
static void epilogue(struct world *w)
{
    for (int i = 0; i < MAX_CONNS; i++) {
        struct conn *c = &w->conns[i];
        c->reads = true;
        if (c->born && !c->ended)
            service_does(c, &(struct op){.what = RESUME});
    }
    settle(w);
    for (int i = 0; i < MAX_CONNS; i++)
        peer_does(&w->conns[i], &(struct op){.what = PEER_FINISH});
    settle(w);
    ior_stop(w->cx, 60 * IOR_NS_PER_SEC);
    for (int i = 0; i < MAX_CONNS; i++)
        if (w->conns[i].plan != NULL && w->conns[i].plan->how == ADOPT_PIPE_OUT)
            w->conns[i].closing = true; /* its end is the peer's EOF */
    while (!w->over && w->stuck == NULL) {
        uint64_t before = w->changes;
        settle(w);
        if (w->changes == before && !w->over)
            w->stuck = "the runtime does not come to its end";
    }
}

void world_play(struct world *w, const struct program *program)
{
    w->program = program;
    for (int i = 0; i < MAX_CONNS; i++)
        w->conns[i] =
            (struct conn){.world = w, .number = i, .fd = -1, .plan = &program->conns[i < program->conns_n ? i : 0]};
    w->backend->open(w);
    if (w->rt == NULL) {
        complain(w, "no runtime could be made");
        return;
    }
    w->cx = ior_runtime_context(w->rt);
    w->ctl = ior_controller_of(w->cx);
    unsigned char *bytes = malloc(FILE_LEN);
    if (bytes == NULL)
        abort();
    fill(bytes, 0, FILE_LEN);
    w->file = w->backend->file(w, bytes, FILE_LEN);
    free(bytes);
    listen_at(w, w->service_tcp, sizeof(w->service_tcp));
    listen_at(w, w->service_unix, sizeof(w->service_unix));
    settle(w);
    for (int i = 0; i < program->ops_n && w->stuck == NULL; i++) {
        act(w, &program->ops[i]);
        if (program->ops[i].last)
            settle(w);
    }
    if (w->stuck == NULL)
        epilogue(w);
    ior_runtime_free(w->rt);
    w->rt = NULL;
    ior_controller_unref(w->ctl);
    for (int i = 0; i < program->conns_n; i++) {
        struct conn *c = &w->conns[i];
        hear(c);
        note(w, c, "peer: heard %llu, %s", (unsigned long long)c->heard,
             c->peer_eof          ? "EOF"
             : c->peer_error != 0 ? ior_errname(c->peer_error)
                                  : "-");
    }
    w->backend->close(w);
    if (w->stuck != NULL)
        complain(w, w->stuck);
}

void world_free(struct world *w)
{
    for (int i = 0; i < MAX_CONNS; i++)
        free(w->conns[i].lines.text);
    free(w->lines.text);
}

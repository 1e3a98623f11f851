/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recording service: notes for each resource, lines of text for all of them, and the checks of order. Everything
 * runs on the test's own thread, so that a broken promise can fail the test where it happens.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "recorder.h"

#define DATA_SHOWN 60

static void *grown(void *old, size_t old_n, size_t new_n, size_t size)
{
    char *block = realloc(old, new_n * size);
    if (block == NULL)
        abort();
    memset(block + old_n * size, 0, (new_n - old_n) * size);
    return block;
}

/* ---- notes ---- */

struct rec_res *rec_of(struct recorder *r, ior_id id)
{
    size_t slot = (size_t)(id >> 40);
    if (id == 0 || (id & 15) != 0)
        fail_msg("%llx cannot be an id", (unsigned long long)id);
    if (slot >= r->slots) {
        size_t slots = slot + slot / 2 + 64;
        r->by_slot = grown(r->by_slot, r->slots, slots, sizeof(*r->by_slot));
        r->slots = slots;
    }
    if (r->by_slot[slot] != 0 && r->res[r->by_slot[slot] - 1].id == id)
        return &r->res[r->by_slot[slot] - 1];
    for (size_t i = r->n; i-- > 0 && r->by_slot[slot] != 0;)
        if (r->res[i].id == id)
            return &r->res[i];
    if (r->n == r->room) {
        r->res = grown(r->res, r->room, r->room * 2 + 16, sizeof(*r->res));
        r->room = r->room * 2 + 16;
    }
    r->res[r->n].id = id;
    r->by_slot[slot] = (uint32_t)++r->n;
    return &r->res[r->n - 1];
}

unsigned rec_number(struct recorder *r, ior_id id)
{
    return (unsigned)(rec_of(r, id) - r->res) + 1;
}

ior_id rec_id(struct recorder *r, unsigned number)
{
    if (number == 0 || number > r->n)
        fail_msg("no resource has the number %u", number);
    return r->res[number - 1].id;
}

/* ---- lines ---- */

static void put_text(struct recorder *r, const char *text, size_t len)
{
    if (r->log_room - r->log_len < len + 1) {
        size_t room = (r->log_len + len) * 2 + 256;
        r->log = grown(r->log, r->log_room, room, 1);
        r->log_room = room;
    }
    memcpy(r->log + r->log_len, text, len);
    r->log_len += len;
    r->log[r->log_len] = '\0';
}

/* Ends the line of data events in a row. */
static void end_join(struct recorder *r)
{
    char text[DATA_SHOWN * 4 + 64];
    if (r->joined == 0)
        return;
    const struct rec_res *res = &r->res[r->joined - 1];
    size_t from = r->joined_at < res->in_len ? r->joined_at : res->in_len;
    size_t len = res->in_len - from;
    int n = snprintf(text, sizeof(text), "data %zu ", r->joined);
    if (len > DATA_SHOWN)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "(%zu bytes)", len);
    for (size_t i = 0; len <= DATA_SHOWN && i < len; i++) {
        unsigned char c = res->in[from + i];
        n += snprintf(text + n, sizeof(text) - (size_t)n, c >= 32 && c < 127 ? "%c" : "\\x%02x", c);
    }
    text[n++] = '\n';
    r->joined = 0;
    put_text(r, text, (size_t)n);
}

static void line(struct recorder *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(struct recorder *r, const char *format, ...)
{
    char text[256];
    va_list args;
    if (r->quiet)
        return;
    end_join(r);
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text) - 1, format, args);
    va_end(args);
    text[n++] = '\n';
    put_text(r, text, (size_t)n);
}

const char *rec_lines(struct recorder *r)
{
    end_join(r);
    return r->log != NULL ? r->log : "";
}

void rec_forget(struct recorder *r)
{
    end_join(r);
    r->log_len = 0;
    if (r->log != NULL)
        r->log[0] = '\0';
}

void rec_expect_at(struct recorder *r, const char *text, const char *file, int where)
{
    if (strcmp(rec_lines(r), text) != 0) {
        print_message("%s:%d: expected\n%s-- but was told\n%s--\n", file, where, text, rec_lines(r));
        fail_msg("%s:%d: something else was told", file, where);
    }
    rec_forget(r);
}

/* ---- callbacks ---- */

static void enter(struct recorder *r, struct ior_context *cx)
{
    if (r->cx != NULL && r->cx != cx)
        fail_msg("a callback with another context");
    r->cx = cx;
    if (r->root->depth++ != 0)
        fail_msg("a callback inside a callback");
    if (!script_in_loop(r->script))
        fail_msg("a callback that does not come from the loop");
}

static void leave(struct recorder *r)
{
    r->root->depth--;
}

static int on_start(void *self, struct ior_context *cx)
{
    struct recorder *r = self;
    enter(r, cx);
    line(r, "start");
    if (r->starts++ != 0)
        fail_msg("start was called twice");
    if (r->on_start != NULL)
        r->on_start(r);
    leave(r);
    return r->start_answer;
}

static void on_stop(void *self, struct ior_context *cx)
{
    struct recorder *r = self;
    enter(r, cx);
    line(r, "stop");
    if (r->stops++ != 0)
        fail_msg("stop was called twice");
    if (r->on_stop != NULL)
        r->on_stop(r);
    leave(r);
}

static void on_tick(void *self, struct ior_context *cx, uint64_t now_ns)
{
    struct recorder *r = self;
    enter(r, cx);
    r->ticks++;
    if (now_ns != script_now(r->script))
        fail_msg("tick with another time");
    if (r->on_tick != NULL)
        r->on_tick(r);
    leave(r);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct recorder *r = self;
    enter(r, cx);
    r->timers++;
    line(r, "timer %lld", (long long)(intptr_t)user);
    if (ior_timer_cancel(cx, id) != -ENOENT)
        fail_msg("the id of a timer that fires is stale");
    if (r->on_timer != NULL)
        r->on_timer(r, id, user);
    leave(r);
}

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct recorder *r = self;
    enter(r, cx);
    r->commands++;
    if (command->is_reply)
        line(r, "reply %d %d", command->kind, command->status);
    else
        line(r, "command %d", command->kind);
    if (r->on_command != NULL)
        r->on_command(r, command);
    leave(r);
}

static void on_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct recorder *r = self;
    enter(r, cx);
    struct rec_res *res = rec_of(r, id);
    line(r, "registered %u", rec_number(r, id));
    if (res->registered || res->ended)
        fail_msg("registered comes late or twice");
    if (res->asked)
        fail_msg("registered after unregister was asked for");
    res->registered = true;
    res->user = user;
    if (ior_user(cx, id) != user)
        fail_msg("ior_user tells another user than registered");
    if (r->on_registered != NULL)
        r->on_registered(r, id);
    leave(r);
}

static void note_data(struct recorder *r, struct rec_res *res, const struct ior_event *ev)
{
    if (res->closing || res->eof)
        fail_msg("data after close or EOF");
    if (ev->data.len == 0 || ev->data.bytes == NULL)
        fail_msg("a data event without data");
    size_t number = rec_number(r, ev->id);
    if (!r->quiet && r->joined != number) {
        end_join(r);
        r->joined = number;
        r->joined_at = res->in_len;
    }
    if (res->in_room - res->in_len < ev->data.len) {
        size_t room = (res->in_len + ev->data.len) * 2;
        res->in = grown(res->in, res->in_room, room, 1);
        res->in_room = room;
    }
    memcpy(res->in + res->in_len, ev->data.bytes, ev->data.len);
    res->in_len += ev->data.len;
    res->data_events++;
}

static void note_end(struct recorder *r, struct rec_res *res, const struct ior_event *ev)
{
    static const char *const deadlines[] = {"user", "idle", "connect", "drain"};
    const char *why = ior_why_name(ev->end.why), *more = "";
    unsigned number = rec_number(r, ev->id);
    res->ended = true;
    res->why = ev->end.why;
    res->error = ev->end.error;
    res->which = ev->end.deadline;
    res->written = ev->end.written;
    res->unsent = ev->end.unsent;
    res->unread = ev->end.unread;
    r->last_end = number;
    if (ev->end.why == IOR_TIMEOUT) {
        if (ev->end.deadline < 0 || ev->end.deadline > 3 || ev->end.error != ETIMEDOUT)
            fail_msg("a time-out with deadline %d and error %d", ev->end.deadline, ev->end.error);
        more = deadlines[ev->end.deadline];
    } else {
        if (ev->end.deadline != -1)
            fail_msg("a deadline in an end that is no time-out");
        if ((ev->end.why == IOR_ERROR && ev->end.error <= 0) || (ev->end.why == IOR_EOF && ev->end.error != 0))
            fail_msg("an end with cause %s and error %d", why, ev->end.error);
        more = ev->end.error != 0 ? ior_errname(ev->end.error) : "";
    }
    line(r, "end %u %s%s%s %llu %llu %llu", number, why, *more != '\0' ? " " : "", more,
         (unsigned long long)ev->end.written, (unsigned long long)ev->end.unsent, (unsigned long long)ev->end.unread);
    if (res->written + res->unsent != res->accepted_bytes)
        fail_msg("written %llu + unsent %llu is not accepted %llu", (unsigned long long)res->written,
                 (unsigned long long)res->unsent, (unsigned long long)res->accepted_bytes);
}

static void note_plain(struct recorder *r, struct rec_res *res, const struct ior_event *ev)
{
    char text[IOR_ADDR_TEXT_MAX];
    unsigned number = rec_number(r, ev->id);
    switch (ev->type) {
    case IOR_EV_ACCEPTED:
        if (ior_addr_format(ev->peer, text, sizeof(text)) < 0)
            fail_msg("the peer's address cannot be formatted");
        res->accept_events++;
        line(r, "accepted %u %s", number, text);
        break;
    case IOR_EV_OPEN:
        if (res->open)
            fail_msg("OPEN twice");
        res->open = true;
        line(r, "open %u", number);
        break;
    case IOR_EV_EOF:
        if (res->eof || res->closing)
            fail_msg("EOF twice, or after close");
        res->eof = true;
        line(r, "eof %u", number);
        break;
    case IOR_EV_DRAINED:
        if (!res->owed)
            fail_msg("DRAINED that is not owed");
        res->owed = false;
        line(r, "drained %u", number);
        break;
    case IOR_EV_READY:
        res->ready_events++;
        line(r, "ready %u %s", number, ior_io_name(ev->ready));
        break;
    case IOR_EV_DEADLINE:
        line(r, "deadline %u", number);
        break;
    case IOR_EV_CUSTOM:
        line(r, "custom %u %d", number, ev->custom.kind);
        break;
    case IOR_EV_RESOLVED:
        line(r, "resolved %u %u of %u", number, ev->resolved->count, ev->resolved->total);
        break;
    default:
        fail_msg("an unknown event %d", (int)ev->type);
    }
}

static void on_event(struct recorder *r, struct ior_context *cx, const struct ior_event *ev)
{
    enter(r, cx);
    struct rec_res *res = rec_of(r, ev->id);
    if (res->ended)
        fail_msg("%s after END", ior_event_name(ev->type));
    if (!res->registered && ev->type != IOR_EV_END && r->handler.registered != NULL)
        fail_msg("%s before registered", ior_event_name(ev->type));
    if (res->registered && res->user != ev->user)
        fail_msg("%s with another user", ior_event_name(ev->type));
    if (res->asked && ev->type != IOR_EV_END)
        fail_msg("%s after the end was asked for", ior_event_name(ev->type));
    if (res->paused && (ev->type == IOR_EV_DATA || ev->type == IOR_EV_EOF || ev->type == IOR_EV_ACCEPTED ||
                        ev->type == IOR_EV_READY || ev->type == IOR_EV_RESOLVED))
        fail_msg("%s while paused", ior_event_name(ev->type));
    if (ev->type == IOR_EV_DATA)
        note_data(r, res, ev);
    else if (ev->type == IOR_EV_END)
        note_end(r, res, ev);
    else
        note_plain(r, res, ev);
    if (r->on_event != NULL)
        r->on_event(r, ev);
    if (ev->type == IOR_EV_ACCEPTED && !r->refuse) {
        ior_id id;
        int err = ior_accept(cx, ev, &id);
        if (err == 0)
            rec_of(r, id);
    }
    leave(r);
}

static void on_listener(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    on_event(self, cx, ev);
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    on_event(self, cx, ev);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct recorder *r = self;
    enter(r, cx);
    if (id == 0) {
        line(r, "error 0 %s", ior_errname(err));
    } else {
        struct rec_res *res = rec_of(r, id);
        res->errors++;
        if (res->ended || res->asked)
            fail_msg("error after the end, or after unregister");
        line(r, "error %u %s", rec_number(r, id), ior_errname(err));
    }
    if (r->on_error != NULL)
        r->on_error(r, id, err);
    leave(r);
}

static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct recorder *r = self;
    enter(r, cx);
    if (r->last_end == 0)
        fail_msg("a handover without an END in front of it");
    struct rec_res *note = &r->res[r->last_end - 1];
    if (note->handed_over)
        fail_msg("handed over twice");
    if (ior_resource_context(res) != NULL)
        fail_msg("handed over, and still registered");
    if (note->registered && res->user != note->user)
        fail_msg("another resource is handed over than the one that ended");
    note->handed_over = true;
    line(r, "handover %zu", r->last_end);
    r->last_end = 0;
    if (r->on_handover != NULL)
        r->on_handover(r, res);
    else if (r->keep)
        note->handed = res;
    else
        ior_resource_free(res);
    leave(r);
}

static const struct ior_handler recorder_handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .stop = on_stop,
    .tick = on_tick,
    .timer = on_timer,
    .command = on_command,
    .registered = on_registered,
    .listener = on_listener,
    .transport = on_transport,
    .error = on_error,
    .handover_listener = on_handover,
    .handover_transport = on_handover,
};

/* ---- life ---- */

struct recorder *rec_bare(struct script *s)
{
    struct recorder *r = calloc(1, sizeof(*r));
    assert_non_null(r);
    r->owns_script = s == NULL;
    r->script = s != NULL ? s : script_new();
    r->handler = recorder_handler;
    r->root = r;
    return r;
}

void rec_open(struct recorder *r, const struct ior_config *config)
{
    struct ior_config plain = script_config(r->script);
    struct ior_config own = config != NULL ? *config : plain;
    own.struct_size = sizeof(own);
    own.engine_ops = plain.engine_ops;
    own.engine_arg = plain.engine_arg;
    own.os = plain.os;
    assert_int_equal(ior_runtime_new(&own, &r->handler, r, &r->rt), 0);
    r->cx = ior_runtime_context(r->rt);
}

void rec_begin(struct recorder *r)
{
    rec_settle(r);
    rec_expect(r, r->handler.start != NULL ? "start\n" : "");
    script_forget(r->script);
}

/*
 * Lets another service come, write a byte and go, so that the runtime has been used: what it keeps for the next one
 * (blocks of output) is there, and the ways that are only taken then are taken.
 */
static void warm_up(struct recorder *r)
{
    struct recorder *w = rec_attach(r);
    int fd;
    ior_id id = rec_stream(w, NULL, &fd);
    rec_settle(r);
    assert_int_equal(rec_send_text(w, id, "x"), 0);
    rec_settle(r);
    script_hear_text(r->script, fd, "x");
    assert_int_equal(ior_detach(w->cx, 0), 0);
    rec_settle(r);
    rec_free_attached(w);
    r->ticks = 0;
    script_forget(r->script);
}

struct recorder *rec_new_with(const struct ior_config *like)
{
    struct recorder *r = rec_bare(NULL);
    rec_open(r, like);
    rec_begin(r);
    warm_up(r);
    return r;
}

struct recorder *rec_new(void)
{
    return rec_new_with(NULL);
}

struct recorder *rec_attach(struct recorder *first)
{
    struct recorder *r = rec_bare(first->script);
    r->root = first;
    r->rt = first->rt;
    assert_int_equal(ior_attach(first->cx, &r->handler, r, &r->cx), 0);
    return r;
}

void rec_close_runtime(struct recorder *r)
{
    script_free_runtime(r->script, r->rt);
    r->rt = NULL;
}

void rec_free_attached(struct recorder *r)
{
    unsigned left = 0;
    for (size_t i = 0; i < r->n; i++) {
        struct rec_res *res = &r->res[i];
        bool taken = (res->open || res->registered || res->ended);
        bool handover = r->handler.handover_listener != NULL && r->handler.handover_transport != NULL;
        left += taken && (!res->ended || (handover && !res->handed_over));
        ior_resource_free(res->handed);
        free(res->in);
    }
    free(r->res);
    free(r->by_slot);
    free(r->log);
    struct script *s = r->owns_script ? r->script : NULL;
    free(r);
    if (left > 0)
        fail_msg("%u resources did not come to their END and handover", left);
    if (s != NULL)
        script_free(s);
}

void rec_free(struct recorder *r)
{
    if (r->rt != NULL)
        rec_close_runtime(r);
    rec_free_attached(r);
}

int rec_turn(struct recorder *r)
{
    return script_turn(r->script, r->rt);
}

unsigned rec_settle(struct recorder *r)
{
    return script_settle(r->script, r->rt);
}

unsigned rec_pass(struct recorder *r, uint64_t ns)
{
    return script_pass(r->script, r->rt, ns);
}

bool rec_idle(struct recorder *r)
{
    return script_idle(r->script, r->rt);
}

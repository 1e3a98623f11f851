/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The witness: a service that notes what it is told, and complains where one of the promises is broken: `registered`
 * once and first, END once and last, then one handover; nothing but END after an end was asked for; no data while
 * paused, after close or after EOF; bytes in order, each once; no DRAINED that is not owed; written and unsent together
 * are what was accepted, and can be read back; timers once and never early; commands once and in order; no callback
 * inside a callback.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "torture.h"

static void enter(struct service *s, struct ior_context *cx)
{
    if (s->depth++ != 0)
        complain(s->run, "a callback inside a callback");
    if (s->gone)
        complain(s->run, "a callback of a service that is gone");
    s->cx = cx;
}

static void leave(struct service *s)
{
    s->depth--;
}

static struct res *find(struct service *s, ior_id id)
{
    for (size_t i = s->n; i-- > 0;)
        if (s->res[i].id == id)
            return &s->res[i];
    return NULL;
}

struct res *t_res(struct service *s, ior_id id)
{
    struct res *r = find(s, id);
    if (r != NULL)
        return r;
    s->nobody = (struct res){.id = 0};
    return &s->nobody;
}

struct res *t_res_new(struct service *s, ior_id id)
{
    if (id == 0 || (id & 15) != 0)
        complain(s->run, "%llx cannot be an id", (unsigned long long)id);
    if (find(s, id) != NULL)
        complain(s->run, "an id was given out twice");
    if (s->n == MAX_RES)
        abort(); /* the scenario is too large */
    s->res[s->n].id = id;
    return &s->res[s->n++];
}

/* ---- callbacks ---- */

static int on_start(void *self, struct ior_context *cx)
{
    struct service *s = self;
    enter(s, cx);
    if (s->starts++ != 0)
        complain(s->run, "start was called twice");
    leave(s);
    return 0;
}

static void on_stop(void *self, struct ior_context *cx)
{
    struct service *s = self;
    enter(s, cx);
    if (s->stops++ != 0)
        complain(s->run, "stop was called twice");
    if (s->on_stop != NULL)
        s->on_stop(s);
    leave(s);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    struct service *s = self;
    struct timer *timer = user;
    enter(s, cx);
    if (timer->id != id || timer->fired || timer->cancelled)
        complain(s->run, "a timer fired that was cancelled or fired before");
    if (ior_sim_now(s->run->sim) < timer->due_ns)
        complain(s->run, "a timer fired early");
    timer->fired = timer->period_ns == 0;
    timer->due_ns += timer->period_ns * (1 + ior_timer_missed(cx));
    timer->times++;
    if (s->on_timer != NULL)
        s->on_timer(s);
    leave(s);
}

static void on_command(void *self, struct ior_context *cx, struct ior_command *command)
{
    struct service *s = self;
    struct parcel *parcel = (struct parcel *)command;
    enter(s, cx);
    if (command->is_reply) {
        if (!parcel->replied)
            complain(s->run, "a reply that nobody sent");
        parcel->delivered = true; /* it came back to whoever asked */
        leave(s);
        return;
    }
    if (!parcel->accepted || parcel->delivered || parcel->dropped)
        complain(s->run, "a command was delivered that was refused, or twice");
    if (s->last_command[parcel->sender] >= parcel->number)
        complain(s->run, "a sender's commands come out of order");
    s->last_command[parcel->sender] = parcel->number;
    if (command->reply_to != NULL) {
        parcel->replied = true;
        ior_reply(cx, command, 7);
    } else {
        parcel->delivered = true;
    }
    if (s->on_command != NULL)
        s->on_command(s, command);
    leave(s);
}

static void on_registered(void *self, struct ior_context *cx, ior_id id, void *user)
{
    struct service *s = self;
    enter(s, cx);
    struct res *r = find(s, id);
    (void)user;
    if (r == NULL)
        complain(s->run, "a resource was registered that nobody knows");
    else if (r->registered || r->ended || r->asked || r->told > 0)
        complain(s->run, "registered comes late, or twice");
    else
        r->registered = true;
    leave(s);
}

static void note_data(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (r->closing || r->eof || !r->open)
        complain(s->run, "data after close or EOF, or before OPEN");
    if (ev->data.len == 0 || ev->data.bytes == NULL)
        complain(s->run, "a data event without data");
    else if (!is_pattern(ev->data.bytes, r->in, ev->data.len))
        complain(s->run, "bytes were lost, doubled, or told in another order");
    r->in += ev->data.len;
}

static void check_due(struct service *s, const struct res *r, int which)
{
    if (which >= 0 && ior_sim_now(s->run->sim) < r->due_ns[which])
        complain(s->run, "deadline %d passes early", which);
}

static void note_end(struct service *s, struct res *r, const struct ior_event *ev)
{
    r->ended = true;
    r->why = ev->end.why;
    r->error = ev->end.error;
    r->deadline = ev->end.deadline;
    r->written = ev->end.written;
    r->unsent = ev->end.unsent;
    r->unread = ev->end.unread;
    s->last_end = r;
    check_due(s, r, r->deadline);
    if (r->written + r->failed + r->unsent != r->accepted)
        complain(s->run, "written %llu, failed %llu and unsent %llu are not the %llu that were accepted",
                 (unsigned long long)r->written, (unsigned long long)r->failed, (unsigned long long)r->unsent,
                 (unsigned long long)r->accepted);
    if ((r->why == IOR_TIMEOUT) != (r->deadline >= 0) || (r->why == IOR_TIMEOUT && r->error != ETIMEDOUT) ||
        (r->why == IOR_ERROR && r->error <= 0) || (r->why == IOR_EOF && r->error != 0))
        complain(s->run, "an end with the cause %s, error %d, deadline %d", ior_why_name(r->why), r->error,
                 r->deadline);
}

/* Each begins with its place in the pattern. */
static void note_datagram(struct service *s, struct res *r, const struct ior_datagram *d)
{
    if (r->closing)
        complain(s->run, "a datagram after close");
    if (d->truncated || d->peer == NULL || d->local == NULL || d->error != 0)
        complain(s->run, "a datagram that is not whole");
    if (!is_datagram(d->bytes, d->len))
        complain(s->run, "a datagram that nobody sent");
    r->datagrams++;
}

static void note_plain(struct service *s, struct res *r, const struct ior_event *ev)
{
    switch (ev->type) {
    case IOR_EV_ACCEPTED:
        r->accepts++;
        break;
    case IOR_EV_OPEN:
        if (r->open)
            complain(s->run, "OPEN twice");
        r->open = true;
        break;
    case IOR_EV_EOF:
        if (r->eof || r->closing)
            complain(s->run, "EOF twice, or after close");
        r->eof = true;
        break;
    case IOR_EV_DRAINED:
        if (!r->owed)
            complain(s->run, "DRAINED that is not owed");
        r->owed = false;
        break;
    case IOR_EV_READY:
        r->readies++;
        break;
    case IOR_EV_DEADLINE:
        check_due(s, r, IOR_DEADLINE_USER);
        r->deadlines++;
        break;
    case IOR_EV_CUSTOM:
        r->customs++;
        break;
    case IOR_EV_DATAGRAM:
        note_datagram(s, r, ev->datagram);
        break;
    case IOR_EV_SEND_ERROR:
        if (ev->datagram->error <= 0)
            complain(s->run, "a datagram failed without an error");
        r->send_errors++;
        r->failed += ev->datagram->was_sent ? 0 : ev->datagram->len;
        break;
    case IOR_EV_RESOLVED:
        if (ev->resolved->count == 0 || r->resolved++ != 0)
            complain(s->run, "a look-up without an address, or told twice");
        break;
    default:
        complain(s->run, "an unknown event %d", (int)ev->type);
    }
}

static void on_event(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct service *s = self;
    enter(s, cx);
    struct res *r = find(s, ev->id);
    if (r == NULL) {
        complain(s->run, "%s of a resource that nobody knows", ior_event_name(ev->type));
        leave(s);
        return;
    }
    bool input = ev->type == IOR_EV_DATA || ev->type == IOR_EV_EOF || ev->type == IOR_EV_ACCEPTED ||
                 ev->type == IOR_EV_READY || ev->type == IOR_EV_DATAGRAM || ev->type == IOR_EV_RESOLVED;
    if (r->ended)
        complain(s->run, "%s after END", ior_event_name(ev->type));
    if (!r->registered && ev->type != IOR_EV_END)
        complain(s->run, "%s before registered", ior_event_name(ev->type));
    if (r->asked && ev->type != IOR_EV_END)
        complain(s->run, "%s after the end was asked for", ior_event_name(ev->type));
    if (r->paused && input)
        complain(s->run, "%s while paused", ior_event_name(ev->type));
    r->told++;
    if (ev->type == IOR_EV_DATA)
        note_data(s, r, ev);
    else if (ev->type == IOR_EV_END)
        note_end(s, r, ev);
    else
        note_plain(s, r, ev);
    if (s->on_event != NULL)
        s->on_event(s, r, ev);
    leave(s);
}

static void on_error(void *self, struct ior_context *cx, ior_id id, int err)
{
    struct service *s = self;
    enter(s, cx);
    struct res *r = id != 0 ? find(s, id) : NULL;
    s->errors++;
    if (err <= 0)
        complain(s->run, "an error without a number");
    if (id != 0 && (r == NULL || r->ended || r->asked))
        complain(s->run, "an error after the end");
    leave(s);
}

/* All that is unsent can be read back (a range of a file is known by its length alone). */
static void check_unsent(struct service *s, const struct res *r, const struct ior_resource *res)
{
    struct iovec pieces[64];
    int n = 0;
    uint64_t at = r->written + r->failed;
    size_t len = ior_resource_unsent(res, pieces, 64, &n);
    if (len != r->unsent)
        complain(s->run, "handed over with %zu unsent bytes; END said %llu", len, (unsigned long long)r->unsent);
    for (int i = 0; i < n && i < 64; i++) {
        if (pieces[i].iov_base != NULL && !is_pattern(pieces[i].iov_base, at, pieces[i].iov_len))
            complain(s->run, "other bytes are handed back than were sent");
        at += pieces[i].iov_len;
    }
}

static void on_handover(void *self, struct ior_context *cx, struct ior_resource *res)
{
    struct service *s = self;
    enter(s, cx);
    struct res *r = s->last_end;
    s->last_end = NULL;
    if (r == NULL || r->handed_over || ior_resource_context(res) != NULL)
        complain(s->run, "a handover without an END in front of it, or of what is registered");
    else
        check_unsent(s, r, res);
    if (r != NULL)
        r->handed_over = true;
    if (r != NULL && s->keep)
        r->handed = res;
    else
        ior_resource_free(res);
    leave(s);
}

static const struct ior_handler witness = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .stop = on_stop,
    .timer = on_timer,
    .command = on_command,
    .registered = on_registered,
    .listener = on_event,
    .transport = on_event,
    .error = on_error,
    .handover_listener = on_handover,
    .handover_transport = on_handover,
};

/* ---- life ---- */

static struct service *service_new(struct run *run)
{
    struct service *s = calloc(1, sizeof(*s));
    if (s == NULL || run->services_n == MAX_SERVICES)
        abort();
    s->run = run;
    s->host = run->here;
    run->services[run->services_n++] = s;
    return s;
}

struct service *t_service(struct run *run, const struct ior_config *like)
{
    const struct ior_config tight = {.struct_size = sizeof(tight),
                                     .read_bytes = 512,
                                     .records = 2,
                                     .accepts = 1,
                                     .reads = 1,
                                     .commands = 1,
                                     .timers = 1};
    struct service *s = service_new(run);
    if (like == NULL && run->way == WAY_TIGHT)
        like = &tight;
    uint32_t fds = ior_sim_open_fds(run->sim, s->host);
    if (t_ok(run, ior_sim_runtime_new(run->sim, s->host, like, &witness, s, &s->rt))) {
        s->cx = ior_runtime_context(s->rt);
        return s;
    }
    if (s->rt != NULL || ior_sim_open_fds(run->sim, s->host) != fds)
        complain(run, "a runtime that was refused left something");
    s->gone = true;
    return NULL;
}

struct service *t_attach(struct service *first)
{
    struct service *s = service_new(first->run);
    s->attached = true;
    if (t_ok(s->run, ior_attach(first->cx, &witness, s, &s->cx))) {
        s->rt = first->rt;
        return s;
    }
    if (s->cx != NULL)
        complain(s->run, "an attach that was refused gave a context");
    s->gone = true;
    return NULL;
}

void t_free(struct service *s)
{
    if (s == NULL || s->gone || s->rt == NULL)
        return;
    if (!s->attached)
        ior_runtime_free(s->rt);
    for (size_t i = 0; i < s->run->services_n; i++) {
        struct service *other = s->run->services[i];
        if (other == s || (!s->attached && other->rt == s->rt)) {
            other->gone = true;
            other->rt = NULL;
            other->cx = NULL;
        }
    }
}

void service_check_end(struct service *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct res *r = &s->res[i];
        if (!r->ended || !r->handed_over)
            complain(s->run, "resource %zu: %s", i, r->ended ? "ended without a handover" : "never came to its END");
        ior_resource_free(r->handed);
        r->handed = NULL;
    }
}

bool t_alive(struct service *s, ior_id id)
{
    const struct res *r = id != 0 ? find(s, id) : NULL;
    return r != NULL && !r->ended && !r->asked && !s->gone;
}

bool t_ended(struct service *s, ior_id id, enum ior_why why, int error)
{
    const struct res *r = id != 0 ? find(s, id) : NULL;
    return r != NULL && r->ended && r->why == why && r->error == error;
}

uint64_t t_in(struct service *s, ior_id id)
{
    const struct res *r = id != 0 ? find(s, id) : NULL;
    return r != NULL ? r->in : 0;
}

ior_id t_nth(struct service *s, size_t n)
{
    return n < s->n ? s->res[n].id : 0;
}

struct ior_resource *t_handed(struct service *s, ior_id id)
{
    struct res *r = id != 0 ? find(s, id) : NULL;
    struct ior_resource *res = r != NULL ? r->handed : NULL;
    if (r != NULL)
        r->handed = NULL;
    return res;
}

/* ---- hooks ---- */

/* Answers ACCEPTED; a connection that cannot be taken is closed by the runtime. */
static void take(struct service *s, const struct ior_event *ev)
{
    ior_id id = 0;
    if (t_ok(s->run, ior_accept(s->cx, ev, &id)))
        t_res_new(s, id);
    else if (id != 0)
        complain(s->run, "an accept that was refused gave an id");
}

void t_sink(struct service *s, struct res *r, const struct ior_event *ev)
{
    (void)r;
    if (ev->type == IOR_EV_ACCEPTED)
        take(s, ev);
}

void t_echo(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_ACCEPTED)
        take(s, ev);
    else if (ev->type == IOR_EV_DATA) {
        int answer = t_send(s, r->id, ev->data.len);
        t_want(s->run, answer >= 0 || answer == -EPIPE); /* a peer that is gone has said things before */
    }
}

void t_tens(struct service *s, struct res *r, const struct ior_event *ev)
{
    if (ev->type == IOR_EV_ACCEPTED)
        take(s, ev);
    else if (ev->type == IOR_EV_DATA && r->in % 10 != 0)
        (void)t_ok(s->run, t_unread(s, r->id, (size_t)(r->in % 10 < ev->data.len ? r->in % 10 : ev->data.len)));
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests. Each is looked at from both sides: one that was taken is noted, so that the witness knows what may come;
 * one that was refused has changed nothing: no resource, no fd, no timer, nothing in a queue, and no answer.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "torture.h"

/* What a refused request leaves as it was. */
struct view {
    size_t count, timers;
    uint32_t fds;
    uint64_t queued;
};

static struct view look(struct service *s, ior_id id)
{
    return (struct view){.count = ior_count(s->cx),
                         .timers = ior_timer_count(s->cx),
                         .fds = ior_sim_open_fds(s->run->sim, s->host),
                         .queued = id != 0 ? ior_queued(s->cx, id) : 0};
}

static int answered(struct service *s, ior_id id, struct view before, int answer, const char *what)
{
    struct view now = look(s, id);
    if (answer < 0 && (now.count != before.count || now.timers != before.timers || now.fds != before.fds ||
                       now.queued != before.queued))
        complain(s->run, "%s answered %s and changed something", what, ior_errname(answer));
    return answer;
}

/* ---- what makes resources ---- */

/* A request that gives an id. */
static ior_id given(struct service *s, struct view before, int answer, ior_id id, const char *what)
{
    if (answered(s, 0, before, answer, what) < 0) {
        if (id != 0)
            complain(s->run, "%s was refused and gave an id", what);
        if (s->run->strict)
            complain(s->run, "%s answered %s", what, ior_errname(answer));
        return 0;
    }
    t_res_new(s, id);
    return id;
}

static struct ior_addr addr_of(const char *text)
{
    struct ior_addr addr;
    if (ior_addr_parse(&addr, text) < 0)
        abort();
    return addr;
}

ior_id t_listen(struct service *s, const char *text, const struct ior_listen_options *opts)
{
    struct ior_addr addr = addr_of(text);
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_listen(s->cx, &addr, opts, &id);
    return given(s, before, answer, id, "listen");
}

ior_id t_connect(struct service *s, const char *text, const struct ior_stream_options *opts)
{
    struct ior_addr addr = addr_of(text);
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_connect(s->cx, &addr, opts, &id);
    if (given(s, before, answer, id, "connect") != 0 && opts != NULL)
        t_res(s, id)->due_ns[IOR_DEADLINE_CONNECT] = ior_sim_now(s->run->sim) + opts->connect_ns;
    return answer == 0 ? id : 0;
}

ior_id t_adopt(struct service *s, int kind, const struct ior_stream_options *opts, struct peer **ret_peer)
{
    struct run *run = s->run;
    struct peer *peer = &run->peers[run->peers_n];
    ior_id id = 0;
    if (run->peers_n == MAX_PEERS)
        abort();
    *peer = (struct peer){.run = run, .pipe = (kind & IOR_FD_KIND_MASK) == IOR_FD_PIPE};
    int fd = ior_sim_fd(run->sim, s->host, kind, &peer->end);
    *ret_peer = NULL;
    if (fd < 0)
        abort();
    run->peers_n++;
    struct view before = look(s, 0);
    int answer = ior_adopt(s->cx, fd, opts, &id);
    if (given(s, before, answer, id, "adopt") == 0)
        (void)ior_sim_close(run->sim, fd); /* it stayed the caller's */
    *ret_peer = peer;
    t_listen_to(peer);
    return id;
}

ior_id t_resolve(struct service *s, const char *name, uint64_t timeout_ns)
{
    const struct ior_resolve_options opts = {.struct_size = sizeof(opts), .timeout_ns = timeout_ns};
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_resolve(s->cx, name, 80, &opts, &id);
    if (given(s, before, answer, id, "resolve") != 0)
        t_res(s, id)->due_ns[IOR_DEADLINE_CONNECT] = ior_sim_now(s->run->sim) + timeout_ns;
    return answer == 0 ? id : 0;
}

ior_id t_dial_name(struct service *s, const char *name, uint64_t connect_ns)
{
    const struct ior_dial_options opts = {
        .struct_size = sizeof(opts),
        .stream = {.struct_size = sizeof(struct ior_stream_options), .connect_ns = connect_ns}};
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_dial(s->cx, name, 80, &opts, &id);
    if (given(s, before, answer, id, "dial") != 0)
        t_res(s, id)->due_ns[IOR_DEADLINE_CONNECT] = ior_sim_now(s->run->sim) + connect_ns;
    return answer == 0 ? id : 0;
}

ior_id t_datagrams(struct service *s, const char *text, const struct ior_datagram_options *opts)
{
    struct ior_addr addr = addr_of(text);
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_datagram_open(s->cx, &addr, opts, &id);
    return given(s, before, answer, id, "datagram_open");
}

ior_id t_watch(struct service *s, int fd, unsigned io)
{
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_watch(s->cx, fd, io, NULL, &id);
    return given(s, before, answer, id, "watch");
}

ior_id t_register(struct service *s, struct ior_resource *res, const struct res *old)
{
    if (res == NULL)
        return 0;
    struct view before = look(s, 0);
    ior_id id = 0;
    int answer = ior_register(s->cx, res, &id);
    if (given(s, before, answer, id, "register") == 0) {
        if (old != NULL && ior_resource_unsent(res, NULL, 0, NULL) != old->unsent)
            complain(s->run, "register was refused and lost bytes");
        ior_resource_free(res);
        return 0;
    }
    struct res *r = t_res(s, id);
    if (old != NULL) {
        r->accepted = old->accepted;
        r->in = old->in;
    }
    return id;
}

/* ---- timers ---- */

/* Once, or (period_ns not 0) again and again. */
static ior_timer_id new_timer(struct service *s, uint64_t after_ns, uint64_t period_ns)
{
    struct timer *timer = &s->timers[s->timers_n];
    struct view before = look(s, 0);
    if (s->timers_n == MAX_TIMERS)
        abort();
    *timer = (struct timer){.due_ns = ior_time_add(ior_sim_now(s->run->sim), after_ns), .period_ns = period_ns};
    int answer = period_ns != 0 ? ior_timer_every(s->cx, after_ns, period_ns, timer, &timer->id)
                                : ior_timer_set(s->cx, after_ns, timer, &timer->id);
    answer = answered(s, 0, before, answer, "timer_set");
    if (!t_ok(s->run, answer)) {
        if (timer->id != 0)
            complain(s->run, "timer_set was refused and gave an id");
        return 0;
    }
    s->timers_n++;
    return timer->id;
}

ior_timer_id t_timer(struct service *s, uint64_t after_ns)
{
    return new_timer(s, after_ns, 0);
}

ior_timer_id t_timer_every(struct service *s, uint64_t first_ns, uint64_t period_ns)
{
    return new_timer(s, first_ns, period_ns);
}

static struct timer *timer_of(struct service *s, ior_timer_id id)
{
    for (size_t i = 0; i < s->timers_n; i++)
        if (s->timers[i].id == id)
            return &s->timers[i];
    return NULL;
}

int t_timer_cancel(struct service *s, ior_timer_id id)
{
    struct timer *timer = id != 0 ? timer_of(s, id) : NULL;
    if (timer == NULL)
        return -ENOENT;
    int answer = ior_timer_cancel(s->cx, id);
    if (answer != (timer->fired || timer->cancelled ? -ENOENT : 0))
        complain(s->run, "timer_cancel answered %s", ior_errname(answer));
    timer->cancelled = timer->cancelled || answer == 0;
    return answer;
}

int t_timer_move(struct service *s, ior_timer_id id, uint64_t after_ns)
{
    struct timer *timer = id != 0 ? timer_of(s, id) : NULL;
    if (timer == NULL)
        return -ENOENT;
    int answer = answered(s, 0, look(s, 0), ior_timer_move(s->cx, id, after_ns), "timer_move");
    if (answer == 0)
        timer->due_ns = ior_time_add(ior_sim_now(s->run->sim), after_ns);
    return answer;
}

/* ---- sends ---- */

/* Notes what a send answered. An id of 0 never comes here. */
static int sent(struct service *s, ior_id id, struct view before, int answer, uint64_t len, const char *what)
{
    struct res *r = t_res(s, id);
    answered(s, id, before, answer, what);
    if (answer >= 0) {
        r->accepted += len;
        if (ior_queued(s->cx, id) < before.queued + len)
            complain(s->run, "%s was taken, and the queue has not grown by it", what);
    }
    r->owed = r->owed || answer == 1 || answer == -ENOBUFS;
    return answer;
}

int t_send(struct service *s, ior_id id, size_t len)
{
    if (id == 0)
        return -ENOENT;
    unsigned char *bytes = malloc(len);
    if (bytes == NULL)
        abort();
    pattern(bytes, t_res(s, id)->accepted, len);
    struct view before = look(s, id);
    int answer = sent(s, id, before, ior_send(s->cx, id, bytes, len), len, "send");
    free(bytes);
    return answer;
}

int t_send_to(struct service *s, ior_id id, const char *text, size_t len)
{
    struct ior_addr addr = addr_of(text);
    if (id == 0)
        return -ENOENT;
    unsigned char *bytes = malloc(len + 1);
    if (bytes == NULL)
        abort();
    pattern(bytes, t_res(s, id)->accepted, len);
    struct view before = look(s, id);
    int answer = sent(s, id, before, ior_send_to(s->cx, id, &addr, bytes, len), len, "send_to");
    free(bytes);
    return answer;
}

int t_sendv(struct service *s, ior_id id, size_t len, int pieces)
{
    struct iovec iov[16];
    if (id == 0)
        return -ENOENT;
    unsigned char *bytes = malloc(len);
    if (bytes == NULL || pieces > 16)
        abort();
    pattern(bytes, t_res(s, id)->accepted, len);
    for (int i = 0; i < pieces; i++) {
        size_t from = len * (size_t)i / (size_t)pieces, to = len * (size_t)(i + 1) / (size_t)pieces;
        iov[i] = (struct iovec){.iov_base = bytes + from, .iov_len = to - from};
    }
    struct view before = look(s, id);
    int answer = sent(s, id, before, ior_sendv(s->cx, id, iov, pieces), len, "sendv");
    free(bytes);
    return answer;
}

int t_send_buf(struct service *s, ior_id id, struct ior_buf *buf)
{
    if (id == 0 || buf == NULL)
        return -ENOENT;
    struct view before = look(s, id);
    unsigned released = s->run->released;
    int answer = sent(s, id, before, ior_send_buf(s->cx, id, buf), ior_buf_len(buf), "send_buf");
    if (s->run->released != released)
        complain(s->run, "a buffer was released inside a request");
    return answer;
}

int t_send_file(struct service *s, ior_id id, int fd, size_t len)
{
    if (id == 0)
        return -ENOENT;
    struct view before = look(s, id);
    return sent(s, id, before, ior_send_file(s->cx, id, fd, t_res(s, id)->accepted, len), len, "send_file");
}

/* ---- the others ---- */

/* An id that exists, for requests that note something. */
static struct res *noted(struct service *s, ior_id id)
{
    return id != 0 && !s->gone && t_res(s, id)->id == id ? t_res(s, id) : NULL;
}

int t_pause(struct service *s, ior_id id)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = ior_pause(s->cx, id);
    r->paused = r->paused || answer == 0;
    return answer;
}

int t_resume(struct service *s, ior_id id)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = ior_resume(s->cx, id);
    r->paused = r->paused && answer != 0;
    return answer;
}

int t_close(struct service *s, ior_id id, uint64_t drain_ns)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = answered(s, id, look(s, id), ior_close(s->cx, id, drain_ns), "close");
    r->closing = r->closing || answer == 0;
    if (answer == 0)
        r->due_ns[IOR_DEADLINE_DRAIN] = ior_time_add(ior_sim_now(s->run->sim), drain_ns);
    return answer;
}

int t_abort(struct service *s, ior_id id)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = answered(s, id, look(s, id), ior_abort(s->cx, id), "abort");
    r->asked = r->asked || answer == 0;
    return answer;
}

int t_unregister(struct service *s, ior_id id)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = answered(s, id, look(s, id), ior_unregister(s->cx, id), "unregister");
    r->asked = r->asked || answer == 0;
    return answer;
}

int t_fin(struct service *s, ior_id id)
{
    return noted(s, id) != NULL ? answered(s, id, look(s, id), ior_finish(s->cx, id), "finish") : -ENOENT;
}

int t_unread(struct service *s, ior_id id, size_t len)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = answered(s, id, look(s, id), ior_unread(s->cx, id, len), "unread");
    if (answer == 0)
        r->in -= len;
    return answer;
}

int t_deadline(struct service *s, ior_id id, int which, uint64_t after_ns)
{
    struct res *r = noted(s, id);
    if (r == NULL)
        return -ENOENT;
    int answer = answered(s, id, look(s, id), ior_deadline(s->cx, id, which, after_ns), "deadline");
    if (answer == 0)
        r->due_ns[which] = ior_time_add(ior_sim_now(s->run->sim), after_ns);
    return answer;
}

int t_interest(struct service *s, ior_id id, unsigned io)
{
    return noted(s, id) != NULL ? answered(s, id, look(s, id), ior_interest(s->cx, id, io), "interest") : -ENOENT;
}

void t_stop(struct service *s, uint64_t drain_ns)
{
    if (!s->gone && s->cx != NULL)
        ior_stop(s->cx, drain_ns);
}

int t_detach(struct service *s, uint64_t drain_ns)
{
    if (s->gone || s->cx == NULL)
        return -ENOENT;
    int answer = ior_detach(s->cx, drain_ns);
    if (answer == 0)
        s->cx = NULL; /* callbacks bring it along as long as it is there */
    return answer;
}

static void drop_parcel(struct ior_command *command)
{
    struct parcel *parcel = (struct parcel *)command;
    if (!parcel->accepted || parcel->delivered || parcel->dropped)
        complain(parcel->run, "a command was dropped that was refused, delivered, or dropped before");
    parcel->dropped = true;
}

bool t_command(struct run *run, struct ior_controller *ctl, unsigned sender, struct ior_controller *reply_to)
{
    struct parcel *parcel = &run->parcels[run->parcels_n];
    if (ctl == NULL || run->parcels_n == MAX_COMMANDS)
        return false;
    *parcel = (struct parcel){.run = run, .sender = sender, .number = (unsigned)++run->parcels_n};
    parcel->command = (struct ior_command){.kind = 1, .reply_to = reply_to, .drop = drop_parcel};
    parcel->accepted = true; /* it may be delivered before the call is back */
    int answer = ior_controller_send(ctl, &parcel->command);
    if (answer == 0)
        return true;
    parcel->accepted = false;
    if (answer != -EPIPE)
        complain(run, "controller_send answered %s", ior_errname(answer));
    return false;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands from other threads and from the story itself, their replies, and stops. Each accepted command arrives once,
 * in order for its sender, or comes back through `drop` where it cannot.
 */
#include "story.h"

#define THREAD_ACTS 80 /* then it ends */

static struct command *command_of(struct ior_command *base)
{
    return (struct command *)(void *)base;
}

static void dropped(struct ior_command *base)
{
    struct command *command = command_of(base);
    struct story *s = command->s;
    const struct service *to = command->to;
    CHECK(s, 7, command->state == COMMAND_SENT, "a command is dropped that was not under way");
    CHECK(s, 13, !s->in_request && !s->in_callback, "drop is called from inside a request or a callback");
    CHECK(s, 9,
          (s->in_free && !to->rt->over) || base->is_reply || !to->handler.command || to->failed ||
              to->rt->first->failed,
          "a command from before the line is dropped");
    NOTE(s, "  a command is dropped");
    command->state = COMMAND_FREE;
}

static struct command *some_command(struct story *s)
{
    struct command *command = &s->commands[pick(s, COMMANDS)];
    return command->state == COMMAND_FREE ? command : NULL;
}

/* From a simulated thread too, in the midst of anything: it touches controllers only. */
void command_send(struct story *s, unsigned sender)
{
    struct command *command = some_command(s);
    if (!command || s->services_n == 0)
        return;
    struct service *to = &s->services[pick(s, s->services_n)];
    struct service *reply = &s->services[pick(s, s->services_n)];
    if (!to->ctl)
        return;
    *command = (struct command){.s = s, .sender = sender, .number = ++s->command_number[sender], .to = to};
    command->base.drop = dropped;
    if (reply->ctl && once_in(s, 3)) {
        command->reply = reply;
        command->base.reply_to = reply->ctl;
    }
    command->state = COMMAND_SENT;
    bool line = to->line, open = !line && !to->rt->stopping && !to->rt->over;
    int r = ior_controller_send(to->ctl, &command->base);
    NOTE(s, "  sender %u sends command %llu: %s", sender, (unsigned long long)command->number, ior_errname(r));
    mix(s, (uint64_t)(int64_t)r);
    CHECK(s, 7, r == 0 || r == -EPIPE, "ior_controller_send answers %s", ior_errname(r));
    CHECK(s, 9, r == -EPIPE || !line, "a command is taken after the line");
    CHECK(s, 7, r == 0 || !open, "a command is refused before the line");
    if (r < 0)
        command->state = COMMAND_FREE;
    else
        to->rt->sent++;
}

static void answer(struct service *service, struct command *command)
{
    struct story *s = service->s;
    command->to = command->reply;
    command->state = COMMAND_SENT;
    command->to->rt->sent++;
    s->in_request = true;
    ior_reply(service->cx, &command->base, 42);
    s->in_request = false;
    NOTE(s, "  a command is answered");
}

void command_came(struct service *service, struct ior_command *base)
{
    struct story *s = service->s;
    struct command *command = command_of(base);
    CHECK(s, 7, command >= s->commands && command < s->commands + COMMANDS && command->state == COMMAND_SENT,
          "a command comes that was not under way");
    CHECK(s, 7, command->to == service, "a command comes to another service");
    mix(s, command->number);
    struct runtime *rt = service->rt;
    if (service->command_turn != rt->turn)
        service->commands = 0;
    service->command_turn = rt->turn;
    service->commands++;
    CHECK(s, 11, !ticks(rt) || service->commands <= (rt->config.commands ? rt->config.commands : 1024),
          "%u commands in a turn", service->commands);
    if (base->is_reply) {
        CHECK(s, 7, base->status == 42, "a reply has another status");
        command->state = COMMAND_FREE;
        return;
    }
    CHECK(s, 7, command->number > service->last[command->sender], "commands of one sender come out of order");
    service->last[command->sender] = command->number;
    if (!base->reply_to) {
        command->state = COMMAND_FREE;
        return;
    }
    answer(service, command);
}

/* ---- other threads ---- */

static uint64_t thread_acts(struct story *s, unsigned sender)
{
    if (s->ending || s->acts[sender]++ > THREAD_ACTS)
        return IOR_NEVER;
    command_send(s, sender);
    if (s->plan.stops && once_in(s, 200)) {
        struct service *service = &s->services[pick(s, s->services_n)];
        if (service->ctl && service->used) {
            service->rt->stopping = service->line = service->soft_line = true;
            service->rt->sent++;
            s->harsh++;
            service->rt->drain_ns = 0;
            NOTE(s, "  a thread asks for the shutdown");
            (void)ior_controller_shutdown(service->ctl, pick(s, 2) * 50 * IOR_NS_PER_MS);
        }
    }
    return 1000 + (pick(s, 3) == 2 ? pick(s, 2000) : pick(s, 3000000));
}

static uint64_t first_thread(void *arg)
{
    return thread_acts(arg, 1);
}

static uint64_t second_thread(void *arg)
{
    return thread_acts(arg, 2);
}

void threads_begin(struct story *s)
{
    if (!s->plan.threads)
        return;
    ior_sim_thread(s->sim, first_thread, s);
    if (once_in(s, 2))
        ior_sim_thread(s->sim, second_thread, s);
}

/* ---- stops ---- */

void stop_act(struct story *s, struct runtime *rt)
{
    static const uint64_t drains[] = {IOR_NS_PER_SEC, 60 * IOR_NS_PER_SEC, IOR_NS_PER_MS, 0};
    uint64_t drain_ns = drains[pick(s, 4)];
    if (!rt->rt || rt->over || !rt->first->used)
        return;
    if (!s->ending)
        s->harsh++;
    for (uint64_t n = pick(s, 8); n > 4; n--)
        command_send(s, 0); /* there may be more than a turn serves */
    uint64_t how = pick(s, 3);
    rt->drain_ns = rt->stopping && rt->drain_ns < drain_ns ? rt->drain_ns : drain_ns;
    rt->stopping = true;
    NOTE(s, "  stop of the runtime on host %d", rt->host);
    if (how == 0 || !rt->first->ctl) {
        for (unsigned i = 0; i < s->services_n; i++) {
            if (s->services[i].rt == rt)
                s->services[i].line = true;
        }
        s->in_request = true;
        ior_stop(rt->first->cx, drain_ns);
        s->in_request = false;
    } else {
        rt->first->line = rt->first->soft_line = true;
        rt->sent++;
        s->in_request = true;
        CHECK(s, 9, ior_controller_shutdown(rt->first->ctl, drain_ns) == 0, "ior_controller_shutdown fails");
        s->in_request = false;
    }
}

void detach_act(struct story *s)
{
    struct service *service = service_any(s);
    if (!service || service == service->rt->first || service->line)
        return;
    int r = ASK(s, ior_detach(service->cx, pick(s, 2) * IOR_NS_PER_SEC));
    NOTE(s, "  detach: %s", ior_errname(r));
    CHECK(s, 9, r == 0, "ior_detach answers %s", ior_errname(r));
    service->line = true;
    s->harsh++;
}

/* ---- when all is quiet ---- */

void commands_quiet(struct story *s)
{
    for (unsigned i = 0; i < COMMANDS; i++) {
        const struct command *command = &s->commands[i];
        if (command->state != COMMAND_SENT || !command->to->rt->rt || command->to->rt->over)
            continue;
        CHECK(s, 8, !ior_sim_asleep(s->sim, command->to->rt->rt), "the loop sleeps, and command %llu waits",
              (unsigned long long)command->number);
    }
}

void commands_gone(struct service *service)
{
    struct story *s = service->s;
    for (unsigned i = 0; i < COMMANDS; i++)
        CHECK(s, 7, s->commands[i].state != COMMAND_SENT || s->commands[i].to != service,
              "command %llu was neither delivered nor dropped", (unsigned long long)s->commands[i].number);
}

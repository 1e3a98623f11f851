/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Name look-ups. One owner: a look-up belongs to the resource that waits for it, until it drops it. What a thread has in
 * hand then is only marked, and frees itself when the thread comes back with it; so A and AAAA, a cancel and an answer,
 * cannot meet. The thread touches nothing but the look-up.
 *
 * A name goes to the resolver as a whole, or not at all: one that was cut would name another host.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "jobs.h"
#include "lookup.h"
#include <ioreactor/name.h>

#define ADDRS_DEFAULT 16u
#define UNIX_PREFIX "unix:"
/* "[", the longest host, "]:65535" and the zero. */
#define TEXT_MAX (1 + IOR__NAME_MAX + 7 + 1)

struct ior__lookup {
    struct ior__task task;
    struct ior_resource *res; /* who waits, and where; not for the thread */
    struct ior_runtime *rt;
    const struct ior_os *os;
    struct ior_os_name name;
    int answer; /* how many addresses there are in all, or -errno */
    bool submitted;
    bool done;
    uint64_t at_ns; /* when it is to be told, at the earliest */
    uint32_t max;
    struct ior_addr *addrs; /* behind this */
    char host[IOR__NAME_MAX + 1];
};

/* ---- questions ---- */

/* Letters of a name: no blanks, no control characters, which no resolver knows and which end up in logs. */
static bool plain(const char *host)
{
    for (; *host; host++) {
        unsigned char byte = (unsigned char)*host;
        if (byte <= ' ' || byte == 0x7f)
            return false;
    }
    return true;
}

int ior__question_check(struct ior__question *question)
{
    const char *host = question->host;
    if (!host || !*host || question->port > UINT16_MAX || question->max > IOR_ADDRS_MAX)
        return -EINVAL;
    if (question->family != AF_UNSPEC && question->family != AF_INET && question->family != AF_INET6)
        return -EAFNOSUPPORT;
    if (!question->max)
        question->max = ADDRS_DEFAULT;
    if (strncmp(host, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return question->port == 0 ? 0 : -EINVAL;
    size_t len = strnlen(host, IOR__NAME_MAX + 1);
    if (len > IOR__NAME_MAX || (len == IOR__NAME_MAX && host[len - 1] != '.'))
        return -ENAMETOOLONG;
    return question->port > 0 && plain(host) ? 0 : -EINVAL;
}

int ior__question_literal(const struct ior__question *question, struct ior_addr *ret)
{
    const char *host = question->host;
    char text[TEXT_MAX];
    struct ior_addr addr;
    if (strncmp(host, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
        int err = ior_addr_parse(ret, host);
        return err < 0 ? err : 1;
    }
    bool brackets = host[0] == '[';
    bool v6 = brackets || strchr(host, ':') != NULL;
    int len = snprintf(text, sizeof(text), v6 && !brackets ? "[%s]:%u" : "%s:%u", host, question->port);
    if (len < 0 || (size_t)len >= sizeof(text))
        return -ENAMETOOLONG;
    int err = ior_addr_parse(&addr, text);
    if (err < 0)
        return v6 ? err : 0; /* no name has a colon */
    if (question->family != AF_UNSPEC && question->family != (v6 ? AF_INET6 : AF_INET))
        return -EAFNOSUPPORT;
    *ret = addr;
    return 1;
}

/* ---- look-ups ---- */

/* In one block with the addresses. */
static size_t size_of(const struct ior__lookup *lookup)
{
    return sizeof(*lookup) + lookup->max * sizeof(struct ior_addr);
}

static struct ior__lookup *lookup_new(struct ior_resource *res, const struct ior__question *question)
{
    struct ior__lookup *lookup = ior__calloc(sizeof(*lookup) + question->max * sizeof(struct ior_addr));
    if (!lookup)
        return NULL;
    lookup->res = res;
    lookup->rt = res->cx->rt;
    lookup->os = lookup->rt->os;
    lookup->max = question->max;
    lookup->addrs = (struct ior_addr *)(void *)(lookup + 1);
    memcpy(lookup->host, question->host, strlen(question->host) + 1);
    lookup->name = (struct ior_os_name){.host = lookup->host, .port = question->port, .family = question->family};
    return lookup;
}

/* The call itself. */
static uint64_t look_up(struct ior__lookup *lookup)
{
    uint64_t after_ns = 0;
    lookup->answer = lookup->os->resolve(lookup->os->arg, &lookup->name, lookup->addrs, lookup->max, &after_ns);
    if (lookup->answer == 0)
        lookup->answer = -ENOENT;
    return after_ns;
}

/* In a world without threads the answer is known at once, and told when its time has come. */
static int start_here(struct ior__lookup *lookup)
{
    lookup->at_ns = ior__deadline_after(lookup->rt, look_up(lookup));
    lookup->done = true;
    return 0;
}

void ior__lookup_registered(const struct ior__lookup *lookup)
{
    if (lookup->done)
        (void)ior__deadline_set(lookup->res, IOR__DEADLINE_BACKOFF, lookup->at_ns); /* its memory is reserved */
}

static struct ior__lookup *lookup_of(struct ior_job *job)
{
    return IOR_CONTAINER(IOR_CONTAINER(job, struct ior__task, job), struct ior__lookup, task);
}

static int work(struct ior_job *job)
{
    (void)look_up(lookup_of(job));
    return 0;
}

static void done(struct ior__task *task)
{
    struct ior__lookup *lookup = lookup_of(&task->job);
    lookup->done = true;
    ior__ready_add(lookup->rt, lookup->res, IOR_READ | IOR_WRITE);
}

static void drop(struct ior_job *job)
{
    struct ior__lookup *lookup = lookup_of(job);
    ior__free(lookup, size_of(lookup));
}

static int start_in_thread(struct ior__lookup *lookup)
{
    lookup->task.job.work = work;
    lookup->task.job.drop = drop;
    lookup->task.done = done;
    int err = ior__task_submit(lookup->res->cx, IOR_LANE_NAMES, &lookup->task, true);
    lookup->submitted = err == 0;
    return err;
}

int ior__lookup_start(struct ior_resource *res, const struct ior__question *question, struct ior__lookup **ret)
{
    if (!res->cx->rt->os->resolve)
        return -ENOSYS;
    struct ior__lookup *lookup = lookup_new(res, question);
    if (!lookup)
        return -ENOMEM;
    int err = lookup->os->blocking ? start_in_thread(lookup) : start_here(lookup);
    if (err < 0)
        ior__free(lookup, size_of(lookup));
    else
        *ret = lookup;
    return err;
}

int ior__lookup_answer(const struct ior__lookup *lookup, const struct ior_addr **ret_addrs, uint32_t *ret_total)
{
    if (!lookup->done || lookup->rt->now_ns < lookup->at_ns)
        return -EINPROGRESS;
    if (lookup->answer < 0)
        return lookup->answer;
    *ret_addrs = lookup->addrs;
    *ret_total = (uint32_t)lookup->answer;
    return (int)(*ret_total < lookup->max ? *ret_total : lookup->max);
}

void ior__lookup_drop(struct ior__lookup *lookup)
{
    if (!lookup)
        return;
    /* In a forked child there is no thread that has it, and perhaps a mutex that nobody will unlock. */
    if (lookup->submitted && !lookup->done && !ior__in_child(lookup->rt))
        ior__task_abandon(&lookup->task);
    else
        ior__free(lookup, size_of(lookup));
}

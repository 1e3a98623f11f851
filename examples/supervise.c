/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise: starts programs, logs what they print, starts them again when they fail, and stops them in order.
 *
 * Three kinds of resources work together here. Each child is one: its exit is an event, `ior_close` asks it to stop
 * (SIGTERM) and kills it when its time is over. What it prints comes through pipes, which are streams like any other.
 * And the signals of the program itself are events, so that nothing here is a signal handler.
 *
 * A child runs in a process group of its own, and with `whole_group` what it started goes when it goes: no orphans.
 *
 * Try it:  build/release/examples/supervise -- web='python3 -m http.server 8000' beat='while sleep 1; do date; done'
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ioreactor.h>
#include "program.h"

#define LINE_BYTES 4096u                   /* a longer line is logged in pieces */
#define LAST_WORDS_NS (1 * IOR_NS_PER_SEC) /* for output of a child that is gone: somebody may hold its pipe */

struct supervisor;

struct child {
    struct supervisor *all;
    const char *name, *command;
    ior_id id;          /* 0: it does not run */
    ior_id pipes[2];    /* of the last start */
    ior_timer_id timer; /* 0: it does not wait for its next start */
    uint64_t started_ns, backoff_ns;
    uint64_t failures; /* in a row */
    bool failed;       /* the last run, as far as is known */
    bool again;        /* start it as soon as it has exited: somebody asked for that */
    bool given_up;
};

/* What came through one pipe and is no whole line yet; it lives in the memory of its stream. */
struct line {
    const struct child *child;
    char mark;
    size_t len;
    char text[LINE_BYTES];
};

struct supervisor {
    uint64_t backoff_ms, backoff_most_ms, healthy_ms, failures, grace_ms;
    bool always;
    struct child *children;
    size_t count;
    size_t pipes; /* that are open */
    bool stopping;
};

static void note(const struct child *child, const char *text)
{
    printf("%s - %s\n", child->name, text);
}

/* ---- what children print ---- */

static void print_line(struct line *line)
{
    printf("%s %c %.*s\n", line->child->name, line->mark, (int)line->len, line->text);
    line->len = 0;
}

static void add_text(struct line *line, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n')
            line->text[line->len++] = bytes[i];
        if (bytes[i] == '\n' || line->len == LINE_BYTES)
            print_line(line);
    }
}

/* ---- starting ---- */

/* It failed, or could not even be started. */
static void start_later(struct ior_context *cx, struct child *child)
{
    const struct supervisor *all = child->all;
    char text[96];
    if (++child->failures >= all->failures) {
        child->given_up = true;
        snprintf(text, sizeof(text), "failed %" PRIu64 " times in a row: given up", child->failures);
        note(child, text);
        return;
    }
    if (ior_timer_set(cx, child->backoff_ns, child, &child->timer) < 0) {
        child->given_up = true;
        note(child, "no memory to start it again");
        return;
    }
    snprintf(text, sizeof(text), "starts again in %" PRIu64 " ms", child->backoff_ns / IOR_NS_PER_MS);
    note(child, text);
    child->backoff_ns *= 2;
    if (child->backoff_ns > ior_time_from_ms(all->backoff_most_ms))
        child->backoff_ns = ior_time_from_ms(all->backoff_most_ms);
}

static void start(struct ior_context *cx, struct child *child)
{
    static char shell[] = "sh", option[] = "-c";
    char *argv[] = {shell, option, (char *)(uintptr_t)child->command, NULL};
    const struct ior_stream_options stream = {.struct_size = sizeof(stream), .user_size = sizeof(struct line)};
    struct ior_child_fd fds[] = {
        {.number = 1, .kind = IOR_CHILD_WRITES, .stream = &stream},
        {.number = 2, .kind = IOR_CHILD_WRITES, .stream = &stream},
    };
    const struct ior_spawn_options opts = {
        .struct_size = sizeof(opts),
        .new_group = true,
        .whole_group = true,
        .file = "/bin/sh",
        .argv = argv,
        .fds = fds,
        .fd_count = 2,
        .user = child,
    };
    char text[96];
    pid_t pid = 0;
    child->timer = 0;
    child->again = child->given_up = false;
    child->failed = true;
    int err = ior_spawn(cx, &opts, &child->id);
    if (err < 0) {
        snprintf(text, sizeof(text), "cannot be started: %s (%s)", ior_strerror(err), ior_errname(err));
        note(child, text);
        start_later(cx, child);
        return;
    }
    for (int i = 0; i < 2; i++) {
        struct line *line = ior_user(cx, fds[i].id);
        line->child = child;
        line->mark = i == 0 ? '|' : '!';
        child->pipes[i] = fds[i].id;
        child->all->pipes++;
    }
    child->started_ns = ior_now(cx);
    (void)ior_child_pid(cx, child->id, &pid);
    snprintf(text, sizeof(text), "started, pid %ld", (long)pid);
    note(child, text);
}

static void start_afresh(struct ior_context *cx, struct child *child)
{
    child->failures = 0;
    child->backoff_ns = ior_time_from_ms(child->all->backoff_ms);
    start(cx, child);
}

/* ---- stopping ---- */

static void leave_if_done(struct ior_context *cx, const struct supervisor *all)
{
    bool done = all->pipes == 0;
    for (size_t i = 0; i < all->count; i++)
        done = done && all->children[i].id == 0 && all->children[i].timer == 0;
    if (done)
        ior_stop(cx, 0);
}

/* The second time without grace. */
static void stop_all(struct ior_context *cx, struct supervisor *all)
{
    uint64_t grace_ns = all->stopping ? 0 : ior_time_from_ms(all->grace_ms);
    all->stopping = true;
    for (size_t i = 0; i < all->count; i++) {
        struct child *child = &all->children[i];
        if (child->timer != 0)
            (void)ior_timer_cancel(cx, child->timer);
        child->timer = 0;
        if (child->id != 0)
            (void)ior_close(cx, child->id, grace_ns);
    }
    leave_if_done(cx, all);
}

static void restart_all(struct ior_context *cx, struct supervisor *all)
{
    for (size_t i = 0; i < all->count && !all->stopping; i++) {
        struct child *child = &all->children[i];
        if (child->timer != 0)
            (void)ior_timer_cancel(cx, child->timer);
        child->timer = 0;
        if (child->id == 0) {
            start_afresh(cx, child);
            continue;
        }
        child->again = true;
        (void)ior_close(cx, child->id, ior_time_from_ms(all->grace_ms));
    }
}

static void on_signal(struct ior_context *cx, struct supervisor *all, const struct ior_signal *sent)
{
    printf("supervise - %s\n", sent->number == SIGHUP ? "all start again" : "all stop");
    if (sent->number == SIGHUP)
        restart_all(cx, all);
    else
        stop_all(cx, all);
}

/* ---- events ---- */

static void on_exit_of(struct child *child, const struct ior_exit *exit)
{
    char text[96];
    if (exit->signal != 0)
        snprintf(text, sizeof(text), "ended by signal %d%s", exit->signal, exit->core ? ", core dumped" : "");
    else
        snprintf(text, sizeof(text), "exited with status %d", exit->status);
    note(child, text);
    child->failed = exit->status != 0;
}

static void on_end_of(struct ior_context *cx, struct child *child)
{
    const struct supervisor *all = child->all;
    child->id = 0;
    for (int i = 0; i < 2; i++)
        (void)ior_deadline(cx, child->pipes[i], IOR_DEADLINE_IDLE, LAST_WORDS_NS); /* -ENOENT: it has ended */
    if (ior_now(cx) - child->started_ns >= ior_time_from_ms(all->healthy_ms)) {
        child->failures = 0;
        child->backoff_ns = ior_time_from_ms(all->backoff_ms);
    }
    if (!all->stopping && child->again)
        start_afresh(cx, child);
    else if (!all->stopping && (child->failed || all->always))
        start_later(cx, child);
    leave_if_done(cx, all);
}

static void on_end_of_pipe(struct ior_context *cx, struct supervisor *all, struct line *line)
{
    if (line->len > 0)
        print_line(line);
    all->pipes--;
    leave_if_done(cx, all);
}

static struct child *child_with(const struct supervisor *all, ior_id id)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->children[i].id == id)
            return &all->children[i];
    }
    return NULL;
}

static void on_transport(void *self, struct ior_context *cx, const struct ior_event *ev)
{
    struct supervisor *all = self;
    struct child *child = child_with(all, ev->id);
    if (ev->type == IOR_EV_SIGNAL)
        on_signal(cx, all, ev->signal);
    else if (ev->type == IOR_EV_DATA)
        add_text(ev->user, ev->data.bytes, ev->data.len);
    else if (ev->type == IOR_EV_EXITED)
        on_exit_of(child, ev->exit);
    else if (ev->type == IOR_EV_END && child)
        on_end_of(cx, child);
    else if (ev->type == IOR_EV_END && ev->user)
        on_end_of_pipe(cx, all, ev->user);
    fflush(stdout);
}

static void on_timer(void *self, struct ior_context *cx, ior_timer_id id, void *user)
{
    (void)self;
    (void)id;
    start(cx, user);
    leave_if_done(cx, self);
    fflush(stdout);
}

/* The signals first: none of them may find the default effect while children run. */
static int on_start(void *self, struct ior_context *cx)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    const struct ior_signal_options opts = {.struct_size = sizeof(opts), .keep_blocked = true};
    struct supervisor *all = self;
    ior_id id;
    int err = ior_signals(cx, numbers, sizeof(numbers) / sizeof(numbers[0]), &opts, &id);
    for (size_t i = 0; i < all->count && err == 0; i++)
        start_afresh(cx, &all->children[i]);
    leave_if_done(cx, all);
    fflush(stdout);
    return err;
}

static const struct ior_handler handler = {
    .struct_size = sizeof(struct ior_handler),
    .start = on_start,
    .timer = on_timer,
    .transport = on_transport,
};

/* ---- the command line ---- */

/* NAME=COMMAND; the text is cut in two. */
static void read_command(const struct program *program, struct supervisor *all, struct child *child, char *text)
{
    char *end = text;
    while (isalnum((unsigned char)*end) || (end > text && strchr("-_.", *end) && *end))
        end++;
    if (end == text || *end != '=' || end[1] == '\0')
        program_bad_option(program, "command", text, "expected NAME=COMMAND, as web='python3 -m http.server'");
    *end = '\0';
    for (const struct child *other = all->children; other < child; other++) {
        if (strcmp(other->name, text) == 0)
            program_bad_option(program, "command", text, "there are two of this name");
    }
    *child = (struct child){.all = all, .name = text, .command = end + 1};
}

/* What comes behind the "--" in argv[0], where there is one. */
static void read_commands(const struct program *program, struct supervisor *all, char **argv, int argc)
{
    int count = argc - 1;
    if (count <= 0)
        program_bad_option(program, "command", NULL, "none is given: supervise -- NAME=COMMAND...");
    all->children = calloc((size_t)count, sizeof(*all->children));
    if (!all->children)
        exit(program_fail(program, "cannot start", -ENOMEM));
    for (int i = 0; i < count; i++)
        read_command(program, all, &all->children[i], argv[i + 1]);
    all->count = (size_t)count;
}

int main(int argc, char **argv)
{
    struct supervisor all = {
        .backoff_ms = 100, .backoff_most_ms = 10000, .healthy_ms = 10000, .failures = 10, .grace_ms = 5000};
    const struct program_option options[] = {
        {"--backoff-ms", "N", "the wait before a failed one starts again, doubled each time", PROGRAM_NUMBER,
         &all.backoff_ms, 1, 3600000},
        {"--backoff-most-ms", "N", "and at most", PROGRAM_NUMBER, &all.backoff_most_ms, 1, 86400000},
        {"--healthy-ms", "N", "who ran so long has not failed in a row", PROGRAM_NUMBER, &all.healthy_ms, 0, 86400000},
        {"--failures", "N", "so many in a row, and it is given up", PROGRAM_NUMBER, &all.failures, 1, UINT32_MAX},
        {"--grace-ms", "N", "from SIGTERM to SIGKILL, where one is to stop", PROGRAM_NUMBER, &all.grace_ms, 0, 3600000},
        {"--always", NULL, "start those again, too, that exited with 0", PROGRAM_FLAG, &all.always, 0, 0},
        {0},
    };
    struct program program = {
        .name = "supervise",
        .summary = "supervise [OPTION]... -- NAME=COMMAND...\n"
                   "Runs each COMMAND with sh, logs its lines behind its NAME, and starts it again when it fails.\n"
                   "SIGTERM and SIGINT stop all (the second one at once), SIGHUP starts all again.\n"
                   "Exit status: 0, or 1 where one was given up.",
        .options = options,
    };
    int own = 1;
    while (own < argc && strcmp(argv[own], "--") != 0)
        own++;
    program_init(&program, own, argv);
    read_commands(&program, &all, argv + own, argc - own);

    signal(SIGPIPE, SIG_IGN); /* who does not read the log any more is no reason to leave the children alone */
    struct ior_config config = {.struct_size = sizeof(config), .engine = program.engine};
    struct ior_runtime *rt;
    int err = ior_runtime_new(&config, &handler, &all, &rt);
    if (err < 0)
        return program_fail(&program, "cannot make a runtime", err);
    err = ior_runtime_run(rt);
    int status = err < 0 ? program_fail(&program, "the loop failed", err) : 0;
    for (size_t i = 0; i < all.count; i++)
        status = all.children[i].given_up ? PROGRAM_EXIT_FAILURE : status;
    ior_runtime_free(rt);
    free(all.children);
    return status;
}

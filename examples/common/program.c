/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frame of the example programs. Nothing here is needed to use the library: it is what any small server does about
 * options, signals and limits. All messages about bad options name the option and the value, and end with status 2.
 *
 * There is one process-wide state, because signal handlers have no argument: the controller they shut down.
 */
#include "program.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define DRAIN_NS (5 * IOR_NS_PER_SEC)

static struct ior_controller *volatile signal_ctl;
static volatile sig_atomic_t *volatile signal_flag;
static volatile sig_atomic_t signal_count;

static void usage(const struct program *program)
{
    printf("usage: %s [OPTION]...\n%s\n\n", program->name, program->summary);
    if (program->listen)
        printf("  --listen ADDR:PORT|unix:PATH  where to listen (default %s; port 0: any free one)\n", program->listen);
    for (const struct program_option *option = program->options; option && option->name; option++) {
        char left[64];
        snprintf(left, sizeof(left), "%s %s", option->name, option->value ? option->value : "");
        printf("  %-28s  %s", left, option->help);
        if (option->kind == PROGRAM_NUMBER)
            printf(" (default %" PRIu64 ")", *(const uint64_t *)option->target);
        putchar('\n');
    }
    printf("  %-28s ", "--engine NAME");
    for (unsigned i = 0; ior_engine_at(i); i++)
        printf("%s%s", i ? ", " : " ", ior_engine_at(i)->name);
    printf(" (default: $IOR_ENGINE, else the first that works)\n");
    printf("  %-28s  this text\n", "--help");
}

_Noreturn void program_bad_option(const struct program *program, const char *name, const char *value, const char *why)
{
    if (value)
        fprintf(stderr, "%s: %s \"%s\": %s\n", program->name, name, value, why);
    else
        fprintf(stderr, "%s: %s: %s\n", program->name, name, why);
    fprintf(stderr, "Try \"%s --help\".\n", program->name);
    exit(PROGRAM_EXIT_USAGE);
}

static void set_addr(const struct program *program, const char *name, const char *value, struct ior_addr *addr)
{
    int err = ior_addr_parse(addr, value);
    if (err == -ENAMETOOLONG)
        program_bad_option(program, name, value, "this path is too long for a socket");
    if (err < 0)
        program_bad_option(program, name, value,
                           "expected an address as 127.0.0.1:7000, [::1]:7000 or unix:/run/x.sock");
}

static void set_number(const struct program *program, const struct program_option *option, const char *value)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (errno || end == value || *end || value[0] < '0' || value[0] > '9' || number < option->min ||
        number > option->max) {
        char why[96];
        snprintf(why, sizeof(why), "expected a number from %" PRIu64 " to %" PRIu64, option->min, option->max);
        program_bad_option(program, option->name, value, why);
    }
    *(uint64_t *)option->target = number;
}

/* `source` is where the name came from, for the message: the option or the environment variable. */
static void set_engine(struct program *program, const char *source, const char *value)
{
    if (!ior_engine_named(value)) {
        char why[160] = "there is no such engine here; there are:";
        for (unsigned i = 0; ior_engine_at(i); i++) {
            size_t used = strlen(why);
            snprintf(why + used, sizeof(why) - used, "%s %s", i ? "," : "", ior_engine_at(i)->name);
        }
        program_bad_option(program, source, value, why);
    }
    program->engine = value;
}

/*
 * The value of the option `name` in argv[*i]: after "=" or in the next argument, which is consumed. NULL: another one.
 */
static const char *option_value(const struct program *program, const char *name, int argc, char **argv, int *i)
{
    size_t len = strlen(name);
    if (strncmp(argv[*i], name, len) != 0)
        return NULL;
    if (argv[*i][len] == '=')
        return argv[*i] + len + 1;
    if (argv[*i][len] != '\0')
        return NULL;
    if (*i + 1 >= argc)
        program_bad_option(program, name, NULL, "a value is missing");
    return argv[++*i];
}

/* Tries the program's own options on argv[*i]. */
static bool own_option(const struct program *program, int argc, char **argv, int *i)
{
    for (const struct program_option *option = program->options; option && option->name; option++) {
        if (option->kind == PROGRAM_FLAG) {
            if (strcmp(argv[*i], option->name) != 0)
                continue;
            *(bool *)option->target = true;
            return true;
        }
        const char *value = option_value(program, option->name, argc, argv, i);
        if (!value)
            continue;
        if (option->kind == PROGRAM_NUMBER)
            set_number(program, option, value);
        else if (option->kind == PROGRAM_TEXT)
            *(const char **)option->target = value;
        else
            set_addr(program, option->name, value, option->target);
        return true;
    }
    return false;
}

/* Every connection is a file to the system; the soft limit is often 1024, the hard one far higher. */
static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void program_init(struct program *program, int argc, char **argv)
{
    const char *engine = NULL;
    const char *listen = program->listen;
    for (int i = 1; i < argc; i++) {
        const char *value;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage(program);
            exit(fflush(stdout) == 0 ? 0 : PROGRAM_EXIT_FAILURE);
        } else if (program->listen && (value = option_value(program, "--listen", argc, argv, &i))) {
            listen = value;
        } else if ((value = option_value(program, "--engine", argc, argv, &i))) {
            engine = value;
        } else if (!own_option(program, argc, argv, &i)) {
            program_bad_option(program, "unknown option", argv[i], "there is no such option");
        }
    }
    if (listen)
        set_addr(program, "--listen", listen, &program->listen_addr);
    if (engine)
        set_engine(program, "--engine", engine);
    else if (ior_engine_from_env())
        set_engine(program, "IOR_ENGINE", ior_engine_from_env());
    raise_file_limit();
}

int program_fail(const struct program *program, const char *what, int err)
{
    fprintf(stderr, "%s: %s: %s (%s)\n", program->name, what, ior_strerror(err), ior_errname(err));
    return PROGRAM_EXIT_FAILURE;
}

int program_listen(struct program *program, struct ior_context *cx, const struct ior_listen_options *opts,
                   ior_id *ret_id)
{
    char text[IOR_ADDR_TEXT_MAX];
    char what[sizeof("cannot listen on ") + IOR_ADDR_TEXT_MAX];
    ior_id id;
    struct ior_addr addr;
    int err = ior_listen(cx, &program->listen_addr, opts, &id);
    if (err < 0) {
        if (ior_addr_format(&program->listen_addr, text, sizeof(text)) < 0)
            text[0] = '\0';
        snprintf(what, sizeof(what), "cannot listen on %s", text);
        program_fail(program, what, err);
        return err;
    }
    /* With port 0 the system chose one: ask which. */
    err = ior_local(cx, id, &addr);
    if (err == 0)
        err = ior_addr_format(&addr, program->address, sizeof(program->address));
    if (err < 0)
        program_fail(program, "cannot tell the address it listens on", err);
    if (err < 0)
        return err;
    if (ret_id)
        *ret_id = id;
    return 0;
}

void program_announce(const struct program *program)
{
    if (program->address[0] == '\0')
        return;
    printf("listening on %s\n", program->address);
    fflush(stdout);
}

static void on_signal(int number)
{
    (void)number;
    int count = signal_count;
    signal_count = 1;
    if (count == 0 && signal_flag) {
        *signal_flag = 1;
    } else if (signal_ctl) {
        ior_controller_shutdown(signal_ctl, count == 0 ? DRAIN_NS : 0);
    }
}

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

void program_stop_on_signal(const struct program *program, struct ior_controller *ctl)
{
    /* SA_RESTART: a signal must not make other system calls of the program fail. */
    struct sigaction action = {.sa_handler = ctl ? on_signal : SIG_IGN, .sa_flags = SA_RESTART};
    action.sa_mask = stop_signals();
    signal_flag = program->interrupted;
    if (ctl)
        signal_ctl = ctl;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (!ctl)
        signal_ctl = NULL;
    pthread_sigmask(SIG_UNBLOCK, &action.sa_mask, NULL);
}

void program_block_signals(void)
{
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

void program_wait_for_signal(void)
{
    sigset_t set = stop_signals();
    int number;
    while (sigwait(&set, &number) != 0)
        ;
    signal_count = 1;
}

int program_run(const struct program *program, struct ior_runtime *rt)
{
    struct ior_controller *ctl = ior_controller_of(ior_runtime_context(rt));
    if (!ctl)
        return program_fail(program, "cannot start", -ENOMEM);
    program_stop_on_signal(program, ctl);
    program_announce(program);
    int err = ior_runtime_run(rt);
    program_stop_on_signal(program, NULL);
    ior_controller_unref(ctl);
    return err < 0 ? program_fail(program, "the loop failed", err) : 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the example programs share and what has little to do with the library: options, the line "listening on ...",
 * signals, and messages. A program fills struct program, calls program_init, makes its runtime, calls program_listen
 * and program_run, and frees its runtime.
 */
#ifndef EXAMPLES_PROGRAM_H
#define EXAMPLES_PROGRAM_H

#include <signal.h>
#include <ioreactor.h>

#define PROGRAM_EXIT_FAILURE 1
#define PROGRAM_EXIT_USAGE 2

enum program_kind {
    PROGRAM_FLAG,   /* no value; target is a bool */
    PROGRAM_NUMBER, /* a decimal number from min to max; target is a uint64_t, which holds the default */
    PROGRAM_TEXT,   /* any text; target is a const char *, which holds the default */
    PROGRAM_ADDR,   /* an address; target is a struct ior_addr; the default is what it holds */
};

/* One option of a program, besides those that all have. An array of them ends with an empty one. */
struct program_option {
    const char *name;  /* "--depth" */
    const char *value; /* what --help calls the value; NULL for flags */
    const char *help;
    enum program_kind kind;
    void *target;
    uint64_t min;
    uint64_t max;
};

struct program {
    const char *name;
    const char *summary;                  /* a line or two for --help */
    const char *listen;                   /* the default of --listen; NULL: the program does not listen */
    const struct program_option *options; /* may be NULL */
    /* If set, the first signal only writes 1 here, and the program ends in its own time; the second one stops it. */
    volatile sig_atomic_t *interrupted;
    /* Filled in by program_init. */
    struct ior_addr listen_addr;
    const char *engine; /* for config.engine; NULL: the library's choice */
    /* Filled in by program_listen: where it listens indeed. */
    char address[IOR_ADDR_TEXT_MAX];
};

/* Reads the options and raises the limit of open files. Exits for --help (0) and for bad options (2). */
void program_init(struct program *program, int argc, char **argv);

/* Ends the program (2) because of an option whose value is bad in itself or beside others. `value` may be NULL. */
_Noreturn void program_bad_option(const struct program *program, const char *name, const char *value, const char *why);

/* Listens where --listen says. Answers as ior_listen; a failure has been printed already. ret_id may be NULL. */
int program_listen(struct program *program, struct ior_context *cx, const struct ior_listen_options *opts,
                   ior_id *ret_id);

/* Prints "listening on ..." once program_listen has succeeded. */
void program_announce(const struct program *program);

/*
 * From now on SIGINT and SIGTERM shut down the runtime of this controller: the first one lets output drain for some
 * seconds, the next one does not wait. NULL: they are ignored. The controller must stay until this is called again.
 */
void program_stop_on_signal(const struct program *program, struct ior_controller *ctl);

/*
 * For a main thread whose loops are in other threads: the first of these is called before any thread is made, the
 * second waits for SIGINT or SIGTERM. Then program_stop_on_signal says what the next signal does.
 */
void program_block_signals(void);
void program_wait_for_signal(void);

/* Announces, runs until a signal or the service stops the runtime, and answers the exit status. */
int program_run(const struct program *program, struct ior_runtime *rt);

/* Prints "NAME: what: why" on stderr and answers PROGRAM_EXIT_FAILURE. */
int program_fail(const struct program *program, const char *what, int err);

#endif

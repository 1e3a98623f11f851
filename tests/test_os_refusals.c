/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What resolvers, terminals and the calls about processes answer when they do not do what was asked: struct ior_os tells
 * it as -errno and leaves nothing. getaddrinfo(3) and ioctl(2) are this file's.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <ioreactor.h>

#include "signal_pipe.h"

#if defined(__linux__) && defined(__has_include)
#if __has_include(<asm/termbits.h>)
#include <asm/termbits.h>
#endif
#endif

/* ---- names ---- */

static struct {
    int answer, error; /* of getaddrinfo, and errno */
    struct addrinfo *list;
    unsigned freed;
    struct addrinfo hints;
    char host[64], port[16];
} resolver;

int getaddrinfo(const char *restrict host, const char *restrict port, const struct addrinfo *restrict hints,
                struct addrinfo **restrict ret)
{
    strncpy(resolver.host, host, sizeof(resolver.host) - 1);
    strncpy(resolver.port, port, sizeof(resolver.port) - 1);
    resolver.hints = *hints;
    if (resolver.answer == 0)
        *ret = resolver.list;
    else
        errno = resolver.error;
    return resolver.answer;
}

void freeaddrinfo(struct addrinfo *list)
{
    (void)list;
    resolver.freed++;
}

static int resolve(struct ior_addr *addrs, uint32_t max)
{
    const struct ior_os_name name = {.host = "host.example", .port = 80, .family = AF_UNSPEC};
    uint64_t after_ns = 4711;
    int answer = ior_os_default()->resolve(NULL, &name, addrs, max, &after_ns);
    assert_int_equal(after_ns, 0);
    return answer;
}

static void errors_of_names(void **state)
{
    static const struct {
        int answer, error, told;
    } cases[] = {
        {EAI_NONAME, 0, -ENOENT},
#if defined(EAI_NODATA)
        {EAI_NODATA, 0, -ENOENT},
#endif
#if defined(EAI_ADDRFAMILY)
        {EAI_ADDRFAMILY, 0, -ENOENT},
#endif
        {EAI_AGAIN, 0, -EAGAIN},
        {EAI_MEMORY, 0, -ENOMEM},
        {EAI_FAMILY, 0, -EAFNOSUPPORT},
        {EAI_SYSTEM, EMFILE, -EMFILE},
        {EAI_SYSTEM, 0, -EIO},
        {EAI_FAIL, ENOENT, -EIO},
        {EAI_SERVICE, 0, -EINVAL},
    };
    struct ior_addr addr;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&resolver, 0, sizeof(resolver));
        resolver.answer = cases[i].answer;
        resolver.error = cases[i].error;
        assert_int_equal(resolve(&addr, 1), cases[i].told);
        assert_int_equal(resolver.freed, 0);
    }
}

static void addresses_of_names(void **state)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    char large[sizeof(((struct ior_addr *)0)->raw) + 1] = "";
    struct addrinfo list[] = {
        {.ai_family = AF_UNIX, .ai_addr = (void *)&local, .ai_addrlen = sizeof(local), .ai_next = &list[1]},
        {.ai_family = AF_INET6, .ai_addr = (void *)&v6, .ai_addrlen = sizeof(v6), .ai_next = &list[2]},
        {.ai_family = AF_INET6, .ai_addr = (void *)large, .ai_addrlen = sizeof(large), .ai_next = &list[3]},
        {.ai_family = AF_INET, .ai_addr = (void *)&v4, .ai_addrlen = sizeof(v4)},
    };
    struct ior_addr addrs[2];
    (void)state;
    memset(&resolver, 0, sizeof(resolver));
    resolver.list = list;
    assert_int_equal(resolve(addrs, 2), 2);
    assert_int_equal(addrs[0].len, sizeof(v6));
    assert_memory_equal(addrs[0].raw, &v6, sizeof(v6));
    assert_int_equal(addrs[1].len, sizeof(v4));
    assert_memory_equal(addrs[1].raw, &v4, sizeof(v4));
    assert_string_equal(resolver.host, "host.example");
    assert_string_equal(resolver.port, "80");
    assert_int_equal(resolver.hints.ai_socktype, SOCK_STREAM);
    addrs[1].len = 4711;
    assert_int_equal(resolve(addrs, 1), 2); /* there are more */
    assert_int_equal(addrs[1].len, 4711);
    list[0].ai_next = NULL; /* only what is no use here */
    assert_int_equal(resolve(addrs, 2), -ENOENT);
    assert_int_equal(resolver.freed, 3);
}

/* ---- terminals ---- */

#if defined(TCGETS2) && defined(BOTHER)
static struct {
    int second_error, first_error; /* of TCGETS2 and TCSETS2; of TCGETS and TCSETS, and of all else */
    unsigned seconds, firsts;      /* calls */
    struct termios first;
    struct termios2 second;
} tty;

#if defined(__GLIBC__)
int ioctl(int fd, unsigned long request, ...)
#else
int ioctl(int fd, int request, ...)
#endif
{
    va_list list;
    va_start(list, request);
    void *at = va_arg(list, void *);
    va_end(list);
    (void)fd;
    bool second = (unsigned)request == (unsigned)TCGETS2 || (unsigned)request == (unsigned)TCSETS2;
    tty.seconds += second;
    tty.firsts += !second;
    errno = second ? tty.second_error : tty.first_error;
    if (errno)
        return -1;
    if ((unsigned)request == (unsigned)TCGETS2)
        memcpy(at, &tty.second, sizeof(tty.second));
    else if ((unsigned)request == (unsigned)TCSETS2)
        memcpy(&tty.second, at, sizeof(tty.second));
    else if ((unsigned)request == (unsigned)TCGETS)
        memcpy(at, &tty.first, sizeof(tty.first));
    else if ((unsigned)request == (unsigned)TCSETS)
        memcpy(&tty.first, at, sizeof(tty.first));
    return 0;
}

static const int unknown[] = {ENOTTY, ENOSYS, EINVAL}; /* what kernels answer to a request they do not know */

static void settings_without_numbers_of_speeds(void **state)
{
    static const struct {
        unsigned constant, speed;
    } speeds[] = {{B9600, 9600}, {B115200, 115200}, {B50, 50}, {BOTHER, BOTHER}};
    struct ior_os_tty got;
    struct termios2 settings;
    (void)state;
    for (size_t i = 0; i < sizeof(speeds) / sizeof(speeds[0]); i++) {
        memset(&tty, 0, sizeof(tty));
        tty.second_error = unknown[i % 3];
        tty.first.c_iflag = ICRNL;
        tty.first.c_oflag = OPOST;
        tty.first.c_cflag = CS7 | speeds[i].constant;
        tty.first.c_lflag = ECHO;
        tty.first.c_cc[VMIN] = 3;
        assert_int_equal(ior_os_default()->tty_get(NULL, 1, &got), 0);
        memcpy(&settings, &got, sizeof(settings));
        assert_int_equal(settings.c_iflag, ICRNL);
        assert_int_equal(settings.c_oflag, OPOST);
        assert_int_equal(settings.c_cflag, CS7 | speeds[i].constant);
        assert_int_equal(settings.c_lflag, ECHO);
        assert_int_equal(settings.c_cc[VMIN], 3);
        assert_int_equal(settings.c_ispeed, speeds[i].speed);
        assert_int_equal(settings.c_ospeed, speeds[i].speed);
        memset(&tty.first, 0, sizeof(tty.first));
        int err = ior_os_default()->tty_set(NULL, 1, &got);
        assert_int_equal(err, speeds[i].constant == BOTHER ? -EINVAL : 0); /* a speed that cannot be said */
        assert_int_equal(tty.first.c_cflag, err ? 0 : CS7 | speeds[i].constant);
        assert_int_equal(tty.first.c_cc[VMIN], err ? 0 : 3);
    }
}

static void a_terminal_that_is_gone(void **state)
{
    struct ior_os_tty got, before;
    (void)state;
    memset(&tty, 0, sizeof(tty));
    memset(&got, 7, sizeof(got));
    before = got;
    tty.second_error = EIO;
    assert_int_equal(ior_os_default()->tty_get(NULL, 1, &got), -EIO);
    assert_int_equal(ior_os_default()->tty_set(NULL, 1, &got), -EIO);
    assert_int_equal(tty.firsts, 0); /* it was understood */
    tty.second_error = ENOTTY;
    tty.first_error = EPERM;
    assert_int_equal(ior_os_default()->tty_get(NULL, 1, &got), -EPERM);
    assert_memory_equal(&got, &before, sizeof(got));
    tty.firsts = 0;
    for (int what = IOR_TTY_EXCLUSIVE; what <= IOR_TTY_DROP_QUEUED; what++)
        assert_int_equal(ior_os_default()->tty_ask(NULL, 1, (enum ior_os_tty_ask)what), -EPERM);
    assert_int_equal(tty.firsts, 4);
    assert_int_equal(ior_os_default()->tty_ask(NULL, 1, (enum ior_os_tty_ask)9), -EINVAL);
    assert_int_equal(tty.firsts, 4);
}
#endif

/* ---- processes ---- */

#if defined(__linux__)
static void signals_that_cannot_be(void **state)
{
    const struct ior_os_processes *os = ior_os_default()->processes;
    const int none[] = {SIGUSR1, 4711};
    struct ior_os_signals signals = {.fd = -1};
    struct ior_signal got;
    int fds[2];
    (void)state;
    assert_int_equal(os->signal_open(NULL, none, 2, &signals), -EINVAL);
    assert_int_equal(ior__signal_pipe_open(NULL, none, 2, &signals), -EINVAL);
    assert_int_equal(signals.fd, -1);
    assert_int_equal(os->pipe(NULL, fds), 0);
    signals.fd = fds[0];
    assert_int_equal(write(fds[1], "short", 5), 5);
    assert_int_equal(os->signal_read(NULL, &signals, &got), -EIO);
    close(fds[0]);
    close(fds[1]);
    assert_int_equal(os->signal_read(NULL, &signals, &got), -EBADF);
}

static void processes_that_are_not(void **state)
{
    const struct ior_os_processes *os = ior_os_default()->processes;
    struct ior_os_process process = {.fd = 0x3fffffff, .pid = 0x3fffffff}; /* more than there can be */
    struct ior_exit how;
    int fds[2];
    (void)state;
    int err = os->kill(NULL, &process, false, 0);
    assert_true(err == -EBADF || err == -ESRCH); /* the second one where only pids are known */
    assert_int_equal(os->kill(NULL, &process, true, 0), -ESRCH);
    assert_int_equal(os->pipe(NULL, fds), 0);
    process.fd = fds[0];
    assert_int_equal(os->wait(NULL, &process, IOR_NS_PER_MS, true, &how), 0);
    close(fds[1]);
    assert_true(os->wait(NULL, &process, IOR_NS_PER_SEC, true, &how) < 0); /* readable, but no process */
    close(fds[0]);
}

/* Ends are above stdio, whatever is free there; where there is no room above it, none is left open. */
static void pipes_without_room(void **state)
{
    const struct ior_os_processes *os = ior_os_default()->processes;
    struct rlimit before, limit;
    int fds[2] = {-1, -1}, saved[2], err[3];
    int held = fcntl(2, F_DUPFD_CLOEXEC, 3); /* the limit is past what any fd is asked for */
    (void)state;
    for (int i = 0; i < 2; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 10);
        assert_true(saved[i] >= 10);
    }
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    limit = before;
    fflush(stdout);
    for (int room = 0; room < 3; room++) { /* 0 and 1 are free, and so many above stdio */
        int lowest = fcntl(2, F_DUPFD_CLOEXEC, 3);
        close(lowest);
        bool in_a_row = fcntl(lowest + 1, F_GETFD) < 0;
        limit.rlim_cur = (rlim_t)(lowest + room);
        (void)close(0);
        (void)close(1);
        int set = setrlimit(RLIMIT_NOFILE, &limit);
        err[room] = os->pipe(NULL, fds);
        bool left = fcntl(0, F_GETFD) >= 0 || fcntl(1, F_GETFD) >= 0;
        (void)setrlimit(RLIMIT_NOFILE, &before);
        (void)dup2(saved[0], 0);
        (void)dup2(saved[1], 1);
        assert_int_equal(set, 0);
        assert_true(in_a_row);
        assert_false(left);
        if (room < 2) {
            assert_int_equal(err[room], -EMFILE);
            assert_true(fds[0] == -1 && fds[1] == -1);
            assert_true(fcntl(lowest, F_GETFD) < 0);
        }
    }
    assert_int_equal(err[2], 0);
    assert_true(fds[0] > 2 && fds[1] > 2);
    close(held);
    for (int i = 0; i < 2; i++) {
        close(fds[i]);
        close(saved[i]);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_of_names),
        cmocka_unit_test(addresses_of_names),
#if defined(TCGETS2) && defined(BOTHER)
        cmocka_unit_test(settings_without_numbers_of_speeds),
        cmocka_unit_test(a_terminal_that_is_gone),
#endif
#if defined(__linux__)
        cmocka_unit_test(signals_that_cannot_be),
        cmocka_unit_test(processes_that_are_not),
        cmocka_unit_test(pipes_without_room),
#endif
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}

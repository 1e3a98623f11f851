/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers as plain sockets and a look at the process, for tests on real engines. Everything waits with poll(2) and a time
 * limit, never by sleeping for a guessed time, and takes ports and folders the system chooses.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(IOR_COVERAGE)
#include <gcov.h>
#endif

#include "check.h"
#include "net.h"

#define NET_LIMIT_NS UINT64_C(60000000000)

uint64_t net_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

void net_unix_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

int net_refused_addr(struct ior_addr *addr)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    memset(addr, 0, sizeof(*addr));
    memcpy(addr->raw, &sin, sizeof(sin));
    addr->len = (uint32_t)len;
    return fd;
}

int net_tcp_listener(struct ior_addr *addr, int backlog)
{
    int fd = net_refused_addr(addr); /* until it listens */
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

int net_unix_listener(const char *path, int backlog)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_true(strlen(path) < sizeof(sun.sun_path));
    memcpy(sun.sun_path, path, strlen(path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static int socket_for(const struct ior_addr *addr, int flags)
{
    const struct sockaddr *sa = (const struct sockaddr *)(const void *)addr->raw;
    return socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

int net_connect(const struct ior_addr *addr)
{
    int fd = socket_for(addr, 0);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)(const void *)addr->raw, addr->len) != 0)
        fail_msg("connect: %s", strerror(errno));
    return fd;
}

int net_connect_start(const struct ior_addr *addr)
{
    int err, fd = socket_for(addr, SOCK_NONBLOCK);
    assert_true(fd >= 0);
    if (connect(fd, (const struct sockaddr *)(const void *)addr->raw, addr->len) == 0 || errno == EINPROGRESS)
        return fd;
    err = errno;
    close(fd);
    return -err;
}

void net_tcp_pair(int fds[2])
{
    struct ior_addr addr;
    int listener = net_tcp_listener(&addr, 1);
    fds[1] = net_connect(&addr);
    fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fds[0] >= 0);
    close(listener);
}

void net_reset(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    assert_int_equal(close(fd), 0);
}

void net_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    assert_true(flags >= 0);
    assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
}

void net_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

int net_await(int fd, short events)
{
    uint64_t end = net_now() + NET_LIMIT_NS;
    struct pollfd pfd = {.fd = fd, .events = events};
    while (net_now() < end) {
        int n = poll(&pfd, 1, 1000);
        if (n > 0)
            return pfd.revents;
        assert_true(n == 0 || errno == EINTR);
    }
    fail_msg("fd %d: nothing happened within the time limit", fd);
    return 0;
}

void net_write(int fd, const void *bytes, size_t len)
{
    const char *at = bytes;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n >= 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) {
            net_await(fd, POLLOUT);
        } else if (errno != EINTR) {
            fail_msg("write: %s", strerror(errno));
        }
    }
}

void net_read(int fd, void *bytes, size_t len)
{
    char *at = bytes;
    while (len > 0) {
        ssize_t n;
        net_await(fd, POLLIN);
        n = read(fd, at, len);
        if (n == 0)
            fail_msg("end of input, %zu bytes too early", len);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        } else if (errno != EINTR && errno != EAGAIN) {
            fail_msg("read: %s", strerror(errno));
        }
    }
}

ssize_t net_read_some(int fd, void *bytes, size_t len)
{
    ssize_t n = recv(fd, bytes, len, MSG_DONTWAIT);
    return n >= 0 ? n : -errno;
}

void net_await_unread(int fd, size_t len)
{
    uint64_t end = net_now() + NET_LIMIT_NS;
    int unread = 0;
    while (net_now() < end) {
        assert_int_equal(ioctl(fd, FIONREAD, &unread), 0);
        if ((size_t)unread >= len)
            return;
        poll(NULL, 0, 1);
    }
    fail_msg("only %d of %zu bytes arrived", unread, len);
}

/*
 * Prime periods: a byte that is lost, doubled or moved by any power of two shows. The whole repeats itself after
 * their product, so that a table of it, long enough for one run at a time, spares two divisions for each byte.
 */
enum { SHORT_PERIOD = 251, LONG_PERIOD = 5, PERIOD = SHORT_PERIOD * LONG_PERIOD, RUN = 16 * PERIOD };

unsigned char net_pattern_at(uint64_t offset)
{
    return (unsigned char)(offset % SHORT_PERIOD + offset / SHORT_PERIOD % LONG_PERIOD);
}

static unsigned char pattern[PERIOD + RUN];

static void make_pattern(void)
{
    for (uint64_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = net_pattern_at(i);
}

/* The pattern from `offset` on, RUN bytes of it. */
static const unsigned char *pattern_from(uint64_t offset)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_pattern);
    return pattern + offset % PERIOD;
}

void net_pattern(void *bytes, uint64_t offset, size_t len)
{
    unsigned char *at = bytes;
    for (size_t n; len > 0; at += n, offset += n, len -= n) {
        n = len < RUN ? len : RUN;
        memcpy(at, pattern_from(offset), n);
    }
}

bool net_is_pattern(const void *bytes, uint64_t offset, size_t len)
{
    const unsigned char *at = bytes;
    for (size_t n; len > 0; at += n, offset += n, len -= n) {
        n = len < RUN ? len : RUN;
        if (memcmp(at, pattern_from(offset), n) != 0)
            return false;
    }
    return true;
}

void net_write_pattern(int fd, uint64_t offset, size_t len)
{
    unsigned char chunk[16384];
    while (len > 0) {
        size_t n = len < sizeof(chunk) ? len : sizeof(chunk);
        net_pattern(chunk, offset, n);
        net_write(fd, chunk, n);
        offset += n;
        len -= n;
    }
}

static size_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n;
}

size_t net_fd_count(void)
{
    return count_entries("/proc/self/fd") - 1; /* the folder's own fd */
}

static pid_t own_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

static void *tell_thread(void *arg)
{
    *(pid_t *)arg = own_thread();
    return NULL;
}

/* The state of a thread of this process as proc(5) tells it ("R", "S", ...); 0: it is gone. */
static char thread_state(pid_t id)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", (long)id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *end = strrchr(text, ')'); /* a name may have brackets, too */
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}

size_t net_thread_count(void)
{
    return count_entries("/proc/self/task");
}

size_t net_threads_at_rest(void)
{
    static size_t least;
    if (least == 0) {
        /* A sanitizer starts a thread of its own beside the first one, an emulator has some: let that happen now. */
        pthread_t first;
        pid_t id = 0;
        uint64_t end = net_now() + NET_LIMIT_NS;
        assert_int_equal(pthread_create(&first, NULL, tell_thread, &id), 0);
        pthread_join(first, NULL);
        while (thread_state(id) != 0 && net_now() < end) /* which may be joined long before it is gone */
            poll(NULL, 0, 1);
        assert_int_equal(thread_state(id), 0);
        least = net_thread_count();
    }
    net_await_threads(least);
    return least;
}

void net_await_threads(size_t n)
{
    uint64_t end = net_now() + NET_LIMIT_NS;
    while (net_thread_count() > n && net_now() < end)
        poll(NULL, 0, 1);
    assert_true(net_thread_count() <= n);
}

size_t net_raise_fd_limit(size_t wanted)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    }
    return (size_t)limit.rlim_cur;
}

unsigned char *net_new_pattern(size_t len)
{
    unsigned char *bytes = malloc(len);
    assert_non_null(bytes);
    net_pattern(bytes, 0, len);
    return bytes;
}

int net_sparse_file(uint64_t len, uint64_t offset, size_t run)
{
    FILE *stream = tmpfile();
    unsigned char *bytes = net_new_pattern(run);
    int fd;
    assert_non_null(stream);
    fd = dup(fileno(stream));
    fclose(stream);
    assert_true(fd >= 0);
    if (ftruncate(fd, (off_t)len) != 0) {
        print_message("no file of %llu bytes: %s\n", (unsigned long long)len, strerror(errno));
        skip();
    }
    assert_int_equal(pwrite(fd, bytes, run, (off_t)offset), run);
    free(bytes);
    return fd;
}

char *net_temp_dir(void)
{
    const char *base = getenv("TMPDIR");
    char path[256];
    char *dir;
    snprintf(path, sizeof(path), "%s/ioreactor-XXXXXX", base != NULL && strlen(base) < 64 ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    dir = strdup(path);
    assert_non_null(dir);
    return dir;
}

void net_temp_dir_remove(char *dir)
{
    DIR *entries = opendir(dir);
    if (entries != NULL) {
        for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
            unlinkat(dirfd(entries), entry->d_name, 0);
        closedir(entries);
    }
    rmdir(dir);
    free(dir);
}

/* Whether no other thread of this process runs, or is about to. */
static bool others_sleep(void)
{
    DIR *dir = opendir("/proc/self/task");
    bool it = true;
    assert_non_null(dir);
    for (struct dirent *entry; it && (entry = readdir(dir)) != NULL;) {
        pid_t id = (pid_t)strtol(entry->d_name, NULL, 10);
        char state = id > 0 && id != own_thread() ? thread_state(id) : 0;
        it = state != 'R' && state != 'D';
    }
    closedir(dir);
    return it;
}

pid_t net_fork(void)
{
    uint64_t end = net_now() + NET_LIMIT_NS;
    bool asleep = others_sleep();
    for (; !asleep && net_now() < end; asleep = others_sleep())
        poll(NULL, 0, 1);
    assert_true(asleep);
    fflush(stdout);
    fflush(stderr);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        setenv("CMOCKA_TEST_ABORT", "1", 1); /* a failed assertion must not go on with the parent's tests */
    return pid;
}

int net_in_child(int (*child)(void *arg), void *arg)
{
    int status;
    pid_t pid = net_fork();
    if (pid == 0) {
        int answer = child(arg);
#if defined(IOR_COVERAGE)
        __gcov_dump(); /* _exit does not */
#endif
        _exit(answer);
    }
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

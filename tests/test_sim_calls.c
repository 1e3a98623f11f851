/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulated system calls beside the real ones: the same script of calls runs on both tables, and both must answer
 * alike, call by call. Only what a kernel answers at once or later (the outcome of a connect) is joined.
 */
#include "support/check.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <ioreactor/sim.h>

#define NOTES_MOST 200
#define PATIENCE_MS 20000

/* One of the two systems, and what it answered. */
struct side {
    const struct ior_os *os;
    struct ior_sim *sim; /* NULL: the real one */
    struct ior_runtime *rt;
    char folder[64];
    unsigned n;
    int64_t answers[NOTES_MOST];
    int lines[NOTES_MOST];
};

/* What is on the way arrives: on the real side `fd` gets ready for one of `events`. */
static void arrive(struct side *s, int fd, short events)
{
    struct pollfd ready = {.fd = fd, .events = events};
    if (s->sim)
        ior_sim_settle(s->sim);
    else
        assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
}

static int64_t note_at(struct side *s, int64_t answer, int line)
{
    assert_true(s->n < NOTES_MOST);
    s->answers[s->n] = answer;
    s->lines[s->n++] = line;
    return answer;
}
#define note(s, answer) note_at((s), (answer), __LINE__)
/* An fd: which number does not matter. */
#define note_fd(s, fd) (note_at((s), (fd) < 0 ? (fd) : 0, __LINE__), (void)0)

static ssize_t send_text(struct side *s, int fd, const char *text)
{
    struct iovec iov[2] = {{.iov_base = (void *)(uintptr_t)text, .iov_len = 1},
                           {.iov_base = (void *)(uintptr_t)(text + 1), .iov_len = strlen(text) - 1}};
    return s->os->send(s->os->arg, fd, iov, 2);
}

static ssize_t receive(struct side *s, int fd, size_t len)
{
    char bytes[64];
    return s->os->recv(s->os->arg, fd, bytes, len);
}

static int option(struct side *s, int fd, int level, int name)
{
    int value = 0;
    uint32_t len = sizeof(value);
    int err = s->os->getsockopt(s->os->arg, fd, level, name, &value, &len);
    return err < 0 ? err : value;
}

static int set_option(struct side *s, int fd, int level, int name, int value)
{
    return s->os->setsockopt(s->os->arg, fd, level, name, &value, sizeof(value));
}

static int new_socket(struct side *s, int family)
{
    int fd = s->os->socket(s->os->arg, family, SOCK_STREAM, 0);
    note_fd(s, fd);
    return fd;
}

static int kind(struct side *s, int fd)
{
    return s->os->fd_kind(s->os->arg, fd);
}

static void end(struct side *s, int fd)
{
    note(s, s->os->close(s->os->arg, fd));
}

/* A connect and its outcome, whether it comes at once or later. */
static int connect_to(struct side *s, int fd, const struct ior_addr *addr)
{
    int err = s->os->connect(s->os->arg, fd, addr);
    arrive(s, fd, POLLOUT);
    return err == -EINPROGRESS ? -option(s, fd, SOL_SOCKET, SO_ERROR) : err;
}

/* ---- TCP ---- */

static int listener(struct side *s, const char *text, struct ior_addr *ret)
{
    int fd, err;
    assert_int_equal(ior_addr_parse(ret, text), 0);
    struct sockaddr sa;
    memcpy(&sa, ret->raw, sizeof(sa));
    fd = new_socket(s, sa.sa_family);
    err = s->os->bind(s->os->arg, fd, ret);
    note(s, err);
    note(s, s->os->getsockname(s->os->arg, fd, ret));
    note(s, ior_addr_port(ret) > 0);
    note(s, s->os->listen(s->os->arg, fd, 5));
    return fd;
}

static void pair(struct side *s, int listening, const struct ior_addr *addr, int ret[2])
{
    struct ior_addr peer, local;
    ret[0] = new_socket(s, AF_INET);
    note(s, connect_to(s, ret[0], addr));
    arrive(s, listening, POLLIN);
    ret[1] = s->os->accept(s->os->arg, listening, &peer);
    note_fd(s, ret[1]);
    note(s, s->os->getsockname(s->os->arg, ret[0], &local));
    note(s, ior_addr_equal(&peer, &local));
    note(s, s->os->getpeername(s->os->arg, ret[0], &peer));
    note(s, ior_addr_equal(&peer, addr));
}

static void fresh_sockets(struct side *s)
{
    struct ior_addr addr, other;
    int fd = new_socket(s, AF_INET);
    note(s, kind(s, fd));
    note(s, s->os->getpeername(s->os->arg, fd, &addr));
    note(s, receive(s, fd, 1));
    note(s, send_text(s, fd, "xy"));
    note(s, s->os->shutdown(s->os->arg, fd, SHUT_WR));
    note(s, s->os->accept(s->os->arg, fd, &addr));
    note(s, s->os->set_nonblock(s->os->arg, fd, true));
    note(s, option(s, fd, SOL_SOCKET, SO_TYPE) == SOCK_STREAM);
    note(s, option(s, fd, SOL_SOCKET, SO_ACCEPTCONN));
    note(s, option(s, fd, SOL_SOCKET, 9999));
    note(s, set_option(s, fd, SOL_SOCKET, 9999, 1));
    note(s, set_option(s, fd, IPPROTO_TCP, TCP_NODELAY, 1));
    note(s, option(s, fd, IPPROTO_TCP, TCP_NODELAY) != 0);
    note(s, set_option(s, fd, SOL_SOCKET, SO_KEEPALIVE, 1));
    note(s, option(s, fd, SOL_SOCKET, SO_KEEPALIVE));
    assert_int_equal(ior_addr_parse(&addr, "127.0.0.1:0"), 0);
    note(s, s->os->bind(s->os->arg, fd, &addr));
    note(s, s->os->bind(s->os->arg, fd, &addr));
    note(s, s->os->getsockname(s->os->arg, fd, &addr));
    int second = new_socket(s, AF_INET);
    note(s, s->os->bind(s->os->arg, second, &addr));
    assert_int_equal(ior_addr_parse(&other, "192.0.2.1:0"), 0);
    note(s, s->os->bind(s->os->arg, second, &other));
    note(s, s->os->socket(s->os->arg, AF_UNSPEC, SOCK_STREAM, 0));
    end(s, second);
    end(s, fd);
}

static void tcp_talks_and_ends(struct side *s)
{
    struct ior_addr addr;
    int fds[2];
    int door = listener(s, "127.0.0.1:0", &addr);
    note(s, kind(s, door));
    note(s, option(s, door, SOL_SOCKET, SO_ACCEPTCONN));
    note(s, s->os->accept(s->os->arg, door, &addr));
    note(s, receive(s, door, 1));
    pair(s, door, &addr, fds);
    note(s, s->os->accept(s->os->arg, door, &addr));
    note(s, kind(s, fds[0]));
    note(s, kind(s, fds[1]));
    note(s, receive(s, fds[0], 1));
    note(s, receive(s, fds[0], 0));
    note(s, send_text(s, fds[0], "abc"));
    arrive(s, fds[1], POLLIN);
    note(s, receive(s, fds[1], 2));
    note(s, receive(s, fds[1], 2));
    note(s, receive(s, fds[1], 2));
    note(s, s->os->shutdown(s->os->arg, fds[0], SHUT_WR));
    arrive(s, fds[1], POLLIN);
    note(s, send_text(s, fds[0], "no"));
    note(s, receive(s, fds[1], 2));
    note(s, receive(s, fds[1], 2));
    note(s, send_text(s, fds[1], "back"));
    arrive(s, fds[0], POLLIN);
    note(s, receive(s, fds[0], 9));
    end(s, fds[0]);
    note(s, send_text(s, fds[1], "to nobody"));
    arrive(s, fds[1], 0); /* the reset */
    note(s, send_text(s, fds[1], "to nobody"));
    note(s, send_text(s, fds[1], "to nobody"));
    note(s, receive(s, fds[1], 9));
    end(s, fds[1]);
    end(s, door);
}

static void tcp_is_reset(struct side *s)
{
    const struct linger linger = {.l_onoff = 1};
    struct ior_addr addr, peer;
    int fds[2];
    int door = listener(s, "127.0.0.1:0", &addr);
    pair(s, door, &addr, fds);
    note(s, s->os->setsockopt(s->os->arg, fds[0], SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    end(s, fds[0]);
    arrive(s, fds[1], 0);
    note(s, s->os->getpeername(s->os->arg, fds[1], &peer));
    note(s, kind(s, fds[1]));
    note(s, receive(s, fds[1], 9));
    note(s, receive(s, fds[1], 9));
    note(s, send_text(s, fds[1], "xy"));
    note(s, s->os->shutdown(s->os->arg, fds[1], SHUT_WR));
    end(s, fds[1]);
    /* Closed over unread input. */
    pair(s, door, &addr, fds);
    note(s, send_text(s, fds[0], "unread"));
    arrive(s, fds[1], POLLIN);
    end(s, fds[1]);
    arrive(s, fds[0], 0);
    note(s, option(s, fds[0], SOL_SOCKET, SO_ERROR));
    note(s, option(s, fds[0], SOL_SOCKET, SO_ERROR));
    note(s, receive(s, fds[0], 9));
    end(s, fds[0]);
    end(s, door);
    /* Nobody listens any more. */
    int late = new_socket(s, AF_INET);
    note(s, connect_to(s, late, &addr));
    end(s, late);
}

static void dual_stack(struct side *s)
{
    struct ior_addr any, v4;
    char text[64];
    int door = listener(s, "[::]:0", &any);
    snprintf(text, sizeof(text), "127.0.0.1:%u", ior_addr_port(&any));
    assert_int_equal(ior_addr_parse(&v4, text), 0);
    int fd = new_socket(s, AF_INET);
    note(s, connect_to(s, fd, &v4));
    arrive(s, door, POLLIN);
    struct ior_addr peer = {0};
    int conn = s->os->accept(s->os->arg, door, &peer);
    note_fd(s, conn);
    struct sockaddr_in6 in6;
    memcpy(&in6, peer.raw, sizeof(in6));
    note(s, in6.sin6_family == AF_INET6);
    note(s, IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) != 0);
    int taken = new_socket(s, AF_INET);
    note(s, s->os->bind(s->os->arg, taken, &v4));
    end(s, taken);
    end(s, conn);
    end(s, fd);
    end(s, door);
}

/* ---- Unix ---- */

static void unix_addr(const struct side *s, const char *name, struct ior_addr *ret)
{
    char text[128];
    snprintf(text, sizeof(text), "unix:%s/%s", s->folder, name);
    assert_int_equal(ior_addr_parse(ret, text), 0);
}

static void unix_connects(struct side *s)
{
    struct ior_addr addr, peer, absent;
    struct ior_os_path path;
    char text[128];
    int door = new_socket(s, AF_UNIX), other = new_socket(s, AF_UNIX);
    snprintf(text, sizeof(text), "%s/door", s->folder);
    unix_addr(s, "door", &addr);
    unix_addr(s, "absent", &absent);
    note(s, s->os->listen(s->os->arg, door, 1));
    note(s, s->os->path_stat(s->os->arg, text, &path));
    note(s, s->os->bind(s->os->arg, door, &addr));
    note(s, s->os->path_stat(s->os->arg, text, &path));
    note(s, path.is_socket);
    note(s, s->os->path_chmod(s->os->arg, text, 0600));
    note(s, s->os->bind(s->os->arg, other, &addr));
    note(s, s->os->connect(s->os->arg, other, &addr));
    note(s, s->os->connect(s->os->arg, other, &absent));
    note(s, receive(s, other, 1));
    note(s, send_text(s, other, "xy"));
    note(s, set_option(s, other, IPPROTO_TCP, TCP_NODELAY, 1));
    note(s, option(s, other, IPPROTO_TCP, TCP_NODELAY));
    note(s, s->os->listen(s->os->arg, door, 0));
    note(s, s->os->connect(s->os->arg, other, &addr));
    int third = new_socket(s, AF_UNIX);
    note(s, s->os->connect(s->os->arg, third, &addr)); /* the backlog is full */
    int conn = s->os->accept(s->os->arg, door, &peer);
    note_fd(s, conn);
    note(s, peer.len);
    note(s, kind(s, conn));
    note(s, s->os->getpeername(s->os->arg, other, &peer));
    note(s, ior_addr_equal(&peer, &addr));
    note(s, send_text(s, other, "abc"));
    note(s, receive(s, conn, 2));
    /* Closed over an unread byte. */
    end(s, conn);
    note(s, send_text(s, other, "abc"));
    note(s, receive(s, other, 2));
    note(s, receive(s, other, 2));
    end(s, other);
    end(s, third);
    end(s, door);
    other = new_socket(s, AF_UNIX);
    note(s, s->os->connect(s->os->arg, other, &addr)); /* a path nobody listens on */
    note(s, s->os->path_unlink(s->os->arg, text));
    note(s, s->os->path_unlink(s->os->arg, text));
    note(s, s->os->path_chmod(s->os->arg, text, 0600));
    note(s, s->os->connect(s->os->arg, other, &addr));
    end(s, other);
}

static void abstract_names_go_with_their_socket(struct side *s)
{
    struct ior_addr addr;
    char text[64];
    snprintf(text, sizeof(text), "unix:@ioreactor-test-%ld", (long)getpid());
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    for (int round = 0; round < 2; round++) {
        int door = new_socket(s, AF_UNIX), fd = new_socket(s, AF_UNIX);
        note(s, s->os->connect(s->os->arg, fd, &addr));
        note(s, s->os->bind(s->os->arg, door, &addr));
        note(s, s->os->bind(s->os->arg, fd, &addr));
        note(s, s->os->listen(s->os->arg, door, 5));
        note(s, s->os->connect(s->os->arg, fd, &addr));
        end(s, door);
        note(s, receive(s, fd, 1) <= 0); /* it was never accepted */
        end(s, fd);
    }
}

/* ---- files ---- */

static void files_are_read_and_sent(struct side *s)
{
    struct ior_addr addr;
    char bytes[16];
    int fds[2], fd;
    if (s->sim) {
        fd = ior_sim_file(s->sim, 1, "0123456789", 10);
    } else {
        char name[96];
        snprintf(name, sizeof(name), "%s/file", s->folder);
        fd = open(name, O_RDWR | O_CREAT, 0600);
        assert_int_equal(write(fd, "0123456789", 10), 10);
        close(fd);
        fd = open(name, O_RDONLY);
        unlink(name);
    }
    note(s, kind(s, fd));
    note(s, s->os->pread(s->os->arg, fd, bytes, 4, 8));
    note(s, s->os->pread(s->os->arg, fd, bytes, 4, 10));
    note(s, s->os->pread(s->os->arg, fd, bytes, 4, 1000));
    int copy = s->os->dup(s->os->arg, fd);
    note_fd(s, copy);
    end(s, fd);
    int door = listener(s, "127.0.0.1:0", &addr);
    pair(s, door, &addr, fds);
    note(s, s->os->sendfile(s->os->arg, fds[0], copy, 4, 100));
    note(s, s->os->sendfile(s->os->arg, fds[0], copy, 10, 100));
    note(s, s->os->sendfile(s->os->arg, fds[0], -1, 0, 1));
    note(s, s->os->pread(s->os->arg, fds[0], bytes, 1, 0));
    arrive(s, fds[1], POLLIN);
    note(s, receive(s, fds[1], 16));
    note(s, s->os->dup(s->os->arg, -1));
    note(s, receive(s, copy, 1));
    end(s, copy);
    end(s, fds[0]);
    end(s, fds[1]);
    end(s, door);
}

/* ---- both ---- */

static const struct ior_handler nothing = {.struct_size = sizeof(nothing)};

static void open_sim(struct side *s)
{
    const struct ior_sim_config config = {.struct_size = sizeof(config), .choose = NULL};
    memset(s, 0, sizeof(*s));
    strcpy(s->folder, "/tmp/simulated");
    assert_int_equal(ior_sim_new(&config, &s->sim), 0);
    assert_int_equal(ior_sim_host(s->sim, NULL), 1);
    assert_int_equal(ior_sim_runtime_new(s->sim, 1, NULL, &nothing, NULL, &s->rt), 0);
    s->os = ior_context_os(ior_runtime_context(s->rt));
}

static void compare(void (*script)(struct side *s))
{
    struct side real = {.os = ior_os_default()}, simulated;
    strcpy(real.folder, "/tmp/ioreactor-XXXXXX");
    assert_non_null(mkdtemp(real.folder));
    open_sim(&simulated);
    script(&real);
    script(&simulated);
    rmdir(real.folder);
    assert_int_equal(simulated.n, real.n);
    for (unsigned i = 0; i < real.n; i++) {
        if (simulated.answers[i] != real.answers[i])
            fail_msg("line %d: really %lld (%s), simulated %lld (%s)", real.lines[i], (long long)real.answers[i],
                     ior_errname((int)real.answers[i]), (long long)simulated.answers[i],
                     ior_errname((int)simulated.answers[i]));
    }
    ior_runtime_free(simulated.rt);
    assert_int_equal(ior_sim_check(simulated.sim), ior_sim_check(simulated.sim));
    assert_int_equal(ior_sim_open_fds(simulated.sim, 1), 0);
    ior_sim_free(simulated.sim);
}

#define BOTH(name)                     \
    static void name##_s(void **state) \
    {                                  \
        (void)state;                   \
        compare(name);                 \
    }
BOTH(fresh_sockets)
BOTH(tcp_talks_and_ends)
BOTH(tcp_is_reset)
BOTH(dual_stack)
BOTH(unix_connects)
BOTH(abstract_names_go_with_their_socket)
BOTH(files_are_read_and_sent)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_sockets_s),
        cmocka_unit_test(tcp_talks_and_ends_s),
        cmocka_unit_test(tcp_is_reset_s),
        cmocka_unit_test(dual_stack_s),
        cmocka_unit_test(unix_connects_s),
        cmocka_unit_test(abstract_names_go_with_their_socket_s),
        cmocka_unit_test(files_are_read_and_sent_s),
    };

    return cmocka_run_group_tests_name("simulated calls beside real ones", tests, NULL, NULL);
}

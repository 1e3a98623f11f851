/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "datagrams.h"

struct dg_notes dg;

void dg_on_event(struct probe *p, struct probe_res *r, const struct ior_event *ev)
{
    if (ev->type != IOR_EV_DATAGRAM && ev->type != IOR_EV_SEND_ERROR)
        return;
    const struct ior_datagram *d = ev->datagram;
    bool failed = ev->type == IOR_EV_SEND_ERROR;
    assert_int_equal(failed, d->error > 0);
    assert_true((failed ? dg.errors_n : dg.told_n) < DG_MOST);
    struct dg_told *t = failed ? &dg.errors[dg.errors_n++] : &dg.told[dg.told_n++];
    *t = (struct dg_told){.id = ev->id, .len = d->len, .peer = *d->peer, .local = *d->local};
    t->interface = d->interface;
    t->truncated = d->truncated;
    t->was_sent = d->was_sent;
    t->error = d->error;
    if (d->bytes != NULL)
        memcpy(t->text, d->bytes, d->len < DG_TEXT - 1 ? d->len : DG_TEXT - 1);
    if (!failed && dg.on_datagram != NULL)
        dg.on_datagram(p, r, d);
}

struct probe *dg_begin(const struct ior_config *config)
{
    struct probe *p = probe_new(config);
    dg.told_n = dg.errors_n = 0;
    dg.on_datagram = NULL;
    p->on_event = dg_on_event;
    return p;
}

struct ior_addr dg_addr(const char *text)
{
    struct ior_addr addr;
    assert_int_equal(ior_addr_parse(&addr, text), 0);
    return addr;
}

ior_id dg_open(struct probe *p, const char *local, const struct ior_datagram_options *opts, struct ior_addr *ret_addr)
{
    struct ior_addr addr = dg_addr(local);
    ior_id id = 0;
    assert_int_equal(ior_datagram_open(p->cx, &addr, opts, &id), 0);
    if (ret_addr != NULL)
        assert_int_equal(ior_local(p->cx, id, ret_addr), 0);
    return id;
}

/* A plain socket, bound; its address. */
int dg_peer(const char *local, struct ior_addr *ret_addr)
{
    struct ior_addr addr = dg_addr(local);
    struct sockaddr sa;
    memcpy(&sa, addr.raw, sizeof(sa));
    int fd = socket(sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(ret_addr->raw);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)(const void *)addr.raw, addr.len), 0);
    memset(ret_addr, 0, sizeof(*ret_addr));
    assert_int_equal(getsockname(fd, (struct sockaddr *)(void *)ret_addr->raw, &len), 0);
    ret_addr->len = len;
    return fd;
}

void dg_say(int fd, const struct ior_addr *to, const void *bytes, size_t len)
{
    assert_int_equal(sendto(fd, bytes, len, 0, (const struct sockaddr *)(const void *)to->raw, to->len), (int)len);
}

void dg_say_text(int fd, const struct ior_addr *to, const char *text)
{
    dg_say(fd, to, text, strlen(text));
}

/* The next datagram of a plain socket; "" where none comes within the time. */
const char *dg_hear(int fd, struct ior_addr *from)
{
    static char text[DG_TEXT];
    struct ior_addr addr = {.len = 0};
    socklen_t len = sizeof(addr.raw);
    assert_int_equal(net_await(fd, POLLIN) & POLLIN, POLLIN);
    ssize_t n = recvfrom(fd, text, sizeof(text) - 1, MSG_DONTWAIT, (struct sockaddr *)(void *)addr.raw, &len);
    assert_true(n >= 0);
    text[n] = '\0';
    addr.len = len;
    if (from != NULL)
        *from = addr;
    return text;
}

bool dg_is_quiet(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

struct ior_addr dg_refused(void)
{
    struct ior_addr addr;
    int fd = dg_peer("127.0.0.1:0", &addr);
    net_close(&fd);
    return addr;
}

bool dg_has_v6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has = fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&in6, sizeof(in6)) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

void dg_say_numbers(int fd, const struct ior_addr *to, int n)
{
    char text[32];
    for (int i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "number %d", i);
        dg_say_text(fd, to, text);
    }
}

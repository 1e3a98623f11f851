/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hosts, the links between them, and addresses in the small form that everything else here uses. A link is made the
 * first time somebody connects over it, or it is set or cut; until then it is as the world's config says.
 */
#include "world.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define HOSTS_MOST 65535
#define PORT_FIRST 32768u
#define LATENCY_DEFAULT_NS (50 * IOR_NS_PER_US)
#define BUFFER_DEFAULT_BYTES 65536u

struct host *ior__host_at(const struct ior_sim *sim, int host)
{
    return host > 0 && (uint32_t)host <= sim->hosts_n ? sim->hosts[host - 1] : NULL;
}

int ior_sim_host(struct ior_sim *sim, const char *name)
{
    if (!sim || (name && (!*name || strlen(name) > 15)))
        return -EINVAL;
    if (sim->hosts_n == HOSTS_MOST)
        return -ENOSPC;
    struct host *host = ior__mem_new(sizeof(*host));
    uint32_t number = sim->hosts_n + 1;
    if (name)
        snprintf(host->name, sizeof(host->name), "%s", name);
    else
        snprintf(host->name, sizeof(host->name), "h%u", number);
    host->next_port = PORT_FIRST;
    host->max_fds = sim->config.max_fds;
    sim->hosts = ior__mem_room(sim->hosts, sim->hosts_n, &sim->hosts_room, sizeof(struct host *));
    sim->hosts[sim->hosts_n++] = host;
    return (int)number;
}

void ior__hosts_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->hosts_n; i++)
        ior__mem_free(sim->hosts[i]);
    for (uint32_t i = 0; i < sim->links_n; i++)
        ior__mem_free(sim->links[i]);
    ior__mem_free(sim->hosts);
    ior__mem_free(sim->links);
}

int ior_sim_max_fds(struct ior_sim *sim, int host, uint32_t max_fds)
{
    struct host *at = sim ? ior__host_at(sim, host) : NULL;
    if (!at)
        return -EINVAL;
    at->max_fds = max_fds ? max_fds : sim->config.max_fds;
    return 0;
}

uint32_t ior_sim_open_fds(const struct ior_sim *sim, int host)
{
    const struct host *at = ior__host_at(sim, host);
    return at ? at->open_fds : 0;
}

uint64_t ior_sim_count(const struct ior_sim *sim, int host, enum ior_sim_call call)
{
    uint64_t count = 0;
    if ((unsigned)call >= IOR_SIM_CALLS)
        return 0;
    for (uint32_t i = 0; i < sim->hosts_n; i++) {
        if (host != 0 && (uint32_t)host != i + 1)
            continue;
        for (unsigned kind = 1; kind < IOR_SIM_CALLS; kind++)
            count += call == IOR_SIM_ANY || kind == (unsigned)call ? sim->hosts[i]->counts[kind] : 0;
    }
    return count;
}

/* ---- the wall clock ---- */

void ior_sim_wall_jump(struct ior_sim *sim, int host, int64_t ns)
{
    struct host *at = ior__host_at(sim, host);
    if (!at)
        return;
    at->wall_off_ns = (int64_t)((uint64_t)at->wall_off_ns + (uint64_t)ns);
    char text[96];
    snprintf(text, sizeof(text), "wall clock of %s jumps by %lld ns", at->name, (long long)ns);
    ior__trace_text(sim, text);
}

void ior_sim_wall_set(struct ior_sim *sim, int host, uint64_t ns)
{
    const struct host *at = ior__host_at(sim, host);
    if (!at)
        return;
    uint64_t is_ns = sim->config.wall_ns + (sim->now_ns - sim->begin_ns) + (uint64_t)at->wall_off_ns;
    ior_sim_wall_jump(sim, host, (int64_t)(ns - is_ns));
}

/* ---- links ---- */

static void link_fill(struct ior_sim *sim, struct link *link, const struct ior_sim_link *from)
{
    const struct ior_sim_link *otherwise = &sim->config.link;
    link->is = *from;
    if (link->is.latency_ns == 0)
        link->is.latency_ns = otherwise->latency_ns;
    if (link->is.latency_ns == 0 && link->a != link->b)
        link->is.latency_ns = LATENCY_DEFAULT_NS;
    if (link->is.jitter_ns == 0)
        link->is.jitter_ns = otherwise->jitter_ns;
    if (link->is.bytes_per_sec == 0)
        link->is.bytes_per_sec = otherwise->bytes_per_sec;
    if (link->is.buffer_bytes == 0)
        link->is.buffer_bytes = otherwise->buffer_bytes ? otherwise->buffer_bytes : BUFFER_DEFAULT_BYTES;
}

static uint64_t link_key(uint32_t a, uint32_t b)
{
    return a < b ? (uint64_t)a << 32 | b : (uint64_t)b << 32 | a;
}

struct link *ior__link_between(struct ior_sim *sim, uint32_t a, uint32_t b)
{
    uint64_t key = link_key(a, b);
    uint32_t low = 0, high = sim->links_n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (link_key(sim->links[mid]->a, sim->links[mid]->b) < key)
            low = mid + 1;
        else
            high = mid;
    }
    if (low < sim->links_n && link_key(sim->links[low]->a, sim->links[low]->b) == key)
        return sim->links[low];
    struct link *link = ior__mem_new(sizeof(*link));
    link->a = (uint32_t)(key >> 32);
    link->b = (uint32_t)key;
    link_fill(sim, link, &sim->config.link);
    sim->links = ior__mem_room(sim->links, sim->links_n, &sim->links_room, sizeof(struct link *));
    memmove(sim->links + low + 1, sim->links + low, (sim->links_n - low) * sizeof(struct link *));
    sim->links[low] = link;
    sim->links_n++;
    return link;
}

bool ior__link_is_cut(const struct ior_sim *sim, const struct link *link)
{
    return link && (link->cut ||
                    (link->a != link->b && (sim->hosts[link->a - 1]->isolated || sim->hosts[link->b - 1]->isolated)));
}

int ior_sim_link(struct ior_sim *sim, int a, int b, const struct ior_sim_link *link)
{
    if (!sim || !link || !ior__host_at(sim, a) || !ior__host_at(sim, b))
        return -EINVAL;
    struct link *at = ior__link_between(sim, (uint32_t)a, (uint32_t)b);
    link_fill(sim, at, link);
    return 0;
}

static int set_cut(struct ior_sim *sim, int a, int b, bool cut)
{
    char text[64];
    if (!sim || !ior__host_at(sim, a) || (b != 0 && !ior__host_at(sim, b)))
        return -EINVAL;
    if (b == 0)
        ior__host_at(sim, a)->isolated = cut;
    else
        ior__link_between(sim, (uint32_t)a, (uint32_t)b)->cut = cut;
    snprintf(text, sizeof(text), "%s %s - %s", cut ? "cut" : "heal", ior__host_at(sim, a)->name,
             b == 0 ? "all" : ior__host_at(sim, b)->name);
    ior__trace_text(sim, text);
    if (!cut)
        ior__calendar_release(sim);
    return 0;
}

int ior_sim_cut(struct ior_sim *sim, int a, int b)
{
    return set_cut(sim, a, b, true);
}

int ior_sim_heal(struct ior_sim *sim, int a, int b)
{
    return set_cut(sim, a, b, false);
}

/* ---- addresses ---- */

/* A number of a host, out of four bytes. */
static uint32_t number_of(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void v4_of(const struct ior_sim *sim, uint32_t self, const unsigned char *at, struct where *ret)
{
    uint32_t address = number_of(at);
    ret->any = address == 0;
    ret->loop = at[0] == 127;
    if (ret->any || ret->loop)
        ret->host = self;
    else
        ret->host = at[0] == 10 && (address & 0xffffff) <= sim->hosts_n ? address & 0xffffff : 0;
}

static void v6_of(const struct ior_sim *sim, uint32_t self, const unsigned char *at, struct where *ret)
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const unsigned char zero[16];
    static const unsigned char ours[12] = {0xfd};

    if (memcmp(at, mapped, sizeof(mapped)) == 0) {
        v4_of(sim, self, at + 12, ret);
        ret->mapped = true;
    } else if (memcmp(at, zero, 15) == 0 && at[15] <= 1) {
        ret->any = at[15] == 0;
        ret->loop = at[15] == 1;
        ret->host = self;
    } else if (memcmp(at, ours, sizeof(ours)) == 0 && number_of(at + 12) <= sim->hosts_n) {
        ret->host = number_of(at + 12);
    }
}

static void unix_of(struct ior_sim *sim, uint32_t self, const struct ior_addr *addr, struct where *ret)
{
    const size_t at = offsetof(struct sockaddr_un, sun_path);
    char name[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
    size_t len = addr->len > at ? addr->len - at : 0;

    if (len > sizeof(name) - 1)
        len = sizeof(name) - 1;
    ret->host = self;
    if (len == 0)
        return;
    memcpy(name, addr->raw + at, len);
    name[len] = '\0';
    if (name[0] == '\0')
        name[0] = '@';
    else
        len = strlen(name);
    ret->path = ior__path_number(sim, self, name, len);
}

bool ior__where_of(struct ior_sim *sim, int host, const struct ior_addr *addr, struct where *ret)
{
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    unsigned char bytes[16];

    memset(ret, 0, sizeof(*ret));
    if (addr->len < sizeof(sa.sa_family) || addr->len > sizeof(addr->raw))
        return false;
    memcpy(&sa, addr->raw, sizeof(sa));
    ret->port = (uint16_t)ior_addr_port(addr);
    if (sa.sa_family == AF_INET && addr->len >= sizeof(in)) {
        memcpy(&in, addr->raw, sizeof(in));
        memcpy(bytes, &in.sin_addr, 4);
        ret->family = FAMILY_V4;
        v4_of(sim, (uint32_t)host, bytes, ret);
    } else if (sa.sa_family == AF_INET6 && addr->len >= sizeof(in6)) {
        memcpy(&in6, addr->raw, sizeof(in6));
        memcpy(bytes, &in6.sin6_addr, 16);
        ret->family = FAMILY_V6;
        v6_of(sim, (uint32_t)host, bytes, ret);
    } else if (sa.sa_family == AF_UNIX) {
        ret->family = FAMILY_UNIX;
        unix_of(sim, (uint32_t)host, addr, ret);
    } else {
        return false;
    }
    return true;
}

static void v4_bytes(const struct where *where, unsigned char *at)
{
    uint32_t address = where->any ? 0 : where->loop ? UINT32_C(0x7f000001) : UINT32_C(0x0a000000) | where->host;
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(address >> (24 - 8 * i));
}

static void v6_bytes(const struct where *where, unsigned char *at)
{
    memset(at, 0, 16);
    if (where->mapped) {
        at[10] = at[11] = 0xff;
        v4_bytes(where, at + 12);
    } else if (where->loop) {
        at[15] = 1;
    } else if (!where->any) {
        at[0] = 0xfd;
        for (int i = 0; i < 4; i++)
            at[12 + i] = (unsigned char)(where->host >> (24 - 8 * i));
    }
}

static void unix_addr(const struct ior_sim *sim, const struct where *where, struct ior_addr *ret)
{
    const size_t at = offsetof(struct sockaddr_un, sun_path);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t len = 0;

    if (where->path > 0) {
        const struct path *path = ior__path_at(sim, where->path);
        len = path->len;
        memcpy(un.sun_path, path->name, len);
        if (un.sun_path[0] == '@')
            un.sun_path[0] = '\0';
        else if (len < sizeof(un.sun_path))
            len++; /* its zero */
    }
    memcpy(ret->raw, &un, sizeof(un));
    ret->len = (uint32_t)(at + len);
}

void ior__where_addr(const struct ior_sim *sim, const struct where *where, struct ior_addr *ret)
{
    unsigned char bytes[16];

    memset(ret, 0, sizeof(*ret));
    if (where->family == FAMILY_V4) {
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(where->port)};
        v4_bytes(where, bytes);
        memcpy(&in.sin_addr, bytes, 4);
        memcpy(ret->raw, &in, sizeof(in));
        ret->len = sizeof(in);
    } else if (where->family == FAMILY_V6) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(where->port)};
        v6_bytes(where, bytes);
        memcpy(&in6.sin6_addr, bytes, 16);
        memcpy(ret->raw, &in6, sizeof(in6));
        ret->len = sizeof(in6);
    } else if (where->family == FAMILY_UNIX) {
        unix_addr(sim, where, ret);
    }
}

struct ior_addr ior_sim_host_addr(const struct ior_sim *sim, int host, bool v6, unsigned port)
{
    struct where where = {
        .host = (uint32_t)host, .port = (uint16_t)port, .family = v6 ? (uint8_t)FAMILY_V6 : (uint8_t)FAMILY_V4};
    struct ior_addr addr = {0};
    if (ior__host_at(sim, host))
        ior__where_addr(sim, &where, &addr);
    return addr;
}

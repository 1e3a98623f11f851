/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the world: one table for all hosts, as one DNS is. A look-up answers at once, and says how long it took. */
#include "os_calls.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define NAME_MOST 253
#define ADDRS_MOST 1024u

struct name {
    char *text;
    struct ior_addr *addrs; /* with the port 0 */
    uint32_t n;
    int error; /* in the place of addresses */
    uint64_t after_ns;
};

static int family_of(const struct ior_addr *addr)
{
    struct sockaddr sa;
    memcpy(&sa, addr->raw, sizeof(sa));
    return sa.sa_family;
}

static size_t length(const char *text)
{
    size_t len = strlen(text);
    return len > 1 && text[len - 1] == '.' ? len - 1 : len;
}

/* The number of a name, from 1 on; 0: it is not known. Letters are the same in both cases. */
static uint32_t find(const struct ior_sim *sim, const char *text)
{
    size_t len = length(text);
    for (uint32_t i = 0; i < sim->names_n; i++) {
        if (strlen(sim->names[i]->text) == len && strncasecmp(sim->names[i]->text, text, len) == 0)
            return i + 1;
    }
    return 0;
}

static struct name *name_new(struct ior_sim *sim, const char *text)
{
    struct name *name = ior__mem_new(sizeof(*name));
    size_t len = length(text);
    name->text = ior__mem_new(len + 1);
    memcpy(name->text, text, len);
    sim->names = ior__mem_room(sim->names, sim->names_n, &sim->names_room, sizeof(struct name *));
    sim->names[sim->names_n++] = name;
    return name;
}

int ior_sim_name(struct ior_sim *sim, const char *text, const char *const *addrs, uint32_t n, int error,
                 uint64_t after_ns)
{
    if (!sim || !text || !*text || length(text) > NAME_MOST || n > ADDRS_MOST || (n > 0 && !addrs) || error < 0)
        return -EINVAL;
    struct ior_addr *kept = ior__mem_new((n + (size_t)1) * sizeof(*kept));
    for (uint32_t i = 0; i < n; i++) {
        if (ior_addr_parse(&kept[i], addrs[i]) < 0 || family_of(&kept[i]) == AF_UNIX) {
            ior__mem_free(kept);
            return -EINVAL;
        }
    }
    uint32_t number = find(sim, text);
    struct name *name = number ? sim->names[number - 1] : name_new(sim, text);
    ior__mem_free(name->addrs);
    name->addrs = kept;
    name->n = n;
    name->error = error ? error : ENOENT;
    name->after_ns = after_ns;
    return 0;
}

void ior__names_free(struct ior_sim *sim)
{
    for (uint32_t i = 0; i < sim->names_n; i++) {
        ior__mem_free(sim->names[i]->text);
        ior__mem_free(sim->names[i]->addrs);
        ior__mem_free(sim->names[i]);
    }
    ior__mem_free(sim->names);
}

/* The same place in sockaddr_in and sockaddr_in6; in network order. */
static void set_port(struct ior_addr *addr, unsigned port)
{
    addr->raw[2] = (unsigned char)(port >> 8);
    addr->raw[3] = (unsigned char)port;
}

int ior__sim_os_resolve(void *arg, const struct ior_os_name *asked, struct ior_addr *addrs, uint32_t max,
                        uint64_t *after_ns)
{
    struct call call;
    ior__call_begin(&call, arg, IOR_SIM_RESOLVE, 0);
    const struct ior_sim *sim = call.node->sim;
    uint32_t number = find(sim, asked->host), total = 0;
    call.a = number;
    call.b = asked->port;
    *after_ns = 0;
    int err = ior__call_fault(&call, 0);
    if (err < 0 || number == 0)
        return (int)ior__call_end(&call, err < 0 ? err : -ENOENT);
    const struct name *name = sim->names[number - 1];
    *after_ns = name->after_ns;
    for (uint32_t i = 0; i < name->n; i++) {
        if (asked->family != AF_UNSPEC && family_of(&name->addrs[i]) != asked->family)
            continue;
        if (total < max) {
            addrs[total] = name->addrs[i];
            set_port(&addrs[total], asked->port);
        }
        total++;
    }
    return (int)ior__call_end(&call, total > 0 ? (int64_t)total : -name->error);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "check.h"
#include "named.h"
#include "script_world.h"

/* The resolver's `arg` is the world's; this is its table. Tests run one after the other. */
static struct named *current;

static int resolve(void *arg, const struct ior_os_name *name, struct ior_addr *addrs, uint32_t max, uint64_t *after_ns)
{
    uint32_t n = 0;
    (void)arg;
    current->asked++;
    snprintf(current->host, sizeof(current->host), "%s", name->host);
    current->family = name->family;
    *after_ns = 0;
    if (strncmp(name->host, "unknown", 7) == 0)
        return -ENOENT;
    *after_ns = current->after_ns;
    if (current->error != 0)
        return -current->error;
    for (; n < NAMED_ADDRS && current->addrs[n]; n++) {
        struct ior_addr addr;
        assert_int_equal(ior_addr_parse(&addr, current->addrs[n]), 0);
        if (n < max)
            addrs[n] = addr;
    }
    return n > 0 ? (int)n : -ENOENT;
}

void named_init(struct named *named, const struct ior_config *like)
{
    current = named;
    named->r = rec_bare(NULL);
    named->r->script->os.resolve = resolve;
    rec_open(named->r, like);
    rec_begin(named->r);
}

void named_free(struct named *named)
{
    rec_free(named->r);
}

ior_id named_dial(struct named *named, const char *host, const struct ior_dial_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_dial(named->r->cx, host, 80, opts, &id), 0);
    rec_of(named->r, id);
    return id;
}

ior_id named_resolve(struct named *named, const char *host, const struct ior_resolve_options *opts)
{
    ior_id id = 0;
    assert_int_equal(ior_resolve(named->r->cx, host, 80, opts, &id), 0);
    rec_of(named->r, id);
    return id;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells a forked child from its parent without a system call: a page that the kernel wipes at fork (MADV_WIPEONFORK,
 * Linux 4.14; INHERIT_ZERO on BSD). It reads 1 where it was made and 0 in a child. A runtime that is used in
 * the child would edit the parent's epoll set, which both share; the page makes such requests answer -EPERM.
 */
#include "core.h"

#include <sys/mman.h>

#define GUARD_BYTES 4096u

const volatile unsigned char *ior__guard_new(void)
{
    unsigned char *page = mmap(NULL, GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
#if defined(MADV_WIPEONFORK)
    if (madvise(page, GUARD_BYTES, MADV_WIPEONFORK) < 0)
        ior__log(IOR_LOG_INFO, "this kernel cannot wipe memory at fork: use after fork is not detected");
#elif defined(INHERIT_ZERO)
    if (minherit(page, GUARD_BYTES, INHERIT_ZERO) < 0)
        ior__log(IOR_LOG_INFO, "this kernel cannot wipe memory at fork: use after fork is not detected");
#endif
    *page = 1;
    return page;
}

void ior__guard_free(const volatile unsigned char *guard)
{
    if (guard)
        munmap((void *)(uintptr_t)guard, GUARD_BYTES);
}

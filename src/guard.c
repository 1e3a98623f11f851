/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells a forked child from its parent without a system call: a page that the kernel wipes at fork (MADV_WIPEONFORK,
 * Linux 4.14; INHERIT_ZERO on BSD). It holds the thread a runtime belongs to, and reads 0 in a child. A runtime that is
 * used in the child would edit the parent's epoll set, which both share; so such requests answer -EPERM, by the same
 * test that keeps other threads out.
 */
#include "core.h"

#include <sys/mman.h>

#define GUARD_BYTES 4096u

_Atomic uintptr_t *ior__guard_new(void)
{
    void *page = mmap(NULL, GUARD_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
#if defined(MADV_WIPEONFORK)
    if (madvise(page, GUARD_BYTES, MADV_WIPEONFORK) < 0)
        ior__log(IOR_LOG_INFO, "this kernel cannot wipe memory at fork: use after fork is not detected");
#elif defined(INHERIT_ZERO)
    if (minherit(page, GUARD_BYTES, INHERIT_ZERO) < 0)
        ior__log(IOR_LOG_INFO, "this kernel cannot wipe memory at fork: use after fork is not detected");
#endif
    _Atomic uintptr_t *owner = page;
    atomic_init(owner, ior__thread());
    return owner;
}

void ior__guard_free(_Atomic uintptr_t *guard)
{
    if (guard)
        munmap((void *)guard, GUARD_BYTES);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names for people: errors, I/O flags, events, causes, the version. All strings are static, so that any thread may ask
 * at any time and keep the answer; strerror(3) is not used, because its strings are not ours, and not all static.
 *
 * Invariant: each errno value stands in the table once (aliases like EWOULDBLOCK and ENOTSUP would be a second entry).
 */
#include "util.h"

#include <errno.h>
#include <ioreactor/event.h>

static const struct error_name {
    int err;
    const char *name;
    const char *text;
} error_names[] = {
    {0, "0", "success"},
    {EPERM, "EPERM", "operation not permitted (or the wrong thread)"},
    {ENOENT, "ENOENT", "no such file, or a stale id"},
    {ESRCH, "ESRCH", "no such process"},
    {EINTR, "EINTR", "interrupted by a signal"},
    {EIO, "EIO", "input/output error, or a file shorter than promised"},
    {ENXIO, "ENXIO", "no such device or address"},
    {E2BIG, "E2BIG", "argument list too long"},
    {ENOEXEC, "ENOEXEC", "exec format error"},
    {EBADF, "EBADF", "the file descriptor is not open"},
    {ECHILD, "ECHILD", "no child processes"},
    {EAGAIN, "EAGAIN", "not ready now, try again later"},
    {ENOMEM, "ENOMEM", "out of memory"},
    {EACCES, "EACCES", "permission denied, or the id of another service"},
    {EFAULT, "EFAULT", "bad address"},
    {EBUSY, "EBUSY", "busy, or still in use"},
    {EEXIST, "EEXIST", "exists already"},
    {EXDEV, "EXDEV", "invalid cross-device link"},
    {ENODEV, "ENODEV", "no such device or network interface"},
    {ENOTDIR, "ENOTDIR", "not a directory"},
    {EISDIR, "EISDIR", "is a directory"},
    {EINVAL, "EINVAL", "invalid argument"},
    {ENFILE, "ENFILE", "too many open files in the system"},
    {EMFILE, "EMFILE", "too many open files in this process"},
    {ENOTTY, "ENOTTY", "inappropriate ioctl for device"},
    {ETXTBSY, "ETXTBSY", "text file busy"},
    {EFBIG, "EFBIG", "file too large"},
    {ENOSPC, "ENOSPC", "no space left, or a configured limit is reached"},
    {ESPIPE, "ESPIPE", "illegal seek"},
    {EROFS, "EROFS", "read-only file system"},
    {EMLINK, "EMLINK", "too many links"},
    {EPIPE, "EPIPE", "closed for sending, or the receiver is gone"},
    {EDOM, "EDOM", "numerical argument out of domain"},
    {ERANGE, "ERANGE", "numerical result out of range"},
    {EDEADLK, "EDEADLK", "would wait for itself"},
    {ENAMETOOLONG, "ENAMETOOLONG", "name too long"},
    {ENOLCK, "ENOLCK", "no locks available"},
    {ENOSYS, "ENOSYS", "not implemented on this system, or no such engine"},
    {ENOTEMPTY, "ENOTEMPTY", "directory not empty"},
    {ELOOP, "ELOOP", "too many levels of symbolic links"},
    {EILSEQ, "EILSEQ", "invalid or incomplete multibyte or wide character"},
    {ENOTSOCK, "ENOTSOCK", "socket operation on non-socket"},
    {EDESTADDRREQ, "EDESTADDRREQ", "destination address required"},
    {EMSGSIZE, "EMSGSIZE", "too large to ever fit"},
    {EPROTOTYPE, "EPROTOTYPE", "a socket of the wrong type"},
    {ENOPROTOOPT, "ENOPROTOOPT", "protocol not available"},
    {EPROTONOSUPPORT, "EPROTONOSUPPORT", "protocol not supported"},
    {EOPNOTSUPP, "EOPNOTSUPP", "operation not supported"},
    {EAFNOSUPPORT, "EAFNOSUPPORT", "address family not supported"},
    {EADDRINUSE, "EADDRINUSE", "address in use"},
    {EADDRNOTAVAIL, "EADDRNOTAVAIL", "address not available"},
    {ENETDOWN, "ENETDOWN", "network is down"},
    {ENETUNREACH, "ENETUNREACH", "network is unreachable"},
    {ENETRESET, "ENETRESET", "network dropped connection on reset"},
    {ECONNABORTED, "ECONNABORTED", "connection aborted"},
    {ECONNRESET, "ECONNRESET", "connection reset by the peer"},
    {ENOBUFS, "ENOBUFS", "no buffer space, or the output cap is reached"},
    {EISCONN, "EISCONN", "connected already"},
    {ENOTCONN, "ENOTCONN", "not connected"},
    {ETIMEDOUT, "ETIMEDOUT", "timed out"},
    {ECONNREFUSED, "ECONNREFUSED", "connection refused"},
    {EHOSTUNREACH, "EHOSTUNREACH", "no route to host"},
    {EALREADY, "EALREADY", "already under way, or ending already"},
    {EINPROGRESS, "EINPROGRESS", "in progress"},
    {ESTALE, "ESTALE", "stale file handle"},
    {EDQUOT, "EDQUOT", "disk quota exceeded"},
    {ECANCELED, "ECANCELED", "cancelled"},
    {EOVERFLOW, "EOVERFLOW", "value too large"},
    {EPROTO, "EPROTO", "protocol error"},
    {EBADMSG, "EBADMSG", "bad message"},
    {EIDRM, "EIDRM", "identifier removed"},
    {ENOMSG, "ENOMSG", "no message of desired type"},
    {ENOTRECOVERABLE, "ENOTRECOVERABLE", "state not recoverable"},
    {EOWNERDEAD, "EOWNERDEAD", "owner died"},
#ifdef ENOTBLK
    {ENOTBLK, "ENOTBLK", "block device required"},
#endif
#ifdef ESOCKTNOSUPPORT
    {ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT", "socket type not supported"},
#endif
#ifdef EPFNOSUPPORT
    {EPFNOSUPPORT, "EPFNOSUPPORT", "protocol family not supported"},
#endif
#ifdef ESHUTDOWN
    {ESHUTDOWN, "ESHUTDOWN", "shutting down"},
#endif
#ifdef ETOOMANYREFS
    {ETOOMANYREFS, "ETOOMANYREFS", "too many references: cannot splice"},
#endif
#ifdef EHOSTDOWN
    {EHOSTDOWN, "EHOSTDOWN", "host is down"},
#endif
#ifdef EUSERS
    {EUSERS, "EUSERS", "too many users"},
#endif
#ifdef EREMOTE
    {EREMOTE, "EREMOTE", "object is remote"},
#endif
#ifdef ENODATA
    {ENODATA, "ENODATA", "no data available"},
#endif
#ifdef ETIME
    {ETIME, "ETIME", "timer expired"},
#endif
#ifdef ENOSR
    {ENOSR, "ENOSR", "out of streams resources"},
#endif
#ifdef ENOSTR
    {ENOSTR, "ENOSTR", "device not a stream"},
#endif
#ifdef EMULTIHOP
    {EMULTIHOP, "EMULTIHOP", "multihop attempted"},
#endif
#ifdef ENOLINK
    {ENOLINK, "ENOLINK", "link has been severed"},
#endif
#ifdef ENONET
    {ENONET, "ENONET", "machine is not on the network"},
#endif
#ifdef ENOPKG
    {ENOPKG, "ENOPKG", "package not installed"},
#endif
#ifdef EREMOTEIO
    {EREMOTEIO, "EREMOTEIO", "remote I/O error"},
#endif
#ifdef EKEYEXPIRED
    {EKEYEXPIRED, "EKEYEXPIRED", "key has expired"},
#endif
#ifdef EKEYREJECTED
    {EKEYREJECTED, "EKEYREJECTED", "key was rejected by service"},
#endif
#ifdef EKEYREVOKED
    {EKEYREVOKED, "EKEYREVOKED", "key has been revoked"},
#endif
#ifdef ENOKEY
    {ENOKEY, "ENOKEY", "required key not available"},
#endif
#ifdef ECOMM
    {ECOMM, "ECOMM", "communication error on send"},
#endif
#ifdef ENOTUNIQ
    {ENOTUNIQ, "ENOTUNIQ", "name not unique on network"},
#endif
#ifdef EBADFD
    {EBADFD, "EBADFD", "file descriptor in bad state"},
#endif
#ifdef ESTRPIPE
    {ESTRPIPE, "ESTRPIPE", "streams pipe error"},
#endif
#ifdef EMEDIUMTYPE
    {EMEDIUMTYPE, "EMEDIUMTYPE", "wrong medium type"},
#endif
#ifdef ENOMEDIUM
    {ENOMEDIUM, "ENOMEDIUM", "no medium found"},
#endif
#ifdef ERFKILL
    {ERFKILL, "ERFKILL", "operation not possible due to RF-kill"},
#endif
#ifdef EHWPOISON
    {EHWPOISON, "EHWPOISON", "memory page has a hardware error"},
#endif
#ifdef ERESTART
    {ERESTART, "ERESTART", "interrupted system call should be restarted"},
#endif
#ifdef EUCLEAN
    {EUCLEAN, "EUCLEAN", "structure needs cleaning"},
#endif
#if ENOTSUP != EOPNOTSUPP
    {ENOTSUP, "ENOTSUP", "not supported"},
#endif
};

/* Indexed by the set of IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR and IOR_BAD. */
static const char *const io_names[32] = {
    "none",
    "read",
    "write",
    "read|write",
    "hup",
    "read|hup",
    "write|hup",
    "read|write|hup",
    "err",
    "read|err",
    "write|err",
    "read|write|err",
    "hup|err",
    "read|hup|err",
    "write|hup|err",
    "read|write|hup|err",
    "bad",
    "read|bad",
    "write|bad",
    "read|write|bad",
    "hup|bad",
    "read|hup|bad",
    "write|hup|bad",
    "read|write|hup|bad",
    "err|bad",
    "read|err|bad",
    "write|err|bad",
    "read|write|err|bad",
    "hup|err|bad",
    "read|hup|err|bad",
    "write|hup|err|bad",
    "read|write|hup|err|bad",
};

const char *ior_version(void)
{
    return IOR_VERSION_STRING;
}

const char *ior_io_name(unsigned io)
{
    return io_names[io % IOR_COUNT_OF(io_names)];
}

static const struct error_name *find_error(int err)
{
    for (size_t i = 0; i < IOR_COUNT_OF(error_names); i++) {
        /* Compared without negating `err`, which overflows for the smallest int. */
        if (error_names[i].err == err || -error_names[i].err == err)
            return &error_names[i];
    }
    return NULL;
}

const char *ior_strerror(int err)
{
    const struct error_name *found = find_error(err);

    return found ? found->text : "unknown error";
}

const char *ior_errname(int err)
{
    const struct error_name *found = find_error(err);

    return found ? found->name : "E?";
}

const char *ior_event_name(enum ior_event_type type)
{
    switch (type) {
    case IOR_EV_ACCEPTED:
        return "accepted";
    case IOR_EV_OPEN:
        return "open";
    case IOR_EV_DATA:
        return "data";
    case IOR_EV_EOF:
        return "eof";
    case IOR_EV_DRAINED:
        return "drained";
    case IOR_EV_READY:
        return "ready";
    case IOR_EV_DEADLINE:
        return "deadline";
    case IOR_EV_CUSTOM:
        return "custom";
    case IOR_EV_END:
        return "end";
    case IOR_EV_DATAGRAM:
        return "datagram";
    case IOR_EV_SEND_ERROR:
        return "send_error";
    case IOR_EV_JOB:
        return "job";
    case IOR_EV_SIGNAL:
        return "signal";
    case IOR_EV_EXITED:
        return "exited";
    case IOR_EV_CHANGED:
        return "changed";
    case IOR_EV_FDS:
        return "fds";
    case IOR_EV_FILE:
        return "file";
    case IOR_EV_RESOLVED:
        return "resolved";
    }
    return "unknown";
}

const char *ior_why_name(enum ior_why why)
{
    switch (why) {
    case IOR_ASKED:
        return "asked";
    case IOR_EOF:
        return "eof";
    case IOR_ERROR:
        return "error";
    case IOR_TIMEOUT:
        return "timeout";
    case IOR_SHUTDOWN:
        return "shutdown";
    }
    return "unknown";
}

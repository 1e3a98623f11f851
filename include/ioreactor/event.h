/* SPDX-License-Identifier: Apache-2.0 */
/* Events: what the loop tells a service about its resources. An event is valid until the callback returns. */
#ifndef IOREACTOR_EVENT_H
#define IOREACTOR_EVENT_H

#include <ioreactor/addr.h>
#include <ioreactor/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ior_datagram;

enum ior_event_type {
    /*
     * Listeners: a peer connected; `peer` is its address. Answer in the callback with ior_accept or ior_take, else
     * the runtime closes the connection when the callback returns.
     */
    IOR_EV_ACCEPTED = 1,
    /* A stream can be used: the connect succeeded, or it was accepted, adopted, or registered again. Told once. */
    IOR_EV_OPEN = 2,
    /* Bytes arrived; `data` is lent until the callback returns. */
    IOR_EV_DATA = 3,
    /*
     * The peer finished sending. With half_open the service decides what follows; else what it sends from this
     * callback, and what was queued, is still written, and then the stream ends.
     */
    IOR_EV_EOF = 4,
    /* Owed after every send that answered 1 or -ENOBUFS: there is room again. */
    IOR_EV_DRAINED = 5,
    /*
     * A watch: `ready` says what. Level-triggered and merged: told in each turn while it lasts. Where only HUP or ERR
     * came, and nothing that was asked for, it is told once and the fd leaves the wait set until ior_interest.
     */
    IOR_EV_READY = 6,
    /* IOR_DEADLINE_USER of the resource passed. Nothing ends. */
    IOR_EV_DEADLINE = 7,
    /* From a resource of the user's own kind; `custom` is what it emitted. */
    IOR_EV_CUSTOM = 8,
    /* The last event of a resource, told exactly once, whatever the way it ended. `end` says why and what is left. */
    IOR_EV_END = 9,
    /* A datagram came; `datagram` is lent until the callback returns. */
    IOR_EV_DATAGRAM = 10,
    /* One datagram could not be sent, or was not delivered; `datagram` says which and why. Nothing ends. */
    IOR_EV_SEND_ERROR = 11,
    /* A signal was sent; `signal` says which and by whom (ior_signals). */
    IOR_EV_SIGNAL = 12,
    /* A child process exited; `exit` says how (ior_spawn). Told once, END is next. */
    IOR_EV_EXITED = 13,
    /* From ior_changes_open: a file or directory changed; `change` says how. */
    IOR_EV_CHANGED = 14,
    /*
     * A stream with receive_fds: fds came, `fds` says how many. Take them with ior_take_fd; the others are closed when the
     * callback returns. Told right before the DATA that has the byte they were sent with.
     */
    IOR_EV_FDS = 15,
    /* A job is done (or was cancelled before it began) and is the service's again; `job`. The event's id is 0. */
    IOR_EV_JOB = 16,
    /* An operation on a file is done, or failed; `file` says which and how. */
    IOR_EV_FILE = 17,
    /* A name was looked up: `resolved`. END follows. */
    IOR_EV_RESOLVED = 18,
};

/* Why a resource ended. */
enum ior_why {
    IOR_ASKED = 1,    /* ior_unregister, ior_close or ior_abort */
    IOR_EOF = 2,      /* the peer finished, and all output was written */
    IOR_ERROR = 3,    /* end.error is the first error that was met */
    IOR_TIMEOUT = 4,  /* end.deadline is the deadline that passed; end.error is ETIMEDOUT */
    IOR_SHUTDOWN = 5, /* the runtime or the service was stopped */
};

/* What comes with IOR_EV_DATA: lent until the callback returns. It is const: what is sent on is not copied at once. */
struct ior_event_data {
    const void *bytes;
    size_t len;
};

/* What comes with IOR_EV_CUSTOM, in the resource's own numbering. */
struct ior_event_custom {
    int kind;
    const void *ptr;
};

/* What comes with IOR_EV_END. */
struct ior_event_end {
    enum ior_why why;
    int error;        /* a positive errno value, or 0 */
    int deadline;     /* IOR_DEADLINE_... with IOR_TIMEOUT, else -1 */
    uint64_t written; /* bytes the transport took in its whole life */
    uint64_t unsent;  /* accepted, but not written: they are handed over with the resource */
    uint64_t unread;  /* input nobody took: given back by ior_unread, or discarded while closing */
};

struct ior_job;
struct ior_signal; /* <ioreactor/signal.h> */
struct ior_exit;   /* <ioreactor/child.h> */
struct ior_fds;    /* <ioreactor/fds.h> */
struct ior_change; /* <ioreactor/changes.h> */
struct ior_file_result;
struct ior_resolved;

struct ior_event {
    enum ior_event_type type;
    ior_id id;
    void *user; /* what was given at registration */
    union {
        struct ior_event_data data;
        const struct ior_addr *peer; /* IOR_EV_ACCEPTED */
        unsigned ready;              /* IOR_EV_READY: IOR_READ, IOR_WRITE, IOR_HUP, IOR_ERR */
        struct ior_event_custom custom;
        struct ior_event_end end;
        const struct ior_datagram *datagram; /* IOR_EV_DATAGRAM, IOR_EV_SEND_ERROR; <ioreactor/datagram.h> */
        const struct ior_signal *signal;     /* IOR_EV_SIGNAL */
        const struct ior_exit *exit;         /* IOR_EV_EXITED */
        const struct ior_change *change;     /* IOR_EV_CHANGED */
        const struct ior_fds *fds;           /* IOR_EV_FDS */
        struct ior_job *job;                 /* IOR_EV_JOB */
        const struct ior_file_result *file;  /* IOR_EV_FILE */
        const struct ior_resolved *resolved; /* IOR_EV_RESOLVED */
    };
};

/* The name of an event type ("data") and of a cause of an end ("error"), for logs. Static strings. Any thread. */
IOR_API const char *ior_event_name(enum ior_event_type type);
IOR_API const char *ior_why_name(enum ior_why why);

#ifdef __cplusplus
}
#endif
#endif

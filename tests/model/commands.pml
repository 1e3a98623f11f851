/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of commands (src/controller.c) and what the loop does with it (src/service.c, src/runtime.c), as a model
 * that Spin checks in every interleaving: SENDERS threads send EACH commands, ASKERS threads may ask for shutdown,
 * another event may end a wait or stop the loop, and the loop waits, takes, serves, closes and goes away.
 *
 * One statement here is one atomic instruction there. So memory is sequentially consistent, as Spin's always is: what a
 * weaker order of the C11 atomics could do is not seen here; for that the code runs under ThreadSanitizer
 * (tests/test_controller.c). A shutdown from a signal handler is one of the interleavings, as it never waits. Left out:
 * the time to drain, references, replies, services besides the first, and a weak compare-and-swap that fails for no
 * reason (it only tries again).
 *
 * Checked: each accepted command is served once and in the order of its sender; a refused one never; what is accepted
 * comes before the mark and what is refused behind it; the first that asked for shutdown returns behind it (another may
 * return while the first is about to put it there); a wake of a sender for each batch taken, and no more; the loop does
 * not wait for ever while anything is queued or asked for, nor does anything else; the engine is not woken once it is
 * closed.
 *
 * -DBREAK_... changes one thing that the code must not change; run.sh wants each of them to be found.
 */
#ifndef SENDERS
#define SENDERS 2
#endif
#ifndef ASKERS
#define ASKERS 2
#endif
#ifndef EACH
#define EACH 2 /* commands of a sender */
#endif
#define BUDGET 1 /* commands served in a turn: a batch can have more */
#define COMMANDS (SENDERS * EACH)

/* ---- the controller ---- */

/* A word is what `head` holds: 0, the mark, or a command's number. */
#define MARK 255
#define queued(word) (word != 0 && (word != MARK || below_mark != 0))

byte head;
byte next[COMMANDS + 1]; /* what is below a command */
byte below_mark;
bool marked;
byte wakes, batches;
byte asking, asks;
bool gone;

/* ---- the waker of the engine ---- */

bool waker; /* whether there are wakes that no wait has taken: the waker does not tell how many */
bool engine_closed;

inline wake()
{
    atomic {
        assert(!engine_closed);
        waker = true;
    }
}

/* ---- what nobody reads but assertions ---- */

bool accepted[COMMANDS + 1], served[COMMANDS + 1];

/* ---- closing ---- */

/* By askers and by the loop: only the first pushes the mark. `word` and `first` are the caller's. */
inline push_mark()
{
#ifdef BREAK_MARK_PUSHED_TWICE
    first = true;
#else
    atomic {
        first = !marked;
        marked = true
    }
#endif
    if
    :: first ->
        word = head;
        do
        :: word == MARK -> break
        :: else ->
            below_mark = word;
            if
            :: atomic { head == word -> head = MARK; word = 0; break }
            :: atomic { head != word -> word = head }
            fi
        od;
        word = 0
    :: else
    fi
}

/* ior__controller_close */
inline close_stack()
{
    push_mark();
#ifndef BREAK_CLOSED_WITHOUT_MARK
    head == MARK
#endif
}

/* ---- threads ---- */

proctype sender(byte me)
{
    byte count, command, word;
    bool was_empty;
    do
    :: count < EACH ->
        d_step { command = 1 + me * EACH + count; word = head }
        do
        :: atomic { word == MARK ->
            assert(head == MARK); /* refused: behind the mark */
            command = 0;
            break
            }
        :: else ->
#ifdef BREAK_WAKE_BEFORE_PUSH
            if
            :: word == 0 -> wake()
            :: else
            fi;
#endif
#ifdef BREAK_PUSH_IN_TWO_STEPS
            if
            :: head == word
            :: else -> word = head; goto again
            fi;
            atomic {
#else
            if
            :: atomic { head == word ->
#endif
                assert(head != MARK && !accepted[command]);
                next[command] = word;
                was_empty = (word == 0);
                head = command;
                accepted[command] = true;
                break
            }
#ifndef BREAK_PUSH_IN_TWO_STEPS
            :: atomic { head != word -> word = head }
            fi;
#endif
#ifdef BREAK_PUSH_IN_TWO_STEPS
again:      skip
#endif
        od;
        if
#ifdef BREAK_WAKE_EACH
        :: command != 0 ->
#else
        :: command != 0 && was_empty ->
#endif
#ifndef BREAK_WAKE_BEFORE_PUSH
            wake();
#endif
            wakes++
        :: else
        fi;
        d_step { count++; command = 0; word = 0; was_empty = false }
    :: else -> break
    od
}

/* ior_controller_shutdown, or not. */
proctype asker()
{
    byte word;
    bool first;
    if
    :: true -> goto out
    :: true
    fi;
    asking++;
    if
#ifdef BREAK_ASK_WITHOUT_LOOKING_AT_GONE
    :: true ->
#else
    :: !gone ->
#endif
#ifdef BREAK_ASK_BEFORE_MARK
        asks++;
        wake();
        push_mark();
#else
        push_mark();
#ifdef BREAK_WAKE_BEFORE_ASK
        wake();
        asks++;
#else
        asks++;
#ifndef BREAK_ASK_WITHOUT_WAKE
        wake();
#endif
#endif
#endif
#ifndef BREAK_ASK_WITHOUT_LOOKING_AT_GONE
    :: else
#endif
    fi;
    atomic {
        asking--;
        assert(head == MARK || !first) /* the line; or another caller is about to draw it */
    }
out:
    skip
}

/* Another event of the loop's: none, one that ends a wait, one whose callback stops the loop. */
#define EVENT 1
#define STOP 2
byte event;

proctype others()
{
    if
    :: true
    :: true -> event = EVENT
    :: true -> event = STOP
    fi
}

/* ---- the loop ---- */

#define RUNNING 0
#define ASKED 1
#define SERVING 2

/* What the loop does with at most one instruction that other threads see. */
#ifdef BREAK_TAKE_IN_TWO_STEPS
#define together
#else
#define together atomic
#endif

/*
 * ior__controller_take, its first half: the stack, turned round, becomes `pending`. One atomic instruction, the rest is
 * local.
 */
inline take_stack()
{
#ifdef BREAK_TAKE_IN_TWO_STEPS
    word = head;
#endif
    d_step {
#ifndef BREAK_TAKE_IN_TWO_STEPS
        word = head;
#endif
        if
        :: word == MARK ->
            word = below_mark;
            below_mark = 0;
#ifdef BREAK_TAKE_DROPS_MARK
            head = 0
#endif
        :: else -> head = 0
        fi;
        batches = batches + (word != 0);
        do
        :: word != 0 ->
#ifdef BREAK_NOT_TURNED_ROUND
            if
            :: pending == 0 -> pending = word
            :: else
            fi;
            word = next[word];
#else
            below = next[word];
            next[word] = pending;
            pending = word;
            word = below;
#endif
        :: else -> break
        od;
        below = 0;
    }
}

inline serve()
{
    d_step {
        assert(accepted[pending] && !served[pending]);
        assert((pending - 1) % EACH == 0 || served[pending - 1]);
        served[pending] = true;
        below = next[pending];
        next[pending] = 0;
        pending = below;
        below = 0;
    }
}

inline ask_stop()
{
    if
    :: phase == RUNNING ->
        phase = ASKED;
        close_stack()
    :: else
    fi
}

/* The wait of a turn. Where it would last for ever there must be nothing to do; then the loop is stopped. */
inline wait_for_records()
{
    if
    :: left || phase != RUNNING -> waker = false
    :: else ->
        if
        :: atomic { waker ->
#ifndef BREAK_WAKER_EMPTIED_LATE
            waker = false;
#endif
            skip
            }
        :: atomic { event != 0 ->
            stop = (event == STOP);
            event = 0;
            if
            :: waker = false
            :: true /* the record of the waker did not fit */
            fi
            }
        :: atomic { timeout ->
            assert(head == 0 && pending == 0 && asks == seen);
            stop = true
            }
        fi
    fi
}

inline serve_commands()
{
#ifndef BREAK_ASKS_READ_BEFORE_WAIT
    now = asks;
#endif
    if
    :: now != seen -> seen = now; ask_stop()
    :: else
    fi;
    if
    :: phase == ASKED -> phase = SERVING
    :: else
    fi;
    do
    :: together { count < BUDGET ->
        if
        :: pending != 0
        :: else -> take_stack()
        fi;
        if
        :: pending != 0 -> serve(); count++
        :: else -> break
        fi
        }
    :: else -> break
    od;
#ifdef BREAK_LEFT_IS_PENDING_ONLY
    atomic { left = (pending != 0); count = 0 }
#else
    atomic { left = (pending != 0 || queued(head)); count = 0 }
#endif
}

inline controller_gone()
{
#ifdef BREAK_GONE_TOLD_LATE
    asking == 0;
    gone = true;
#else
    gone = true;
#ifndef BREAK_GONE_WITHOUT_ASKERS
    asking == 0;
#endif
#endif
#ifndef BREAK_GONE_WITHOUT_WAKES
    wakes >= batches
#endif
}

proctype loop()
{
    byte phase, pending, word, below, count, seen, now;
    bool left, stop, first;
    do
    :: true ->
#ifdef BREAK_ASKS_READ_BEFORE_WAIT
        now = asks;
#endif
        wait_for_records();
        if
        :: stop -> stop = false; ask_stop()
        :: else
        fi;
        if
        :: pending != 0 || head != 0 || phase != RUNNING -> serve_commands()
        :: else
        fi;
#ifdef BREAK_WAKER_EMPTIED_LATE
        waker = false;
#endif
        if
        :: phase == SERVING && pending == 0 && !queued(head) -> break
        :: else
        fi
    od;
    /* ior__context_free, then the engine */
    close_stack();
    take_stack();
    assert(pending == 0);
    controller_gone();
    engine_closed = true
}

init
{
    byte i;
    atomic {
        run loop();
        run others();
        i = 0;
        do
        :: i < SENDERS -> run sender(i); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < ASKERS -> run asker(); i++
        :: else -> break
        od;
        i = 0
    }
    _nr_pr == 1; /* else it is an invalid end state: something waits for ever */
    d_step {
        assert(wakes == batches && head == MARK && !queued(head));
        i = 1;
        do
        :: i <= COMMANDS -> assert(accepted[i] == served[i]); i++
        :: else -> break
        od
    }
}

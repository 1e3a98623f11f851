/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The queue of commands (src/controller.c) and what the loop does with it (src/service.c, src/runtime.c), as a model that
 * Spin checks in every interleaving: SENDERS threads send 2 commands each, ASKERS threads may ask for shutdown, another
 * event may end a wait or stop the loop, and the loop waits, takes, serves, closes and goes away.
 *
 * One statement here is one atomic instruction there. So memory is sequentially consistent, as Spin's always is: what a
 * weaker order of the C11 atomics could do is not seen here; for that the code runs under ThreadSanitizer
 * (tests/test_controller.c). A shutdown from a signal handler is one of the interleavings, as it never waits. Left out:
 * the time to drain, references, replies, services besides the first, and a weak compare-and-swap that fails for no reason
 * (it only tries again).
 *
 * Checked: each accepted command is served once and in the order of its sender; a refused one never; what is accepted comes
 * before the mark and what is refused behind it, and whoever has asked for shutdown is behind it; a wake of a sender for
 * each batch taken, and no more; the loop does not wait for ever while anything is queued or asked for, nor does anything
 * else; the engine is not woken once it is closed.
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

#ifdef BREAK_MARK_IS_A_COMMAND
/* The mark is a command of the controller's own, which only the first caller pushes. */
#define MARK 64
#define is_closed(word) (word == MARK)
#define queued(word) (word != 0 && (word != MARK || next_of_mark != 0))
byte next_of_mark;
bool marked;
#else
/* The mark is the lowest bit of the stack's head. */
#define MARK 1
#define is_closed(word) (word & MARK)
#define queued(word) (word & ~MARK)
#endif
#define word_of(command) ((command) << 1)
#define command_of(word) ((word) >> 1)

byte head;               /* a word: the newest command, and the mark */
byte next[COMMANDS + 1]; /* words, too: what is below a command */
byte wakes;
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
byte batches;

/* ---- closing ---- */

/* By askers and by the loop. `word` and `first` are the caller's. */
#ifdef BREAK_MARK_IS_A_COMMAND
inline close_stack()
{
    atomic {
        first = !marked;
        marked = true;
    }
    if
    :: first ->
        word = head;
        do
        :: atomic { head == word -> next_of_mark = word; head = MARK; break }
        :: atomic { head != word -> word = head }
        od
    :: else
    fi
}
#else
inline close_stack()
{
#ifdef BREAK_MARK_IN_TWO_STEPS
    word = head;
    head = word | MARK;
#else
    head = head | MARK;
#endif
}
#endif

/* ---- threads ---- */

proctype sender(byte me)
{
    byte count, command, word;
    bool was_empty;
    do
    :: count < EACH ->
        d_step { command = 1 + me * EACH + count; word = head }
        do
        :: atomic { is_closed(word) ->
            assert(is_closed(head)); /* refused: behind the mark */
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
                assert(!is_closed(head) && !accepted[command]);
                next[command] = word;
                was_empty = (word == 0);
                head = word_of(command);
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
#ifdef BREAK_MARK_IS_A_COMMAND
    byte word;
    bool first;
#endif
#ifdef BREAK_MARK_IN_TWO_STEPS
    byte word;
#endif
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
        close_stack();
#else
        close_stack();
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
        assert(is_closed(head)) /* it is the line */
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

/* ior__controller_take, its first half: the stack, turned round, becomes `pending`. One atomic instruction, the rest is local. */
inline take_stack()
{
#ifdef BREAK_TAKE_IN_TWO_STEPS
    word = head;
#endif
    d_step {
#ifdef BREAK_MARK_IS_A_COMMAND
        if
        :: head == MARK -> word = next_of_mark; next_of_mark = 0
        :: else -> word = head; head = 0
        fi;
#else
#ifndef BREAK_TAKE_IN_TWO_STEPS
        word = head;
#endif
#ifdef BREAK_TAKE_DROPS_MARK
        head = 0;
#else
        head = head & MARK;
#endif
        word = word & ~MARK;
#endif
        batches = batches + (word != 0);
        do
        :: word != 0 ->
#ifdef BREAK_NOT_TURNED_ROUND
            if
            :: pending == 0 -> pending = command_of(word)
            :: else
            fi;
            word = next[command_of(word)];
#else
            below = next[command_of(word)];
            next[command_of(word)] = word_of(pending);
            pending = command_of(word);
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
        below = command_of(next[pending]);
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
        close_stack();
#ifdef BREAK_MARK_IS_A_COMMAND
        head == MARK;
#endif
    :: else
    fi
}

/* The wait of a turn. Where it would last for ever there must be nothing to do; then the loop is stopped from outside. */
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
    together {
        if
        :: pending != 0
        :: else -> take_stack()
        fi
    }
    atomic {
        do
        :: count < BUDGET && pending != 0 -> serve(); count++
        :: else -> break
        od
    }
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
        assert(wakes == batches && is_closed(head) && !queued(head));
        i = 1;
        do
        :: i <= COMMANDS -> assert(accepted[i] == served[i]); i++
        :: else -> break
        od
    }
}

/* weir.h: programs that send events to a Weir box and share memory with other programs.
 *
 * Compile and link:  cc program.c $(pkg-config --cflags --libs weir)
 *
 * Every function that returns an int returns 0 (or a number that its comment names) when it did what it is for, and a
 * negative errno value when it did nothing; weir_last_error() then says, in one line, which value, why, and what to do.
 * Every function may be called from any thread, and none waits unless its comment says so. Connections and their threads
 * do not survive fork(): connect in the child.
 */
#ifndef WEIR_H
#define WEIR_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#include <atomic>
#define WEIR_ATOMIC_U64 std::atomic<uint64_t>
extern "C" {
#else
#include <stdatomic.h>
#define WEIR_ATOMIC_U64 _Atomic uint64_t
#endif

/* ---- Shared buffers ------------------------------------------------------------------------------------------------
 *
 * A ring of bytes between one writer and one reader: threads, or processes that share its descriptor.
 *
 * read_pos and write_pos count bytes, freely and in 64 bits: position p lies at base_address[p % buffer_size], and
 * write_pos - read_pos bytes are in the ring. A program moves them in one of two ways, and both sides move them alike:
 *
 *  - with weir_buffer_write and weir_buffer_read. A message is its length in four bytes, little-endian, and then itself.
 *    The positions that count lie, each in cache lines of its own, in front of base_address; those in the struct are what
 *    this end has seen of them: write_pos is exact at the writer, read_pos at the reader, the other one is as it was when
 *    it was last needed. weir_buffer_look brings both up to date. Threads may share one struct; the two positions in it
 *    share a cache line, so a struct for each end (weir_buffer_open) is faster.
 *  - by itself, as the one owner of the struct: bytes at base_address, then the position with atomic_store. Nothing in
 *    the library moves the positions of a struct that is given to none of the calls below.
 */
#ifndef __cplusplus
typedef struct {
    uint32_t feature_id;
    size_t buffer_size;
    int numa_node;
    void* base_address;
    _Atomic uint64_t read_pos;
    _Atomic uint64_t write_pos;
} shared_buffer_t;
#else
typedef struct {
    uint32_t feature_id;
    size_t buffer_size;
    int numa_node;
    void* base_address;
    WEIR_ATOMIC_U64 read_pos;
    WEIR_ATOMIC_U64 write_pos;
} shared_buffer_t;
#endif

/* Creates a buffer of `size` bytes (64 to 2^40), zeroed, every page of it present: on 2 MiB pages where enough are free,
 * else on ordinary ones (weir_buffer_pages says which, and why); on `numa_node`, or on any with -1.
 * -EINVAL: a size or a node that there is not, or no struct. -ENOMEM and others: what the kernel said. */
int create_shared_buffer(shared_buffer_t* buffer, uint32_t feature_id, 
                        size_t size, int numa_node);

/* Gives the memory back. No other call on this buffer may be running. -EINVAL: it is none, or was destroyed. */
int destroy_shared_buffer(shared_buffer_t* buffer);

/* Writes one message and publishes it. -EAGAIN: no room now. -EMSGSIZE: it can never fit. */
int weir_buffer_write(shared_buffer_t* buffer, const void* message, size_t length);

/* Copies the oldest message into `into` and returns its length. -EAGAIN: there is none. -EMSGSIZE: it is longer than
 * `room` and stays where it is. -EBADMSG: the writer broke the rules. */
int64_t weir_buffer_read(shared_buffer_t* buffer, void* into, size_t room);

/* Brings read_pos and write_pos up to date. */
int weir_buffer_look(shared_buffer_t* buffer);

/* The descriptor of the memory, for another process (SCM_RIGHTS, inheritance). It is the library's: do not close it. */
int weir_buffer_file(const shared_buffer_t* buffer);

/* Joins, as another end, the buffer that `file` is the descriptor of; `file` stays the caller's. */
int weir_buffer_open(shared_buffer_t* buffer, int file);

/* Bytes of a page: 2097152 or 4096. */
int weir_buffer_page_size(const shared_buffer_t* buffer);

/* What kind of pages it is on and why, as one sentence; NULL for no buffer. Valid until the buffer is destroyed. */
const char* weir_buffer_pages(const shared_buffer_t* buffer);

/* The NUMA node of the page in which the buffer's byte `offset` lies, as the kernel says. */
int weir_buffer_node(const shared_buffer_t* buffer, size_t offset);

/* ---- Streaming events ---------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t event_id;
    uint64_t timestamp_ns;
    uint32_t event_type;
    uint32_t source_id;
    size_t payload_size;
    void* payload;
} stream_event_t;

/* total_size is the sum of all payload_size. 0 leaves the sum to the library; the bytes of this struct with its events,
 * without or with their payloads, are understood as well; anything else is refused, because something was counted wrong.
 */
typedef struct {
    uint32_t event_count;
    size_t total_size;
    stream_event_t events[];
} event_batch_t;

/* Takes a batch of 1 to 4096 events, all or none, into the window of what is sent and not acknowledged yet; the library
 * sends it from there, and again if the connection breaks. Payloads (65424 bytes at most, NULL only with 0) are copied.
 * The first call connects as weir_connect(NULL) would, and waits for that.
 * -EAGAIN: the window is full or the rate limit reached; send it again later. -EINVAL: the batch is wrong.
 * -ENOTCONN: there is no box, or it refused the stream for good. */
int stream_ingest_batch(event_batch_t* batch);

/* Per cent of the window in use, 0 to 100; at 100 nothing more fits. -ENOTCONN: there is no connection, now or ever. */
int stream_get_backpressure_status(void);

/* Lets so many events a second through from now on, to within 1 %; 0 is no limit. A batch passes whole and is paid for
 * afterwards. */
int stream_configure_rate_limit(uint32_t events_per_second);

/* Connects to the box at `place`, "unix:/PATH" or "HOST:PORT"; NULL: as WEIR_INGEST says, else
 * unix:/run/weir/ingest.sock. Waits up to 3 seconds. An earlier connection is ended, with what is not acknowledged on it.
 * WEIR_SOURCE gives the number under which the box counts this program's messages (set it to go on after a restart), and
 * WEIR_WINDOW_MIB the size of the window, else 32. */
int weir_connect(const char* place);

/* Waits up to `timeout_ms` until everything taken so far is acknowledged: worked on by all who take it, and on the disk
 * if its rule is durable. -ETIMEDOUT: something is not, and stays in the window. */
int weir_flush(int timeout_ms);

/* Ends the connection. What is not acknowledged is given up: weir_flush before. */
int weir_close(void);

/* What was done on the present connection to a box, in messages unless said otherwise. */
typedef struct {
    uint64_t accepted;     /* taken into the window; a message carries many events */
    uint64_t sent;         /* handed to the socket, those sent again included */
    uint64_t resent;       /* sent again after a broken connection */
    uint64_t acknowledged; /* worked on by all who take them */
    uint64_t refused;      /* calls that the window had no room for */
    uint64_t credit_waits; /* times that messages stood ready and the box gave no credit */
    uint64_t connections;  /* made, the first one included */
    uint64_t window_used;  /* bytes */
    uint64_t window_size;  /* bytes */
} weir_statistics_t;

int weir_statistics(weir_statistics_t* statistics);

/* ---- Both ---------------------------------------------------------------------------------------------------------- */

/* The library's version, as "0.1.0". */
const char* weir_version(void);

/* What the last call of this thread that failed had to say; "" if none has. Valid until this thread's next call. */
const char* weir_last_error(void);

#ifdef __cplusplus
}
#endif

#endif

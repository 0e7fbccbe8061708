/* A program that has no weir.h: the interface's declarations as the contract has them, letter for letter. */
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Expected interface design
typedef struct {
    uint32_t feature_id;
    size_t buffer_size;
    int numa_node;
    void* base_address;
    _Atomic uint64_t read_pos;
    _Atomic uint64_t write_pos;
} shared_buffer_t;

int create_shared_buffer(shared_buffer_t* buffer, uint32_t feature_id, 
                        size_t size, int numa_node);

// High-throughput event ingestion
typedef struct {
    uint64_t event_id;
    uint64_t timestamp_ns;
    uint32_t event_type;
    uint32_t source_id;
    size_t payload_size;
    void* payload;
} stream_event_t;

// Batch ingestion for high throughput
typedef struct {
    uint32_t event_count;
    size_t total_size;
    stream_event_t events[];
} event_batch_t;

// Ingestion API with backpressure handling
int stream_ingest_batch(event_batch_t* batch);
int stream_get_backpressure_status(void);
int stream_configure_rate_limit(uint32_t events_per_second);

#define CHECK(holds)                                                              \
    do {                                                                          \
        if (!(holds)) {                                                           \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #holds); \
            exit(1);                                                              \
        }                                                                         \
    } while (0)

/* A ring of a feature's size, moved by this program alone: it owns the struct. */
static void buffer(void) {
    shared_buffer_t ring;
    memset(&ring, 0xaa, sizeof ring);
    size_t size = (size_t)256 << 20;
    CHECK(create_shared_buffer(&ring, 7, size, 0) == 0);
    CHECK(ring.feature_id == 7 && ring.buffer_size == size && ring.numa_node == 0);
    CHECK(ring.base_address != NULL && (uintptr_t)ring.base_address % 64 == 0);
    CHECK(atomic_load(&ring.read_pos) == 0 && atomic_load(&ring.write_pos) == 0);
    unsigned char* bytes = ring.base_address;
    CHECK(bytes[0] == 0 && bytes[size - 1] == 0);
    for (size_t at = 0; at < size; at += 4096) bytes[at] = (unsigned char)(at >> 12);
    bytes[size - 1] = 0x5a;
    for (size_t at = 0; at < size; at += 4096) CHECK(bytes[at] == (unsigned char)(at >> 12));
    CHECK(bytes[size - 1] == 0x5a);
    for (uint64_t number = 0; number < 100000; number++) {
        uint64_t write = atomic_load(&ring.write_pos);
        memcpy(bytes + write % size, &number, sizeof number);
        atomic_store(&ring.write_pos, write + sizeof number);
        uint64_t read = atomic_load(&ring.read_pos), got;
        memcpy(&got, bytes + read % size, sizeof got);
        atomic_store(&ring.read_pos, read + sizeof got);
        CHECK(got == number && atomic_load(&ring.read_pos) == atomic_load(&ring.write_pos));
    }
    CHECK(create_shared_buffer(NULL, 7, size, 0) < 0);
    CHECK(create_shared_buffer(&ring, 7, 0, 0) < 0);
    CHECK(create_shared_buffer(&ring, 7, 4096, 1000) < 0);
}

/* Sends a batch of `count` events whose payloads follow from their numbers; waits while the window is full. */
static void send(event_batch_t* batch, uint64_t first, uint32_t count, unsigned char* payloads) {
    batch->event_count = count;
    batch->total_size = 0;
    for (uint32_t at = 0; at < count; at++) {
        stream_event_t* event = &batch->events[at];
        event->event_id = first + at;
        event->timestamp_ns = 1000 * (first + at);
        event->event_type = 1 + (first + at) % 5;
        event->source_id = 3;
        event->payload_size = (first + at) % 200;
        event->payload = payloads + (first + at) % 256;
        batch->total_size += event->payload_size;
    }
    int got;
    while ((got = stream_ingest_batch(batch)) == -11)
        ; /* EAGAIN */
    CHECK(got == 0);
}

int main(int count, char** words) {
    buffer();
    uint64_t goal = count > 1 ? strtoull(words[1], NULL, 10) : 0;
    unsigned char payloads[512];
    for (int at = 0; at < 512; at++) payloads[at] = (unsigned char)at;
    event_batch_t* batch = malloc(sizeof *batch + 4096 * sizeof(stream_event_t));
    CHECK(batch != NULL);
    CHECK(stream_get_backpressure_status() < 0); /* nothing is connected yet */
    CHECK(stream_configure_rate_limit(0) == 0);
    uint32_t sizes[] = {1, 2, 3, 100, 4095, 4096};
    uint64_t sent = 0;
    for (int turn = 0; sent < goal; turn++) {
        uint32_t size = sizes[turn % 6];
        if (size > goal - sent) size = (uint32_t)(goal - sent);
        send(batch, sent, size, payloads);
        sent += size;
    }
    batch->event_count = 4097;
    CHECK(stream_ingest_batch(batch) == -22); /* EINVAL */
    int status;
    while ((status = stream_get_backpressure_status()) != 0) CHECK(status <= 100);
    free(batch);
    return 0;
}

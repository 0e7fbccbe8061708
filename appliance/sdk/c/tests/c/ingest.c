/* Events to a box: wrong batches, back-pressure, the rate limit, several threads, and what the statistics say.
 * words: how many batches each of four threads sends. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "check.h"

#define EVENTS 50

static event_batch_t* batch(uint32_t events) {
    event_batch_t* made = calloc(1, sizeof *made + events * sizeof(stream_event_t));
    CHECK(made != NULL);
    made->event_count = events;
    return made;
}

static void wrong_batches(void) {
    static char bytes[65425];
    event_batch_t* two = batch(2);
    FAILS(stream_ingest_batch(NULL), EINVAL, "NULL");
    two->event_count = 0;
    FAILS(stream_ingest_batch(two), EINVAL, "0 events");
    two->event_count = 4097;
    FAILS(stream_ingest_batch(two), EINVAL, "4097 events");
    two->event_count = 2;
    two->events[1].payload_size = 5;
    FAILS(stream_ingest_batch(two), EINVAL, "event 1 has a payload of 5 bytes at NULL");
    two->events[1].payload = bytes;
    two->total_size = 6;
    FAILS(stream_ingest_batch(two), EINVAL, "total_size is 6");
    two->events[1].payload_size = two->total_size = sizeof bytes;
    FAILS(stream_ingest_batch(two), EINVAL, "65424 are the most");
    two->events[0].payload_size = SIZE_MAX;
    FAILS(stream_ingest_batch(two), EINVAL, "event 0");
    free(two);
}

struct sender {
    uint32_t number;
    long batches;
};

static void* send_all(void* argument) {
    struct sender* sender = argument;
    event_batch_t* mine = batch(EVENTS);
    uint64_t payloads[EVENTS];
    for (long turn = 0; turn < sender->batches; turn++) {
        for (int at = 0; at < EVENTS; at++) {
            payloads[at] = (uint64_t)(turn * EVENTS + at);
            mine->events[at] = (stream_event_t){
                .event_id = payloads[at], .event_type = 2, .source_id = sender->number,
                .payload_size = sizeof payloads[at], .payload = &payloads[at]};
        }
        mine->total_size = turn % 2 ? sizeof payloads : 0;
        int got;
        while ((got = stream_ingest_batch(mine)) == -EAGAIN) sched_yield();
        CHECK(got == 0);
    }
    free(mine);
    return NULL;
}

static void threads(long batches) {
    pthread_t threads[4];
    struct sender senders[4];
    for (uint32_t at = 0; at < 4; at++) {
        senders[at] = (struct sender){.number = at, .batches = batches};
        CHECK(pthread_create(&threads[at], NULL, send_all, &senders[at]) == 0);
    }
    for (int at = 0; at < 4; at++) CHECK(pthread_join(threads[at], NULL) == 0);
    CHECK(weir_flush(60000) == 0);
}

static double seconds(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Never more than the limit: what passed is counted against the time that passed by this program's own clock. */
static void limit(void) {
    event_batch_t* ten = batch(10);
    for (int at = 0; at < 10; at++) ten->events[at].source_id = 4;
    uint32_t limits[] = {2000, 20000, 5000};
    for (int step = 0; step < 3; step++) {
        double start = seconds();
        CHECK(stream_configure_rate_limit(limits[step]) == 0);
        long passed = 0, refused = 0;
        while (passed < limits[step] / 10) {
            int got = stream_ingest_batch(ten);
            if (got == 0) {
                passed += 10;
            } else {
                CHECK(got == -EAGAIN && strstr(weir_last_error(), "events a second") != NULL);
                refused++;
            }
        }
        double most = limits[step] * (seconds() - start) * 1.01 + 10;
        if (passed > most) {
            fprintf(stderr, "%ld events passed where %f may\n", passed, most);
            exit(1);
        }
        CHECK(refused > 0);
    }
    CHECK(stream_configure_rate_limit(0) == 0);
    for (int turn = 0; turn < 100; turn++) CHECK(stream_ingest_batch(ten) == 0);
    CHECK(weir_flush(60000) == 0);
    free(ten);
}

int main(int count, char** words) {
    long batches = count > 1 ? strtol(words[1], NULL, 10) : 100;
    FAILS(weir_connect("nowhere"), EINVAL, "`nowhere`");
    FAILS(weir_connect("unix:/nobody/here.sock"), ENOTCONN, "/nobody/here.sock");
    CHECK(stream_get_backpressure_status() == -ENOTCONN);
    CHECK(weir_flush(0) == 0);
    FAILS(weir_flush(-1), EINVAL, "-1 ms");
    wrong_batches();
    threads(batches);
    CHECK(stream_get_backpressure_status() == 0);
    weir_statistics_t statistics;
    CHECK(weir_statistics(&statistics) == 0);
    CHECK(statistics.accepted == 4 * (uint64_t)batches && statistics.acknowledged == statistics.accepted);
    CHECK(statistics.sent - statistics.resent == statistics.accepted && statistics.window_used == 0);
    FAILS(weir_statistics(NULL), EINVAL, "NULL");
    if (count > 2) limit();
    CHECK(weir_close() == 0 && weir_close() == 0);
    CHECK(stream_get_backpressure_status() == -ENOTCONN);
    return 0;
}

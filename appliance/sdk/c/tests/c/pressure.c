/* A box that does not read: the window fills, says so, refuses whole batches, and takes again. Speaks with the test over
 * standard input and output, one line for each step. */
#include <errno.h>

#include "check.h"

static void step(const char* name, long number) {
    printf("%s %ld\n", name, number);
    fflush(stdout);
    CHECK(getchar() == '\n');
}

int main(void) {
    static char payload[1000];
    event_batch_t* batch = calloc(1, sizeof *batch + 100 * sizeof(stream_event_t));
    CHECK(batch != NULL);
    batch->event_count = 100;
    for (int at = 0; at < 100; at++) {
        batch->events[at] = (stream_event_t){.event_type = 1, .source_id = 1, .payload_size = 1000, .payload = payload};
    }
    CHECK(weir_connect(NULL) == 0);
    CHECK(stream_get_backpressure_status() == 0);
    step("connected", 0);
    long taken = 0;
    int last = 0;
    for (;; taken++) {
        for (int at = 0; at < 100; at++) batch->events[at].event_id = (uint64_t)(taken * 100 + at);
        int got = stream_ingest_batch(batch);
        if (got == -EAGAIN) break;
        CHECK(got == 0);
        int status = stream_get_backpressure_status();
        CHECK(status >= last && status <= 100);
        last = status;
    }
    CHECK(strstr(weir_last_error(), "window") != NULL);
    CHECK(last >= 90);
    FAILS(weir_flush(1), ETIMEDOUT, "not acknowledged");
    weir_statistics_t before, after;
    CHECK(weir_statistics(&before) == 0);
    CHECK(stream_ingest_batch(batch) == -EAGAIN);
    CHECK(weir_statistics(&after) == 0);
    CHECK(after.accepted == before.accepted && after.refused == before.refused + 1);
    step("full", taken);
    CHECK(weir_flush(60000) == 0);
    CHECK(stream_get_backpressure_status() == 0);
    CHECK(stream_ingest_batch(batch) == 0);
    CHECK(weir_flush(60000) == 0);
    free(batch);
    return 0;
}

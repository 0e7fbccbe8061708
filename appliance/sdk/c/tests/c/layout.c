/* Where the fields lie; the same numbers stand in src/layout.rs. */
#include "weir.h"

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)

AT(shared_buffer_t, feature_id, 0);
AT(shared_buffer_t, buffer_size, 8);
AT(shared_buffer_t, numa_node, 16);
AT(shared_buffer_t, base_address, 24);
AT(shared_buffer_t, read_pos, 32);
AT(shared_buffer_t, write_pos, 40);
_Static_assert(sizeof(shared_buffer_t) == 48, "shared_buffer_t");
AT(stream_event_t, event_id, 0);
AT(stream_event_t, timestamp_ns, 8);
AT(stream_event_t, event_type, 16);
AT(stream_event_t, source_id, 20);
AT(stream_event_t, payload_size, 24);
AT(stream_event_t, payload, 32);
_Static_assert(sizeof(stream_event_t) == 40, "stream_event_t");
AT(event_batch_t, event_count, 0);
AT(event_batch_t, total_size, 8);
AT(event_batch_t, events, 16);
AT(weir_statistics_t, window_size, 64);
_Static_assert(sizeof(weir_statistics_t) == 72, "weir_statistics_t");

int main(void) { return 0; }

// weir.h from C++, where an atomic is another type of the same layout.
#include <cstdio>
#include <cstring>

#include "weir.h"

static_assert(sizeof(shared_buffer_t) == 48 && sizeof(stream_event_t) == 40, "the layout is that of C");
static_assert(offsetof(event_batch_t, events) == 16, "the layout is that of C");

int main() {
    shared_buffer_t buffer;
    if (create_shared_buffer(&buffer, 1, 1 << 16, -1) != 0) return 1;
    if (weir_buffer_write(&buffer, "hi", 2) != 0 || buffer.write_pos.load() != 6) return 2;
    char into[4];
    if (weir_buffer_read(&buffer, into, sizeof into) != 2 || std::memcmp(into, "hi", 2) != 0) return 3;
    if (destroy_shared_buffer(&buffer) != 0 || buffer.base_address != nullptr) return 4;
    std::puts(weir_version());
    return 0;
}

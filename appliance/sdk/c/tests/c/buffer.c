/* Shared buffers between threads, between processes, and in wrong hands. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

/* Message `number`: its length and bytes follow from it. */
static size_t message(uint64_t number, unsigned char* into) {
    size_t length = 8 + (size_t)(number * 2654435761u >> 5) % 300;
    memset(into, (int)(number & 0xff), length);
    memcpy(into, &number, sizeof number);
    return length;
}

struct end {
    shared_buffer_t* buffer;
    uint64_t messages;
};

static void* write_all(void* argument) {
    struct end* end = argument;
    unsigned char bytes[512];
    for (uint64_t number = 0; number < end->messages; number++) {
        size_t length = message(number, bytes);
        int got;
        while ((got = weir_buffer_write(end->buffer, bytes, length)) == -EAGAIN) sched_yield();
        CHECK(got == 0);
    }
    return NULL;
}

static void* read_all(void* argument) {
    struct end* end = argument;
    unsigned char bytes[512], expected[512];
    for (uint64_t number = 0; number < end->messages; number++) {
        int64_t got;
        while ((got = weir_buffer_read(end->buffer, bytes, sizeof bytes)) == -EAGAIN) sched_yield();
        CHECK(got == (int64_t)message(number, expected));
        CHECK(memcmp(bytes, expected, (size_t)got) == 0);
    }
    CHECK(weir_buffer_read(end->buffer, bytes, sizeof bytes) == -EAGAIN);
    return NULL;
}

/* One struct for both threads, then one for each. */
static void threads(uint64_t messages) {
    for (int own = 0; own < 2; own++) {
        shared_buffer_t one, two;
        CHECK(create_shared_buffer(&one, 1, 5000, -1) == 0); /* no power of two */
        if (own) CHECK(weir_buffer_open(&two, weir_buffer_file(&one)) == 0);
        struct end writer = {&one, messages}, reader = {own ? &two : &one, messages};
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, write_all, &writer) == 0);
        read_all(&reader);
        CHECK(pthread_join(thread, NULL) == 0);
        CHECK(weir_buffer_look(&one) == 0);
        CHECK(atomic_load(&one.read_pos) == atomic_load(&one.write_pos) && atomic_load(&one.write_pos) > 0);
        if (own) {
            CHECK(two.buffer_size == one.buffer_size && two.feature_id == 1 && two.numa_node == -1);
            CHECK(atomic_load(&two.read_pos) == atomic_load(&one.read_pos));
            CHECK(destroy_shared_buffer(&two) == 0);
        }
        CHECK(destroy_shared_buffer(&one) == 0);
    }
}

static void processes(uint64_t messages) {
    shared_buffer_t buffer;
    CHECK(create_shared_buffer(&buffer, 2, 1 << 16, -1) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        shared_buffer_t end;
        CHECK(weir_buffer_open(&end, weir_buffer_file(&buffer)) == 0);
        struct end writer = {&end, messages};
        write_all(&writer);
        _exit(0);
    }
    struct end reader = {&buffer, messages};
    read_all(&reader);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(destroy_shared_buffer(&buffer) == 0);
}

/* As many as there are features, of the size a feature has, and what is known of their pages. */
static void large(void) {
    shared_buffer_t buffers[4];
    size_t size = (size_t)256 << 20;
    for (int at = 0; at < 4; at++) {
        CHECK(create_shared_buffer(&buffers[at], (uint32_t)at, size, 0) == 0);
        int page = weir_buffer_page_size(&buffers[at]);
        const char* pages = weir_buffer_pages(&buffers[at]);
        CHECK(page == 4096 || page == 2 << 20);
        CHECK(pages != NULL && strncmp(pages, page == 4096 ? "4 KiB pages (" : "2 MiB hugepages", 13) == 0);
        if (page == 4096) CHECK(strstr(pages, "reserve 129 hugepages") != NULL); /* no silent second best */
        for (size_t offset = 0; offset < size; offset += size / 8) {
            CHECK(weir_buffer_node(&buffers[at], offset) == 0);
        }
        CHECK(weir_buffer_node(&buffers[at], size - 1) == 0);
        CHECK(weir_buffer_write(&buffers[at], &at, sizeof at) == 0);
    }
    for (int at = 0; at < 4; at++) {
        int got = -1;
        CHECK(weir_buffer_read(&buffers[at], &got, sizeof got) == sizeof got && got == at);
        CHECK(destroy_shared_buffer(&buffers[at]) == 0);
    }
}

static void wrong_hands(void) {
    shared_buffer_t buffer, other = {0};
    char bytes[100] = {0};
    FAILS(create_shared_buffer(NULL, 1, 4096, -1), EINVAL, "NULL");
    FAILS(create_shared_buffer(&buffer, 1, 63, -1), EINVAL, "63 bytes");
    FAILS(create_shared_buffer(&buffer, 1, SIZE_MAX, -1), EINVAL, "outside");
    FAILS(create_shared_buffer(&buffer, 1, 4096, -2), EINVAL, "-2 is no NUMA node");
    FAILS(create_shared_buffer(&buffer, 1, 4096, 63), EINVAL, "NUMA node 63");
    FAILS(create_shared_buffer(&buffer, 1, 4096, 4000), EINVAL, "NUMA node 4000");
    CHECK(create_shared_buffer(&buffer, 1, 64, -1) == 0);
    FAILS(weir_buffer_write(&buffer, bytes, 61), EMSGSIZE, "61 bytes");
    FAILS(weir_buffer_write(&buffer, NULL, 1), EINVAL, "NULL");
    FAILS(weir_buffer_write(&buffer, bytes, SIZE_MAX), EINVAL, "length");
    CHECK(weir_buffer_write(&buffer, NULL, 0) == 0);
    CHECK(weir_buffer_write(&buffer, bytes, 56) == 0);
    FAILS(weir_buffer_write(&buffer, bytes, 1), EAGAIN, "0 are free");
    FAILS(weir_buffer_read(&buffer, NULL, 1), EINVAL, "NULL");
    CHECK(weir_buffer_read(&buffer, NULL, 0) == 0);
    FAILS(weir_buffer_read(&buffer, bytes, 55), EMSGSIZE, "56 bytes");
    CHECK(weir_buffer_read(&buffer, bytes, 56) == 56);
    CHECK(weir_buffer_read(&buffer, bytes, 56) == -EAGAIN);
    FAILS(weir_buffer_write(NULL, bytes, 1), EINVAL, "NULL");
    FAILS(weir_buffer_read(&other, bytes, 1), EINVAL, "no shared buffer");
    FAILS(weir_buffer_look(&other), EINVAL, "no shared buffer");
    FAILS(weir_buffer_node(&buffer, 1 << 20), EINVAL, "not inside");
    CHECK(weir_buffer_pages(&other) == NULL);
    FAILS(weir_buffer_open(&other, -1), EINVAL, "-1");
    FAILS(weir_buffer_open(&other, 4000), EINVAL, "4000");
    int null = open("/dev/null", O_RDWR);
    CHECK(null >= 0 && weir_buffer_open(&other, null) < 0);
    close(null);
    shared_buffer_t copy = {.buffer_size = 65, .base_address = buffer.base_address};
    FAILS(weir_buffer_write(&copy, bytes, 1), EINVAL, "of this size");
    /* A writer that breaks the rules: a length that leads out of what is there. */
    CHECK(weir_buffer_write(&buffer, bytes, 8) == 0);
    uint64_t at = atomic_load(&buffer.read_pos);
    memset((char*)buffer.base_address + at % 64, 0xff, at % 64 > 60 ? 64 - at % 64 : 4);
    FAILS(weir_buffer_read(&buffer, bytes, 100), EBADMSG, "broken");
    CHECK(destroy_shared_buffer(&buffer) == 0 && buffer.base_address == NULL && buffer.buffer_size == 0);
    FAILS(destroy_shared_buffer(&buffer), EINVAL, "no shared buffer");
    FAILS(destroy_shared_buffer(NULL), EINVAL, "NULL");
}

int main(int count, char** words) {
    uint64_t messages = count > 1 ? strtoull(words[1], NULL, 10) : 1000;
    CHECK(strcmp(weir_last_error(), "") == 0);
    wrong_hands();
    threads(messages);
    processes(messages);
    large();
    return 0;
}

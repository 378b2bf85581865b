/* Measures how much of its caller's stack a call uses: it runs on a thread whose stack was filled with a pattern before. */
#ifndef STACK_H
#define STACK_H

#include <pthread.h>
#include <sys/mman.h>

enum { STACK_BYTES = 32 << 10, GUARD_BYTES = 64 << 10, PAINT = 0x5c };

static void *run_call(void *call) {
    (*(void (**)(void))call)();
    return NULL;
}

static void nothing(void) {}

/* Bytes of the stack whose pattern has changed after `call` ran on it, including what the system uses for the thread. */
static size_t used(void (*call)(void)) {
    unsigned char *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED && mprotect(memory, GUARD_BYTES, PROT_NONE) == 0);
    unsigned char *stack = memory + GUARD_BYTES;
    memset(stack, PAINT, STACK_BYTES);
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstack(&attributes, stack, STACK_BYTES) == 0);
    CHECK(pthread_create(&thread, &attributes, run_call, &call) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    pthread_attr_destroy(&attributes);
    size_t clean = 0;
    while (clean < STACK_BYTES && stack[clean] == PAINT) clean++;
    munmap(memory, GUARD_BYTES + STACK_BYTES);
    return STACK_BYTES - clean;
}

static void measure(const char *name, void (*call)(void), size_t max_bytes) {
    paint();
    size_t bytes = used(call) - used(nothing);
    printf("%6zu %s\n", bytes, name);
    fflush(stdout);
    CHECK(bytes <= max_bytes);
}

#endif

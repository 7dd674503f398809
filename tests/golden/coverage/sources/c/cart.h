#pragma once

/* Inlined into each file that includes it. */
static inline int more(int count, int by) {
    if (by < 0)
        return count;
    return count + by;
}

int add(int count, int by);

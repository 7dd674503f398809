#include "cart.h"

int add(int count, int by) {
    if (by == 0)
        return count;
    return more(count, by);
}

int never(void) {
    return 1;
}

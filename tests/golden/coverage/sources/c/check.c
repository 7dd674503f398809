#include "cart.h"

int main(void) {
    if (more(1, -1) != 1)
        return 1;
    return add(1, 2) == 3 ? 0 : 1;
}

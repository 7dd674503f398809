package shop;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Disabled;
import org.junit.jupiter.api.Nested;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CartTest {
    static int tries;

    @Test
    void adds() {
        assertEquals(2, 1 + 1);
    }

    @Test
    void flaky() {
        assertEquals(3, ++tries, "needs three tries");
    }

    @Test
    void alwaysFails() {
        assertEquals(42, 41, "the total is off");
    }

    @Test
    void breaks() {
        throw new IllegalStateException("<no> \"cart\" & co");
    }

    @Test
    @Disabled("later")
    void disabled() {}

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void quantity(int quantity) {
        assertEquals(1, quantity);
    }

    @Nested
    class Coupon {
        @Test
        void percent() {}
    }
}

package shop;

import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class SetupTest {
    @BeforeAll
    static void setup() {
        throw new IllegalStateException("the database is away");
    }

    @Test
    void never() {}
}

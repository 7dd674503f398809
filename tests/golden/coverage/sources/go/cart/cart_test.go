package cart

import "testing"

func TestAdd(t *testing.T) {
	var c Cart
	if err := c.Add("tea", 2); err != nil {
		t.Fatal(err)
	}
}

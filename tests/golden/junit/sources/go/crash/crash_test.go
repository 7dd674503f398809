package crash

import "testing"

func TestBefore(t *testing.T) {}

func TestPanics(t *testing.T) { panic("the cart is gone") }

func TestAfter(t *testing.T) {}

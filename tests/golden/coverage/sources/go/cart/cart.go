// Package cart is a cart, half of it tested.
package cart

import "errors"

// ErrCount is for counts below one.
var ErrCount = errors.New("count from 1")

// Cart has lines.
type Cart struct{ lines map[string]int }

// Add adds.
func (c *Cart) Add(item string, count int) error {
	if count < 1 {
		return ErrCount
	}
	if c.lines == nil {
		c.lines = map[string]int{}
	}
	c.lines[item] += count
	return nil
}

// Empty empties.
func (c *Cart) Empty() { c.lines = nil }

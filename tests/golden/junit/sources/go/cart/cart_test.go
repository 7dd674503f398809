package cart

import "testing"

func TestAdds(t *testing.T) {}

func TestTotals(t *testing.T) {
	t.Error("the total is off: <41>")
	t.Error("and so is the tax")
}

func TestSkipped(t *testing.T) { t.Skip("later") }

func TestTable(t *testing.T) {
	for _, name := range []string{"one", "two words", "one"} {
		t.Run(name, func(t *testing.T) {
			if name == "two words" {
				t.Fatal("no")
			}
		})
	}
}

"""A cart, half of it tested."""


class Cart:
    def __init__(self):
        self.lines = {}

    def add(self, item, count=1):
        if count < 1:
            raise ValueError(
                "count from 1"
            )
        self.lines[item] = self.lines.get(item, 0) + count

    def total(self, prices):
        return sum(
            prices[item] * count
            for item, count in self.lines.items()
        )

    def discount(self, percent):  # pragma: no cover
        return percent / 100

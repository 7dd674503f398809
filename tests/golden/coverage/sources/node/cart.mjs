export class Cart {
  #lines = new Map();

  add(item, count = 1) {
    if (count < 1) {
      throw new RangeError('count from 1');
    }
    this.#lines.set(item, (this.#lines.get(item) ?? 0) + count);
  }

  total(prices) {
    return [...this.#lines].reduce((sum, [item, count]) => sum + prices[item] * count, 0);
  }

  empty() {
    this.#lines.clear();
  }
}

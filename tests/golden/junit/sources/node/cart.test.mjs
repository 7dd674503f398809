import assert from 'node:assert';
import { before, describe, it, test } from 'node:test';

test('adds at the top', () => assert.strictEqual(1 + 1, 2));

describe('cart', () => {
  it('totals', () => assert.strictEqual(40 + 1, 42));
  it('is skipped', { skip: 'later' }, () => {});
  it('is to do', { todo: true }, () => assert.fail('not yet'));
  it('throws <a> & "b"', () => {
    throw new TypeError('no cart');
  });
  describe('coupon', () => {
    it('percent', () => {});
    it('percent', () => assert.fail('a second test of this name'));
  });
});

describe('broken setup', () => {
  before(() => {
    throw new Error('the database is away');
  });
  it('never runs', () => {});
});

import { Cart } from './cart.mjs';

const cart = new Cart();
cart.add('tea', 2);
if (cart.total({ tea: 3 }) !== 6) process.exit(1);

from shop.cart import Cart

cart = Cart()
cart.add("tea", 2)
assert cart.total({"tea": 3}) == 6

"""A simulated company: two shops and an ERP, their people, goods, orders and days.

`world` is the clock and what happens next; `shop` lets it live; `shop_customers`, `shop_orders` and `erp_books` are
who does what; `people` and `goods` are invented; `tables` are the databases' layouts; `flash_sale` is the drill's
rush.
"""

"""A simulated company: two shops and an ERP, their people, goods, orders and days.

`world` is the clock and the list of events; `shop` runs the company; `shop_customers`, `shop_orders` and `erp_books`
are actions; `people` and `goods` are invented; `tables` are the databases' layouts; `flash_sale` is the drill's sale.
"""

-- people change their addresses: away from a profile, into another one, and to what is none
update wp_wc_customers set email = 'nowy1@example.com', date_modified = '2025-01-01 00:00:01' where id = 1;
update wp_wc_customers set email = (select email from (select email from wp_wc_customers where id = 3) as other), date_modified = '2025-01-01 00:00:02' where id = 2;
update wp_wc_customers set email = 'nie adres', billing_phone = null where id = 4;
update wp_wc_customers set email = upper(email), email_confirmed = 1 - email_confirmed where id between 10 and 20;
-- orders change hands: to another customer, to a customer from a guest, to a guest, to a customer who is not there
update wp_wc_orders set customer_id = 5 where id between 1 and 4;
update wp_wc_orders set customer_id = 6 where customer_id = 0 and id < 60;
update wp_wc_orders set customer_id = 0, billing_email = 'klient9@example.com' where id between 70 and 75;
update wp_wc_orders set customer_id = 9999 where id = 76;
-- guests
insert into wp_wc_orders values
  (1001, 'wc-processing', 'EUR', 'shop_order', 'de', 19.99000000, 0, 'Gosc@Example.com ', null, 'Ewa', 'Gość', 'DE', '2026-03-29 01:30:00'),
  (1002, 'wc-completed', null, 'shop_order', null, null, 0, 'gosc@example.com', '601 999 999', 'Ewa', null, null, null),
  (1003, 'wc-completed', 'PLN', 'shop_order_refund', null, -5.00000000, 0, null, null, null, null, null, null),
  (1004, 'wc-completed', 'PLN', 'shop_order', null, 5.00010000, 0, null, null, null, null, null, '2026-01-01 23:59:59');
insert into wp_wc_order_product_lookup values (50000, 1001, 101, 3, null, 'kawa', 19.99), (50001, 1001, 102, 1, 1, 'kubki', 0.1);
-- many rows in one transaction, one of them three times; and one that never happened
begin;
insert into wp_wc_customers values (500, 'tymczasowy@example.com', 0, null, 'A', 'B', null, null, null, null, '2025-02-02 00:00:00');
insert into wp_wc_orders values (1100, 'wc-pending', 'PLN', 'shop_order', null, 100, 500, null, null, null, null, null, '2026-02-02 12:00:00');
update wp_wc_orders set total_amount = 120, status = 'wc-completed' where id = 1100;
update wp_wc_customers set email = 'klient30@example.com' where id = 500;
update wp_wc_orders set total_amount = 130.5 where id = 1100;
insert into wp_wc_order_product_lookup values (51000, 1100, 103, 7, 2, 'herbata', 130.5);
commit;
begin;
update wp_wc_orders set total_amount = 1000000;
delete from wp_wc_customers;
rollback;
-- deletes: of a customer whose orders stay, of an order whose lines stay, of lines; and back again
delete from wp_wc_customers where id in (21, 22, 23);
delete from wp_wc_orders where id between 80 and 85;
delete from wp_wc_order_product_lookup where order_id between 90 and 95;
insert into wp_wc_customers values (22, 'klient22@example.com', 1, null, 'Wraca', null, null, null, null, null, '2025-03-03 00:00:00');
update wp_wc_orders set status = 'trash' where id between 100 and 104;
update wp_wc_orders set status = 'wc-completed' where status = 'trash' and id > 104;
-- new keys
update wp_wc_customers set id = 600 where id = 24;
update wp_wc_orders set customer_id = 600 where customer_id = 24;
update wp_wc_orders set id = 2000 where id = 110;
update wp_wc_order_product_lookup set order_id = 2000 where order_id = 110;
update wp_wc_order_product_lookup set order_item_id = order_item_id + 100000 where order_id = 111;
update wp_consents set customer_id = 700 where customer_id = 25;
-- what only a few rows of a table say
update wp_usermeta set meta_key = 'sms_opt_in', meta_value = 'no' where umeta_id between 1 and 10;
update wp_usermeta set meta_key = 'nickname' where umeta_id between 11 and 20;
replace into wp_consents values (1, 'newsletter', 0, 'sms', '2025-04-04 00:00:00.5'), (2, 'newsletter', 1, null, null);

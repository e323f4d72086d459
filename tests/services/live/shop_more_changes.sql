truncate table wp_consents;
insert into wp_consents values (30, 'newsletter', 1, 'www', '2025-05-05 00:00:00'), (500, 'newsletter', 0, 'www', '2025-05-06 00:00:00');
alter table wp_wc_orders add column note text null, modify total_amount decimal(20,4) null;
update wp_wc_orders set note = 'żółw', total_amount = total_amount + 0.0001 where id between 120 and 140;
update wp_wc_orders set id = 110 where id = 2000;
delete from wp_wc_customers where id = 600;
update wp_wc_customers set email = 'klient3@example.com', date_modified = '2025-06-01 00:00:00' where id between 31 and 34;
update wp_wc_customers set email = concat('rozdzielony', id, '@example.com') where id in (32, 33);

create table wp_wc_customers (
  id bigint unsigned primary key, email varchar(320) null, email_confirmed tinyint(1) not null default 0,
  billing_phone varchar(100) null, first_name varchar(100) null, last_name varchar(100) null, birthday date null,
  locale varchar(20) null, country char(2) null, date_registered_gmt datetime null, date_modified timestamp(6) null
);
create table wp_wc_orders (
  id bigint unsigned primary key, status varchar(20) not null, currency varchar(10) null, type varchar(20) not null,
  lang char(2) null, total_amount decimal(26,8) null, customer_id bigint unsigned not null default 0,
  billing_email varchar(320) null, billing_phone varchar(100) null, billing_first_name varchar(100) null,
  billing_last_name varchar(100) null, billing_country char(2) null, date_created_gmt datetime null
);
create table wp_wc_order_product_lookup (
  order_item_id bigint unsigned, order_id bigint unsigned, product_id bigint unsigned not null, product_qty int not null,
  refunded_qty smallint null, category enum('herbata','kawa','kubki','') null, product_gross_revenue double not null,
  primary key (order_item_id, order_id)
);
create table wp_consents (
  customer_id bigint unsigned, purpose varchar(40), granted tinyint(1) null, channel varchar(20) null,
  changed_at timestamp(3) null, primary key (customer_id, purpose)
);
create table wp_usermeta (umeta_id bigint unsigned primary key, user_id bigint unsigned, meta_key varchar(255), meta_value longtext);
create table wp_end (id int primary key);

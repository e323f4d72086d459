-- The shop: Magento-like tables on MariaDB, with a few invented customers. src/nurt/presets/demo.yaml maps them.

CREATE TABLE customer_entity (
  entity_id      INT UNSIGNED      NOT NULL AUTO_INCREMENT PRIMARY KEY,
  website_id     SMALLINT UNSIGNED NULL,
  email          VARCHAR(255)      NULL,
  group_id       SMALLINT UNSIGNED NOT NULL DEFAULT 1,
  store_id       SMALLINT UNSIGNED NULL,
  created_at     TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at     TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  is_active      SMALLINT UNSIGNED NOT NULL DEFAULT 1,
  firstname      VARCHAR(255)      NULL,
  lastname       VARCHAR(255)      NULL,
  dob            DATE              NULL,
  taxvat         VARCHAR(50)       NULL,
  gender         SMALLINT UNSIGNED NULL,
  confirmation   VARCHAR(64)       NULL,
  telephone      VARCHAR(32)       NULL,
  phone_verified TINYINT           NULL,
  loyalty_card   VARCHAR(32)       NULL,
  language       VARCHAR(5)        NULL,
  country_id     CHAR(2)           NULL,
  segments       SET('vip', 'b2b', 'blocked') NULL
);

CREATE TABLE customer_address_entity (
  entity_id  INT UNSIGNED      NOT NULL AUTO_INCREMENT PRIMARY KEY,
  parent_id  INT UNSIGNED      NULL,
  created_at TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  is_active  SMALLINT UNSIGNED NOT NULL DEFAULT 1,
  kind       VARCHAR(16)       NULL,
  firstname  VARCHAR(255)      NULL,
  lastname   VARCHAR(255)      NULL,
  company    VARCHAR(255)      NULL,
  street     TEXT              NULL,
  city       VARCHAR(255)      NULL,
  region     VARCHAR(255)      NULL,
  postcode   VARCHAR(255)      NULL,
  country_id CHAR(2)           NULL,
  telephone  VARCHAR(32)       NULL,
  vat_id     VARCHAR(50)       NULL
);

CREATE TABLE sales_order (
  entity_id           INT UNSIGNED      NOT NULL AUTO_INCREMENT PRIMARY KEY,
  increment_id        VARCHAR(50)       NULL,
  state               VARCHAR(32)       NULL,
  status              VARCHAR(32)       NULL,
  store_id            SMALLINT UNSIGNED NULL,
  customer_id         INT UNSIGNED      NULL,
  customer_is_guest   SMALLINT UNSIGNED NULL,
  customer_email      VARCHAR(255)      NULL,
  customer_telephone  VARCHAR(32)       NULL,
  customer_firstname  VARCHAR(255)      NULL,
  customer_lastname   VARCHAR(255)      NULL,
  customer_dob        DATETIME          NULL,
  country_id          CHAR(2)           NULL,
  order_currency_code CHAR(3)           NULL,
  base_currency_code  CHAR(3)           NULL,
  grand_total         DECIMAL(20, 4)    NULL,
  total_refunded      DECIMAL(20, 4)    NULL,
  total_item_count    SMALLINT UNSIGNED NOT NULL DEFAULT 0,
  coupon_code         VARCHAR(255)      NULL,
  created_at          TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at          TIMESTAMP         NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP
);

CREATE TABLE sales_order_item (
  item_id            INT UNSIGNED   NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_id           INT UNSIGNED   NOT NULL DEFAULT 0,
  created_at         TIMESTAMP      NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at         TIMESTAMP      NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  product_id         INT UNSIGNED   NULL,
  product_type       VARCHAR(255)   NULL,
  sku                VARCHAR(255)   NULL,
  name               VARCHAR(255)   NULL,
  category           VARCHAR(255)   NULL,
  qty_ordered        DECIMAL(12, 4) NULL,
  qty_canceled       DECIMAL(12, 4) NULL,
  qty_refunded       DECIMAL(12, 4) NULL,
  price              DECIMAL(20, 4) NULL,
  row_total_incl_tax DECIMAL(20, 4) NULL
);

CREATE TABLE sales_order_payment (
  entity_id       INT UNSIGNED   NOT NULL AUTO_INCREMENT PRIMARY KEY,
  parent_id       INT UNSIGNED   NOT NULL,
  method          VARCHAR(128)   NULL,
  amount_ordered  DECIMAL(20, 4) NULL,
  amount_paid     DECIMAL(20, 4) NULL,
  amount_refunded DECIMAL(20, 4) NULL,
  payment_status  VARCHAR(16)    NULL,
  paid_at         DATETIME       NULL,
  last_trans_id   VARCHAR(255)   NULL
);

CREATE TABLE sales_shipment (
  entity_id       INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_id        INT UNSIGNED NOT NULL,
  increment_id    VARCHAR(50)  NULL,
  carrier_code    VARCHAR(32)  NULL,
  track_number    VARCHAR(64)  NULL,
  shipment_status INT          NULL,
  created_at      TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP,
  updated_at      TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  delivered_at    DATETIME(6)  NULL
);

CREATE TABLE newsletter_subscriber (
  subscriber_id           INT UNSIGNED      NOT NULL AUTO_INCREMENT PRIMARY KEY,
  store_id                SMALLINT UNSIGNED NULL,
  change_status_at        TIMESTAMP         NULL,
  customer_id             INT UNSIGNED      NOT NULL DEFAULT 0,
  subscriber_email        VARCHAR(150)      NULL,
  subscriber_status       INT               NOT NULL DEFAULT 0,
  subscriber_confirm_code VARCHAR(32)       NULL
);

CREATE TABLE customer_visit (
  visit_id    BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
  customer_id INT UNSIGNED NULL,
  kind        VARCHAR(32)  NULL,
  channel     ENUM('web', 'app', 'store', 'phone') NULL,
  visited_at  TIMESTAMP    NOT NULL DEFAULT CURRENT_TIMESTAMP
);

-- Debezium's own: `INSERT INTO dbz_signal VALUES ('1', 'execute-snapshot', '{"data-collections": ["magento.sales_order"]}')`
CREATE TABLE dbz_signal (
  id   VARCHAR(42)   NOT NULL PRIMARY KEY,
  type VARCHAR(32)   NOT NULL,
  data VARCHAR(2048) NULL
);

INSERT INTO customer_entity
  (entity_id, website_id, email, firstname, lastname, dob, taxvat, gender, telephone, phone_verified, loyalty_card, language, country_id)
VALUES
  (1, 1, 'Anna.Kowalska@example.pl', 'Anna', 'Kowalska', '1984-03-12', NULL, 2, '600 700 801', 1, 'NK 1001', 'pl', 'PL'),
  (2, 1, 'jan.nowak@example.com', 'Jan', 'Nowak', NULL, '587-511-13-11', 1, '+48 600 700 802', 0, NULL, 'pl', 'PL'),
  (3, 1, 'anna.k@example.com', 'Ania', 'Kowalska', NULL, NULL, 2, '+48600700801', 0, NULL, 'pl', 'PL'),
  (4, 1, 'olena@example.org', 'Олена', 'Шевченко', NULL, NULL, 2, NULL, NULL, 'NK1004', 'uk', 'PL');

INSERT INTO customer_address_entity (entity_id, parent_id, kind, firstname, lastname, street, city, postcode, country_id, telephone)
VALUES
  (1, 1, 'shipping', 'Anna', 'Kowalska', 'Polna 41\nm. 7', 'Kraków', '30-289', 'PL', '600700801'),
  (2, 2, 'billing', 'Jan', 'Nowak', 'Leśna 3', 'Gdańsk', '80-001', 'PL', NULL);

INSERT INTO sales_order
  (entity_id, increment_id, state, status, store_id, customer_id, customer_is_guest, customer_email, customer_telephone,
   customer_firstname, customer_lastname, country_id, order_currency_code, base_currency_code, grand_total, total_item_count)
VALUES
  (1, '100000001', 'complete', 'complete', 1, 1, 0, 'anna.kowalska@example.pl', NULL, 'Anna', 'Kowalska', 'PL', 'PLN', 'PLN', 189.9000, 2),
  (2, '100000002', 'processing', 'processing', 1, 2, 0, 'jan.nowak@example.com', NULL, 'Jan', 'Nowak', 'PL', 'PLN', 'PLN', 1250.0000, 1),
  (3, '100000003', 'complete', 'complete', 1, NULL, 1, 'anna.kowalska@example.pl', '600-700-801', 'Anna', 'K.', 'PL', 'PLN', 'PLN', 59.0000, 1);

INSERT INTO sales_order_item (item_id, order_id, product_id, product_type, sku, name, category, qty_ordered, price, row_total_incl_tax)
VALUES
  (1, 1, 11, 'simple', 'TEA-ASSAM', 'Assam', 'tea', 2, 45.0000, 90.0000),
  (2, 1, 12, 'simple', 'KIT-MUG', 'Mug', 'kitchen', 1, 99.9000, 99.9000),
  (3, 2, 13, 'simple', 'KIT-KETTLE', 'Kettle', 'kitchen', 5, 250.0000, 1250.0000),
  (4, 3, 11, 'simple', 'TEA-ASSAM', 'Assam', 'tea', 1, 59.0000, 59.0000);

INSERT INTO sales_order_payment (entity_id, parent_id, method, amount_ordered, amount_paid, payment_status, paid_at)
VALUES
  (1, 1, 'blik', 189.9000, 189.9000, 'paid', NOW()),
  (2, 2, 'transfer', 1250.0000, NULL, 'pending', NULL),
  (3, 3, 'blik', 59.0000, 59.0000, 'paid', NOW());

INSERT INTO sales_shipment (entity_id, order_id, increment_id, carrier_code, track_number, shipment_status)
VALUES (1, 1, '300000001', 'inpost', '620000000000000001', 2);

INSERT INTO newsletter_subscriber (subscriber_id, store_id, change_status_at, customer_id, subscriber_email, subscriber_status)
VALUES (1, 1, NOW(), 1, 'anna.kowalska@example.pl', 1);

INSERT INTO customer_visit (visit_id, customer_id, kind, channel) VALUES (1, 1, 'login', 'app'), (2, 2, 'cart', 'web');

-- The ERP: contractors, documents, consents and stock on PostgreSQL, with a few invented rows.

CREATE TABLE contractor (
  id           INTEGER     PRIMARY KEY,
  code         VARCHAR(40) NOT NULL,
  kind         VARCHAR(16) NOT NULL CHECK (kind IN ('person', 'firm')),
  name         VARCHAR(200),
  first_name   VARCHAR(80),
  last_name    VARCHAR(80),
  nip          VARCHAR(20),
  email        VARCHAR(255),
  phone        VARCHAR(40),
  card_no      VARCHAR(40),
  country      CHAR(2),
  language     VARCHAR(5),
  birth_date   DATE,
  active       BOOLEAN     NOT NULL DEFAULT true,
  credit_limit NUMERIC(12, 2),
  notes        TEXT,
  created_at   TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at   TIMESTAMP
);

CREATE TABLE contractor_address (
  contractor_id INTEGER     NOT NULL REFERENCES contractor (id),
  address_no    INTEGER     NOT NULL,
  kind          VARCHAR(16) NOT NULL,
  name          VARCHAR(200),
  company       VARCHAR(200),
  street        TEXT,
  city          VARCHAR(120),
  region        VARCHAR(120),
  postcode      VARCHAR(20),
  country       CHAR(2),
  phone         VARCHAR(40),
  PRIMARY KEY (contractor_id, address_no)
);

CREATE TABLE document (
  id            BIGINT         PRIMARY KEY,
  contractor_id INTEGER        REFERENCES contractor (id),
  number        VARCHAR(40)    NOT NULL,
  kind          VARCHAR(16)    NOT NULL,
  order_number  VARCHAR(50),
  currency      CHAR(3)        NOT NULL DEFAULT 'PLN',
  gross         NUMERIC(12, 2) NOT NULL,
  open_gross    NUMERIC,
  issued        DATE           NOT NULL,
  due           DATE,
  status        VARCHAR(16)    NOT NULL,
  created_at    TIMESTAMPTZ    NOT NULL DEFAULT now()
);

CREATE TABLE consent (
  id            INTEGER     PRIMARY KEY,
  contractor_id INTEGER     NOT NULL REFERENCES contractor (id),
  purpose       VARCHAR(40) NOT NULL,
  granted       BOOLEAN,
  channel       VARCHAR(40),
  given_at      TIMESTAMPTZ
);

CREATE TABLE product (
  sku        VARCHAR(64)  PRIMARY KEY,
  name       VARCHAR(200) NOT NULL,
  category   VARCHAR(80),
  price      NUMERIC(10, 2),
  updated_at TIMESTAMPTZ
);

CREATE TABLE stock (
  sku        VARCHAR(64)    NOT NULL,
  warehouse  VARCHAR(16)    NOT NULL,
  quantity   NUMERIC(12, 3) NOT NULL,
  updated_at TIMESTAMPTZ,
  PRIMARY KEY (sku, warehouse)
);

-- Debezium's own: INSERT INTO dbz_signal VALUES ('1', 'execute-snapshot', '{"data-collections": ["public.document"]}')
CREATE TABLE dbz_signal (
  id   VARCHAR(42) PRIMARY KEY,
  type VARCHAR(32) NOT NULL,
  data VARCHAR(2048)
);

INSERT INTO contractor (id, code, kind, name, first_name, last_name, nip, email, phone, card_no, country, language)
VALUES
  (701, 'KOWALSKA', 'person', NULL, 'Anna', 'Kowalska', NULL, 'anna.kowalska@example.pl', NULL, 'nk1001', 'PL', 'pl'),
  (702, 'NOWAK', 'firm', 'Nowak Herbaty sp. z o.o.', 'Jan', 'Nowak', 'PL5875111311', NULL, '600700802', NULL, 'PL', 'pl'),
  (703, 'HURT', 'firm', 'Hurtownia Kubków s.c.', NULL, NULL, NULL, 'biuro@example.com', '+48 12 345 67 89', NULL, 'PL', 'pl');

INSERT INTO contractor_address (contractor_id, address_no, kind, company, street, city, postcode, country)
VALUES (702, 1, 'billing', 'Nowak Herbaty sp. z o.o.', 'Portowa 12', 'Gdynia', '81-350', 'PL');

INSERT INTO document (id, contractor_id, number, kind, order_number, gross, open_gross, issued, due, status)
VALUES
  (9001, 701, 'FV/1/2026', 'invoice', '100000001', 189.90, 0, current_date - 20, current_date - 6, 'paid'),
  (9002, 702, 'FV/2/2026', 'invoice', '100000002', 1250.00, 1250.00, current_date - 30, current_date - 16, 'open'),
  (9003, 703, 'PRO/1/2026', 'proforma', NULL, 80.00, 80.00, current_date, NULL, 'open');

INSERT INTO consent (id, contractor_id, purpose, granted, channel, given_at)
VALUES (1, 701, 'sms', false, 'phone', now()), (2, 702, 'profiling', true, 'paper', now() - interval '90 days');

INSERT INTO product (sku, name, category, price, updated_at)
VALUES ('TEA-ASSAM', 'Assam', 'tea', 45.00, now()), ('KIT-MUG', 'Mug', 'kitchen', 99.90, now()), ('KIT-KETTLE', 'Kettle', 'kitchen', 250.00, now());

INSERT INTO stock (sku, warehouse, quantity, updated_at)
VALUES ('TEA-ASSAM', 'KRK', 120, now()), ('KIT-MUG', 'KRK', 14, now()), ('KIT-KETTLE', 'GDA', 3.000, now());

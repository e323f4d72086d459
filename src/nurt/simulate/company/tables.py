"""The demo's tables: a shop shaped like Magento on MariaDB, twice, and an ERP on PostgreSQL."""

from __future__ import annotations

from nurt.ports.registry import SchemaRegistry
from nurt.simulate.connector.columns import (
    BOOLEAN,
    DATE,
    INT,
    INT16,
    LONG,
    MICRO_TIMESTAMP,
    TEXT,
    TIMESTAMP,
    VARIABLE_DECIMAL,
    Column,
    ColumnType,
    Table,
    decimal,
    enumeration,
    value_set,
    zoned_timestamp,
)
from nurt.simulate.connector.debezium import Connector
from nurt.simulate.connector.messages import MessageWriter

SHOPS = ("shop_pl", "shop_de")
ERP = "erp"

MONEY = decimal(20, 4)
QUANTITY = decimal(12, 4)
SHOP_TIME = zoned_timestamp(0)
ERP_TIME = zoned_timestamp(6)


def _must(name: str, kind: ColumnType, default: int | str | bool | None = None) -> Column:
    return Column(name, kind, null=False, default=default)


def _texts(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, TEXT) for name in names)


_TIMES = (_must("created_at", SHOP_TIME), _must("updated_at", SHOP_TIME))

SHOP_TABLES: tuple[Table, ...] = (
    Table(
        "customer_entity",
        ("entity_id",),
        (
            _must("entity_id", LONG),
            Column("website_id", INT),
            Column("email", TEXT),
            _must("group_id", INT, 1),
            Column("store_id", INT),
            *_TIMES,
            _must("is_active", INT, 1),
            *_texts("firstname", "lastname"),
            Column("dob", DATE),
            Column("taxvat", TEXT),
            Column("gender", INT),
            *_texts("confirmation", "telephone"),
            Column("phone_verified", INT16),
            *_texts("loyalty_card", "language", "country_id"),
            Column("segments", value_set("vip", "b2b", "blocked")),
        ),
    ),
    Table(
        "customer_address_entity",
        ("entity_id",),
        (
            _must("entity_id", LONG),
            Column("parent_id", LONG),
            *_TIMES,
            _must("is_active", INT, 1),
            *_texts("kind", "firstname", "lastname", "company", "street", "city", "region", "postcode"),
            *_texts("country_id", "telephone", "vat_id"),
        ),
    ),
    Table(
        "sales_order",
        ("entity_id",),
        (
            _must("entity_id", LONG),
            *_texts("increment_id", "state", "status"),
            Column("store_id", INT),
            Column("customer_id", LONG),
            Column("customer_is_guest", INT),
            *_texts("customer_email", "customer_telephone", "customer_firstname", "customer_lastname"),
            Column("customer_dob", TIMESTAMP),
            *_texts("country_id", "order_currency_code", "base_currency_code"),
            Column("grand_total", MONEY),
            Column("total_refunded", MONEY),
            _must("total_item_count", INT, 0),
            Column("coupon_code", TEXT),
            *_TIMES,
        ),
    ),
    Table(
        "sales_order_item",
        ("item_id",),
        (
            _must("item_id", LONG),
            _must("order_id", LONG, 0),
            *_TIMES,
            Column("product_id", LONG),
            *_texts("product_type", "sku", "name", "category"),
            Column("qty_ordered", QUANTITY),
            Column("qty_canceled", QUANTITY),
            Column("qty_refunded", QUANTITY),
            Column("price", MONEY),
            Column("row_total_incl_tax", MONEY),
        ),
    ),
    Table(
        "sales_order_payment",
        ("entity_id",),
        (
            _must("entity_id", LONG),
            _must("parent_id", LONG),
            Column("method", TEXT),
            Column("amount_ordered", MONEY),
            Column("amount_paid", MONEY),
            Column("amount_refunded", MONEY),
            Column("payment_status", TEXT),
            Column("paid_at", TIMESTAMP),
            Column("last_trans_id", TEXT),
        ),
    ),
    Table(
        "sales_shipment",
        ("entity_id",),
        (
            _must("entity_id", LONG),
            _must("order_id", LONG),
            *_texts("increment_id", "carrier_code", "track_number"),
            Column("shipment_status", INT),
            *_TIMES,
            Column("delivered_at", MICRO_TIMESTAMP),
        ),
    ),
    Table(
        "newsletter_subscriber",
        ("subscriber_id",),
        (
            _must("subscriber_id", LONG),
            Column("store_id", INT),
            Column("change_status_at", SHOP_TIME),
            _must("customer_id", LONG, 0),
            Column("subscriber_email", TEXT),
            _must("subscriber_status", INT, 0),
            Column("subscriber_confirm_code", TEXT),
        ),
    ),
    Table(
        "customer_visit",
        ("visit_id",),
        (
            _must("visit_id", LONG),
            Column("customer_id", LONG),
            Column("kind", TEXT),
            Column("channel", enumeration("web", "app", "store", "phone")),
            _must("visited_at", SHOP_TIME),
        ),
    ),
)

ERP_TABLES: tuple[Table, ...] = (
    Table(
        "contractor",
        ("id",),
        (
            _must("id", INT),
            _must("code", TEXT),
            _must("kind", TEXT),
            *_texts("name", "first_name", "last_name", "nip", "email", "phone", "card_no", "country", "language"),
            Column("birth_date", DATE),
            _must("active", BOOLEAN, True),
            Column("credit_limit", decimal(12, 2)),
            Column("notes", TEXT, toast=True),
            _must("created_at", ERP_TIME),
            Column("updated_at", MICRO_TIMESTAMP),
        ),
    ),
    Table(
        "contractor_address",
        ("contractor_id", "address_no"),
        (
            _must("contractor_id", INT),
            _must("address_no", INT),
            _must("kind", TEXT),
            *_texts("name", "company"),
            Column("street", TEXT, toast=True),
            *_texts("city", "region", "postcode", "country", "phone"),
        ),
    ),
    Table(
        "document",
        ("id",),
        (
            _must("id", LONG),
            Column("contractor_id", INT),
            _must("number", TEXT),
            _must("kind", TEXT),
            Column("order_number", TEXT),
            _must("currency", TEXT, "PLN"),
            _must("gross", decimal(12, 2)),
            Column("open_gross", VARIABLE_DECIMAL),
            _must("issued", DATE),
            Column("due", DATE),
            _must("status", TEXT),
            _must("created_at", ERP_TIME),
        ),
    ),
    Table(
        "consent",
        ("id",),
        (
            _must("id", INT),
            _must("contractor_id", INT),
            _must("purpose", TEXT),
            Column("granted", BOOLEAN),
            Column("channel", TEXT),
            Column("given_at", ERP_TIME),
        ),
    ),
    Table(
        "product",
        ("sku",),
        (
            _must("sku", TEXT),
            _must("name", TEXT),
            Column("category", TEXT),
            Column("price", decimal(10, 2)),
            Column("updated_at", ERP_TIME),
        ),
    ),
    Table(
        "stock",
        ("sku", "warehouse"),
        (
            _must("sku", TEXT),
            _must("warehouse", TEXT),
            _must("quantity", decimal(12, 3)),
            Column("updated_at", ERP_TIME),
        ),
    ),
)


def demo_connectors(
    writer: MessageWriter,
    registry: SchemaRegistry,
    *,
    partitions: int = 4,
    start_us: int = 1_767_225_600_000_000,
    toast_bytes_min: int = 2000,
    context_headers: bool = True,
    binlog_bytes_max: int = 1 << 30,
) -> dict[str, Connector]:
    """Return the demo's three connectors by system: `shop_pl`, `shop_de` and `erp`, all tables empty."""
    connectors = {
        shop: Connector(
            "mariadb",
            shop,
            SHOP_TABLES,
            writer,
            registry,
            database="magento",
            partitions=partitions,
            start_us=start_us,
            context_headers=context_headers,
            binlog_bytes_max=binlog_bytes_max,
        )
        for shop in SHOPS
    }
    connectors[ERP] = Connector(
        "postgresql",
        ERP,
        ERP_TABLES,
        writer,
        registry,
        database="erp",
        partitions=partitions,
        start_us=start_us,
        toast_bytes_min=toast_bytes_min,
        context_headers=context_headers,
    )
    return connectors

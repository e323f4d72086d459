-- What Debezium may do in the shop. Source: Debezium's documentation of the MariaDB connector.
CREATE USER debezium IDENTIFIED BY 'debezium';
GRANT SELECT, RELOAD, SHOW DATABASES, LOCK TABLES, REPLICATION SLAVE, REPLICATION CLIENT, BINLOG MONITOR ON *.* TO debezium;
GRANT INSERT, UPDATE, DELETE ON magento.dbz_signal TO debezium;

"""Files as input and as memory of a deployment without servers.

`archive` reads recorded messages as a log (`archive_lines` and `avro_container` are its two forms), `partitioning`
reads it ahead, `requeue` appends messages from quarantine to it; `control_log` is the control log as a file;
`schema_registry` is a folder of schemas.

What may come in: a format of recorded messages.
"""

"""What a deployment is looked at for before and while it runs: `exposure` (links in plain text, folders that others may
read) and `peers` (who is connected to a cluster's ports)."""

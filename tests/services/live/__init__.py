"""A shop and an ERP that nurt has never seen, with tables of their own: made, changed, and summed up in SQL."""

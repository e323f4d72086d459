"""Values: what flows, what is kept, what is said. No behaviour beyond small conversions."""

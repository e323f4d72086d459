"""Random adversarial histories for property tests: `random` draws them, `history` plays them."""

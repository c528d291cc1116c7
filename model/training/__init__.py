"""Training: shards → samples → stages → weights."""

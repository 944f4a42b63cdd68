"""Measure the time until every worker refuses a revoked token, as a figure that may be promised."""

"""How long a revocation takes until every worker refuses the token, as a figure that may be promised."""

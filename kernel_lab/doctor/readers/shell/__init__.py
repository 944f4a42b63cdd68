"""Shell scripts, evaluated without executing them."""

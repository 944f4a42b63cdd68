"""The simple Python of configuration files, evaluated without executing it."""

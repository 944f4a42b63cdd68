"""The doctor: says what will weaken before anything runs."""

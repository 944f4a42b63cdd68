"""A deployment as processes of this machine: gunicorn, nginx and a store.

A guard process starts them, and leaves nothing of them behind.
"""

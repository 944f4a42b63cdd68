"""Teeth: seeded wrong kernels that the lab must catch, and right ones that it must never accuse.

``mutant.py`` says what a mutant is; one module a claim holds them; ``simulation.py`` runs a scenario against
them in this process, ``live.py`` under gunicorn; ``teeth.py`` runs them all and writes ``docs/teeth.md``.
"""

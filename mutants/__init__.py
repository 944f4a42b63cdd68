"""Mutation tests: wrong kernels that the lab must catch, and right ones that it must never accuse.

``mutant.py`` says what a mutant is, and one module for each claim holds the mutants of that claim.
``simulation.py`` runs a scenario against them in this process, ``live.py`` under gunicorn. ``bite.py``
says whether a verdict names a mutant's fault. ``teeth.py`` is the command: it runs them all and writes
``docs/teeth.md`` and ``results/teeth.json``.
"""

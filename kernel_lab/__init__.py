"""The instrument: deployments, traffic, faults, histories, checkers.

It knows HTTP and processes. It never imports ``lab``, so it measures any deployment that speaks the same
routes, and never imports ``scenarios``: what is asked is handed to it.
"""

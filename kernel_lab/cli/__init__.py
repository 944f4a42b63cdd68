"""The command line: one file per command.

A command reads its arguments, makes one call, and returns an exit code.
"""

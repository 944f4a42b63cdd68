"""Kinds of rate limit other than the sliding window log, and the promise of each.

`zone` holds the instants that a limiter may have chosen, `search` looks for an order of the calls that a
limiter of one kind can have answered as recorded. Each other module is one kind.
`kernel_lab.judge.checkers.limit_kinds` makes the verdict.
"""

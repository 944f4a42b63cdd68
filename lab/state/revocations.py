"""The lifetimes of tokens, as every shared revocation store counts them."""

from __future__ import annotations

import datetime as dt

MARGIN_S = 300
"""Seconds for which a revocation is kept after its token has expired, by the store's clock.

The clock of a verifier may be behind the store's clock. Such a verifier still accepts a token that is expired by the
store's clock. As long as no verifier's clock is further behind than this, no revocation is forgotten while a verifier
would still accept its token.
"""

UNTRACKED_S = 30 * 86_400
"""Seconds for which the revocation of an untracked token is kept. The expiry of such a token is unknown."""


def microseconds(when: dt.datetime) -> int:
    """Return microseconds of the Unix epoch. Without a time zone, `when` is UTC, as in upstream."""
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return (when - _EPOCH) // dt.timedelta(microseconds=1)


_EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)

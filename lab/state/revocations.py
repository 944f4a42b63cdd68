"""Token lifetimes, as every shared revocation store counts them."""

from __future__ import annotations

import datetime as dt

MARGIN_S = 300
"""How long after a token's expiry its revocation is kept, by the store's clock.

A verifier whose clock is behind the store's still takes a token for live when the store takes it for expired.
As long as no verifier's clock is further behind than this, no revocation is forgotten while a verifier would still
accept its token.
"""

UNTRACKED_S = 30 * 86_400
"""How long the revocation of an untracked token is kept, whose expiry is unknown."""


def microseconds(when: dt.datetime) -> int:
    """Microseconds of the Unix epoch; a naive `when` is UTC, as upstream takes it."""
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return (when - _EPOCH) // dt.timedelta(microseconds=1)


_EPOCH = dt.datetime.fromtimestamp(0, tz=dt.UTC)

"""Whether a history of revocations is legal, by trying every instant: the oracle of revocation and of streams."""

from itertools import product

from kernel_lab.judge.history import Grant, Invoke, Outcome, Revoke, RevokeAll


def placements(op):
    last = 24 if op.outcome is Outcome.INFO else op.return_ns  # later than any history here
    return range(op.call_ns, last + 1)


def legal(operations, stale):
    """Try every instant of every revoke, every choice of what a ``revoke_all`` covers, token by token."""
    return all(_legal_token(token, operations, stale) for token in ("t", "u"))


def _legal_token(token, operations, stale):
    grants = [op for op in operations if isinstance(op, Grant) and op.output.token_id == token]
    invokes = [op for op in operations if isinstance(op, Invoke) and op.input.token_id == token]
    choices = []
    for op in operations:
        if isinstance(op, Revoke) and op.input.token_id == token:
            sure = op.outcome is Outcome.OK
            choices.append([*placements(op), *([] if sure else [None])])
        elif isinstance(op, RevokeAll):
            if not grants:
                choices.append([*placements(op), None])
                continue
            granted = grants[0]
            sure = op.outcome is Outcome.OK and granted.return_ns < op.call_ns
            covering = [t for t in placements(op) if t >= granted.call_ns]
            if covering:
                choices.append([*covering, *([] if sure else [None])])
    for instants in product(*choices):
        since = min((t for t in instants if t is not None), default=None)
        if all(
            any(
                all(_fits(op, heard) for op in invokes if op.worker == worker)
                for heard in ([None] if since is None else range(since, since + stale + 1))
            )
            for worker in {op.worker for op in invokes}
        ):
            return True
    return False


def _fits(op, since):
    if op.outcome is Outcome.OK or (op.input.stream and op.output and op.output.frames):
        return since is None or op.call_ns <= since
    if op.error == "token_revoked":
        return since is not None and op.return_ns >= since
    return True

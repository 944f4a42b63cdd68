"""Token providers that sign or verify wrongly."""

from __future__ import annotations

import json
import secrets
import time
from functools import partial

from weaver_kernel import TokenExpired, TokenInvalid

from mutants.mutant import Wrap, mutant

accepts = partial(mutant, breaks="tokens", finds="forged")
rejects = partial(mutant, breaks="tokens", finds="rejected")
expires = partial(mutant, breaks="tokens", finds="expired_early")


@accepts("tokens")
class SignatureUnchecked(Wrap):
    """Verifies everything of a token but its signature."""

    def verify(self, token, **expected):
        token.signature = self.right._sign(token._signable_payload())
        self.right.verify(token, **expected)


@accepts("tokens")
class HalfTheSignature(Wrap):
    """Compares the first half of the signature."""

    def verify(self, token, **expected):
        whole = self.right._sign(token._signable_payload())
        if whole[:32] == token.signature[:32]:
            token.signature = whole
        self.right.verify(token, **expected)


def leave_out(provider, field):
    """Have a provider sign, and verify, a token without one of its fields."""
    sign = provider._sign

    def sign_less(payload):
        return sign(json.dumps({name: value for name, value in json.loads(payload).items() if name != field}))

    provider._sign = sign_less
    return provider


@accepts("tokens")
def constraints_unsigned(provider, _settings):
    """Leaves the constraints out of what is signed."""
    return leave_out(provider, "constraints")


@accepts("tokens")
def expiry_unsigned(provider, _settings):
    """Leaves the time of expiry out of what is signed."""
    return leave_out(provider, "expires_at")


@accepts("tokens")
class VerifiesOnce(Wrap):
    """Accepts a token that it has verified before without verifying it again."""

    def verify(self, token, **expected):
        known = self.__dict__.setdefault("known", set())
        if token.token_id not in known:
            self.right.verify(token, **expected)
            known.add(token.token_id)


@rejects("settings", bitten="https://github.com/perara/wg-manager/issues/23")
def secret_per_worker(settings):
    """Every worker draws a secret of its own."""
    return settings.model_copy(update={"secret": secrets.token_hex(16)})


@rejects("settings")
def one_worker_kept_the_old_secret(settings):
    """The secret was changed, and one worker still uses the old one."""
    return settings.model_copy(update={"secret": "the old one"}) if settings.replica == "r0" else settings


@rejects(
    "settings", home="single", workers=1, restarts_s=(0.5,), bitten="https://github.com/CTFd/CTFd/issues/68"
)
def restart_draws_a_new_secret(settings):
    """Draws its secret when it starts, and is restarted."""
    return settings.model_copy(update={"secret": secrets.token_hex(16)})


@rejects("tokens")
class RejectsOneInTen(Wrap):
    """Refuses one good signature in ten as wrong."""

    def verify(self, token, **expected):
        self.right.verify(token, **expected)
        if self.every(10):
            raise TokenInvalid(f"Token '{token.token_id}' has an invalid signature.")


@expires("tokens")
def minutes_for_seconds(provider, _settings):
    """Gives a token a sixtieth of its life."""
    provider._ttls = {capability: life_s / 60 for capability, life_s in provider._ttls.items()}
    return provider


@expires("tokens")
class OneClockAhead(Wrap):
    """One worker's clock is a second ahead."""

    def verify(self, token, **expected):
        ahead_s = self.settings.replica == "r0"
        if token.expires_at.timestamp() <= time.time() + ahead_s:
            raise TokenExpired(f"Token '{token.token_id}' expired at {token.expires_at.isoformat()}.")
        self.right.verify(token, **expected)


@accepts("tokens")
def token_id_unsigned(provider, _settings):
    """Leaves the token's id out of what is signed: a revoked token gets another name."""
    return leave_out(provider, "token_id")


@accepts("tokens")
def principal_unsigned(provider, _settings):
    """Leaves the principal out of what is signed: whoever finds a token puts a name into it."""
    return leave_out(provider, "principal_id")


@accepts("tokens")
def capability_unsigned(provider, _settings):
    """Leaves the capability out of what is signed: a token for one is a token for all."""
    return leave_out(provider, "capability_id")


@accepts("tokens")
def issue_unsigned(provider, _settings):
    """Leaves the time of issue out of what is signed."""
    return leave_out(provider, "issued_at")


@accepts("tokens")
def audit_id_unsigned(provider, _settings):
    """Leaves the audit id out of what is signed: an action is booked on somebody else's grant."""
    return leave_out(provider, "audit_id")


borrows = partial(mutant, breaks="tokens", finds="borrowed")
outlives = partial(mutant, breaks="tokens", finds="accepted_late")


@borrows("tokens")
class AnybodyMayPresent(Wrap):
    """Does not check who presents a token: a confused deputy."""

    def verify(self, token, *, expected_principal_id, **expected):
        self.right.verify(token, expected_principal_id=token.principal_id, **expected)


@borrows("tokens")
class AnybodyOnOneWorker(Wrap):
    """One worker of four does not check who presents a token."""

    def verify(self, token, *, expected_principal_id, **expected):
        whoever = token.principal_id if self.settings.replica == "r0" else expected_principal_id
        self.right.verify(token, expected_principal_id=whoever, **expected)


class Outlives(Wrap):
    """Accepts a token for some time after its life."""

    LATE_S = 0.0

    def verify(self, token, **expected):
        try:
            self.right.verify(token, **expected)
        except TokenExpired:
            if time.time() > token.expires_at.timestamp() + self.LATE_S:
                raise


@outlives("tokens")
class NeverExpiring(Outlives):
    """Accepts a token for ever."""

    LATE_S = 1e9


@outlives("tokens")
class ExpiresASecondLate(Outlives):
    """Accepts a token for a second after its life."""

    LATE_S = 1.0


@outlives("tokens")
class ExpiresATenthOfASecondLate(Outlives):
    """Accepts a token for a tenth of a second after its life."""

    LATE_S = 0.1


@outlives("tokens")
class OneClockBehind(Outlives):
    """One worker's clock is half a second behind."""

    def verify(self, token, **expected):
        self.LATE_S = 0.5 if self.settings.replica == "r0" else 0.0
        super().verify(token, **expected)


@expires("tokens")
def life_five_percent_short(provider, _settings):
    """Gives a token 95 % of its life."""
    provider._ttls = {capability: life_s * 0.95 for capability, life_s in provider._ttls.items()}
    return provider


@rejects("tokens", home="one")
class RejectsOneInThirty(Wrap):
    """Refuses one good signature in thirty as wrong."""

    def verify(self, token, **expected):
        self.right.verify(token, **expected)
        if self.every(30):
            raise TokenInvalid(f"Token '{token.token_id}' has an invalid signature.")

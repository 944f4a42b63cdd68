"""The same with pytest: `pytest examples/gate --kernel-lab-quick`; a failure shows the counter-example."""

from kernel_lab.pytest_plugin import Lab, guarantee


@guarantee(claim="revocation", deployment="redis", connections="round_robin")
@guarantee(claim="rate_limit", deployment="redis", connections="round_robin", measure="factor", max=1)
def test_limits_and_revocations_hold_on_every_worker() -> None:
    """The body runs once both hold."""


def test_a_handle_is_found_on_every_worker(kernel_lab: Lab) -> None:
    """The fixture measures when the test calls it."""
    held = kernel_lab.holds(claim="handles", deployment="redis", connections="round_robin")
    assert held.said.startswith("valid")  # noqa: S101

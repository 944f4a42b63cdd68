"""kernel-lab predict: what a deployment of any size would do, or the predictions of a run beside its measurements."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from kernel_lab.bad_input import BadInput
from kernel_lab.cli.check import judge
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.history import read_history
from kernel_lab.run import registry
from kernel_lab.scale.fleet import Balance
from kernel_lab.scale.said import assumptions, rows
from kernel_lab.scale.simulate import MOST, Asked, converges_ms, simulate, store_load


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(predict)


def predict(
    path: Annotated[
        Path | None, typer.Argument(help="A run folder: its predictions beside what it measured.")
    ] = None,
    deployment: Annotated[str, typer.Option(help="Where state is kept: as in this deployment.")] = "memory-4",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Workers of each replica. [the deployment's]")
    ] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="Replicas. [the deployment's]")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Grants of one principal in a window.")] = 5,
    window: Annotated[float, typer.Option(help="The window, in seconds.")] = 60,
    rate: Annotated[float, typer.Option(help="Attempts per second, of all principals together.")] = 200,
    keys: Annotated[int, typer.Option(min=1, help="Principals who make them.")] = 1,
    balance: Annotated[Balance, typer.Option(help="How calls are spread over the workers.")] = Balance.FAIR,
    shares: Annotated[
        str, typer.Option(help="For --balance shares: each worker's share, such as 5,3,1,1.")
    ] = "",
    autoscale_to: Annotated[
        int | None, typer.Option(min=1, help="The number of replicas in the middle third of the time.")
    ] = None,
    rolling: Annotated[
        bool,
        typer.Option("--rolling-update", help="Replicas are replaced one by one, with one surge replica."),
    ] = False,
    life: Annotated[float, typer.Option(help="The life of a token and of a handle, in seconds.")] = 3600,
    revokes: Annotated[
        float, typer.Option(min=0, help="Tokens revoked per second: for the store's load.")
    ] = 1,
    max_stale_ms: Annotated[int | None, typer.Option(min=1, help="For a deployment with a cache.")] = None,
    call_ms: Annotated[
        float, typer.Option(help="How long a call lasts: for --balance least-connections.")
    ] = 5,
    seed: Annotated[int, typer.Option(help="The seed of every random choice.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Figures as JSON.")] = False,
) -> None:
    """Simulate the guarantees of a deployment without starting it, or compare a run's predictions with its figures.

    Exit code: 0, or 64 for bad input.
    """
    if path is not None:
        _of_a_run(path)
        return
    numbers = {"--window": window, "--rate": rate, "--life": life, "--call-ms": call_ms}
    for name, value in numbers.items():
        if not 0 < value < float("inf"):
            raise BadInput(f"{name} {value:g}: should be above 0")
    one = _deployment(deployment, workers, replicas, balance, max_stale_ms)
    asked = Asked(
        deployment=one, limit=limit, window_s=window, rate=rate, keys=keys, balance=balance,
        shares=_shares(shares, balance, one.processes), scaled_to=autoscale_to, rolling=rolling, life_s=life,
        call_s=call_ms / 1e3, seed=seed,
    )  # fmt: skip
    if autoscale_to is not None and rolling:
        raise BadInput(
            "--autoscale-to and --rolling-update cannot be combined: simulate them one after the other"
        )
    if shares and (rolling or autoscale_to is not None):
        raise BadInput(
            "--shares cannot be combined with a fleet that changes: new workers would have no share"
        )
    if asked.rate * asked.seconds > MOST:
        raise BadInput(
            f"--rate {rate:g} over {asked.seconds:g} s is {asked.rate * asked.seconds:,.0f} attempts: "
            f"at most {MOST:,} are simulated; lower --rate or --window"
        )
    told = simulate(asked)
    if as_json:
        load = store_load(asked, told, revokes_per_s=revokes)
        print(
            json.dumps(
                {
                    "processes": one.processes, "attempts": told.attempts, "admitted": told.admitted,
                    "worst_window": told.worst_window, "worst_window_bound": told.bound,
                    "leak_rate": told.leaks.value, "miss_rate": told.misses.value, "lost_rate": told.lost_traces.value,
                    "converges_ms": converges_ms(asked), "store_per_s": asdict(load) | {"total": load.total},
                    "assumptions": assumptions(asked, revokes_per_s=revokes),
                },
                indent=2,
            )
        )  # fmt: skip
        return
    print("Simulated, not measured.\n")
    for name, said in rows(asked, told, revokes_per_s=revokes):
        print(f"{name:32} {said}")
    print("\nThis assumes:")
    for said in assumptions(asked, revokes_per_s=revokes):
        print(f"- {said}")


def _deployment(
    name: str, workers: int | None, replicas: int | None, balance: Balance, max_stale_ms: int | None
) -> Deployment:
    known = registry.deployments()
    if name not in known:
        raise BadInput(f"no deployment is named {name!r}; one of: {', '.join(known)}")
    one = known[name]
    if one.races:
        raise BadInput(
            f"{name} is a control whose updates are lost by chance: its figures cannot be predicted"
        )
    if max_stale_ms is not None:
        if "max_stale_ms" not in one.stale:
            raise BadInput(f"--max-stale-ms: {name} has no cache; redis-cached has one")
        state = one.state.replace(f"max_stale_ms={one.stale['max_stale_ms']}", f"max_stale_ms={max_stale_ms}")
        one = msgspec.structs.replace(one, state=state)
    return msgspec.structs.replace(
        one,
        workers=workers or one.workers,
        replicas=replicas or one.replicas,
        routing="hash_principal" if balance is Balance.HASH else "round_robin",
    )


def _shares(given: str, balance: Balance, processes: int) -> tuple[float, ...]:
    if (balance is Balance.SHARES) != bool(given):
        raise BadInput("--shares and --balance shares belong together")
    if not given:
        return ()
    try:
        found = tuple(float(one) for one in given.split(","))
    except ValueError:
        raise BadInput(
            f"--shares {given}: should be numbers with commas between them, as in 5,3,1,1"
        ) from None
    if len(found) != processes:
        raise BadInput(
            f"--shares: {len(found)} shares for {processes:,} workers; there should be one for each"
        )
    if min(found) < 0 or not 0 < sum(found) < float("inf"):
        raise BadInput(f"--shares {given}: no share may be below 0, and one must be above")
    return found


def _of_a_run(path: Path) -> None:
    for folder, cell, verdicts in judge(path):
        scenario = registry.scenarios().get(cell.scenario)
        deployment = registry.deployments().get(cell.deployment.name)
        if scenario is None or deployment is None or not folder.probe.exists():
            continue
        predicted = scenario.predict(read_history(folder.probe), deployment, cell.parameters)
        for name, value in predicted.items():
            measured = verdicts[0].measures.get(name.removeprefix("predicted_"))
            print(
                f"{cell.scenario:13} {cell.deployment.name:13} {cell.connections:12} "
                f"{name} {_short(value)}  measured {_short(measured)}"
            )


def _short(value: object) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

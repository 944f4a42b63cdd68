"""What a stack runs, as values: contradictions refused, environments filled, the balancer configured."""

import os
from pathlib import Path

import pytest

from kernel_lab.deployments import AppSpec, NativeStack, StackFailed
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.native import guarded, gunicorn, nginx, remote
from kernel_lab.deployments.native.health import Health

APP = AppSpec(root=Path("/srv/app"))
SECRET = "WEAVER_KERNEL_SECRET"


def environment(*, store="", run="/run/x", extra=None, given=None, **row):
    return gunicorn.environment(
        Deployment(**{"name": "d", **row}), secret=given, store=store, run=Path(run), extra=extra or {}
    )


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"workers": 0}, "deployment d: workers and replicas must be 1 or more"),
        ({"replicas": 0, "routing": "round_robin"}, "deployment d: workers and replicas must be 1 or more"),
        ({"replicas": 2}, 'deployment d: 2 replicas need routing "round_robin" or "hash_principal"'),
        (
            {"sidecar": True, "remote": True},
            "deployment d has a sidecar and a remote kernel; its workers forward to one",
        ),
        ({"state": "cached+{store}"}, 'deployment d names {store}, but has none: set store to "redis"'),
        ({"env": {"LAB_STATE_LIMITER": "{store}"}}, "deployment d names {store}, but has none"),
    ],
    ids=str,
)
def test_a_deployment_that_contradicts_itself_is_refused_with_what_would_be_right(row, told, tmp_path):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared
        NativeStack(Deployment(**{"name": "d", **row}), app=APP, folder=tmp_path)
    assert str(refused.value).startswith(told)


def test_store_and_run_are_filled_in_wherever_the_deployment_names_them():
    env = environment(
        store="redis://h:1/0",
        state="cached+{store}?x={run}",
        env={"LAB_STATE_TRACES": "sqlite:///{run}/t.db"},
    )
    assert env["LAB_STATE"] == "cached+redis://h:1/0?x=/run/x"
    assert env["LAB_STATE_TRACES"] == "sqlite:////run/x/t.db"


def test_settings_of_the_call_overrule_the_deployments_and_those_the_callers(monkeypatch):
    monkeypatch.setenv("LAB_A", "caller")
    monkeypatch.setenv("LAB_B", "caller")
    monkeypatch.setenv("LAB_C", "caller")
    env = environment(env={"LAB_B": "deployment", "LAB_C": "deployment"}, extra={"LAB_C": "call"})
    assert [env[name] for name in ("LAB_A", "LAB_B", "LAB_C")] == ["caller", "deployment", "call"]


def test_every_stack_draws_a_secret_of_its_own_unless_it_is_given_one():
    assert environment()[SECRET] != environment()[SECRET]
    assert environment(given="given")[SECRET] == "given"


def test_a_deployment_without_a_secret_has_none_whatever_is_set_or_given(monkeypatch):
    monkeypatch.setenv(SECRET, "the caller's")
    assert SECRET not in environment(given="given", secret=False)


def test_a_relative_import_path_still_means_the_callers_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"here{os.pathsep}/there")
    assert environment()["PYTHONPATH"] == f"{tmp_path}/here{os.pathsep}/there"


def test_a_remote_kernel_is_the_app_that_a_worker_serves_and_is_told_no_other_kernel():
    env = environment(remote=True, workers=2) | {remote.ADDRESS: "127.0.0.1:1"}
    command = remote.command(app=APP, port=4711, env=env, log=Path("/log"))
    assert command.argv[1:8] == ("-m", "uvicorn", "lab.app:app", "--host", "127.0.0.1", "--port", "4711")
    assert remote.ADDRESS not in command.env
    assert (command.env["LAB_REPLICA"], command.env["LAB_WORKERS"]) == ("remote", "1")


def test_workers_with_a_remote_kernel_serve_the_forwarder():
    command = gunicorn.command(
        Deployment(name="d", remote=True), app=APP, replica=0, port=1, folder=Path("/run/x"),
        env=environment(remote=True), log=Path("/log"),
    )  # fmt: skip
    assert command.argv[-1] == "lab.sidecar:app"
    assert "LAB_SIDECAR" not in command.env


@pytest.mark.parametrize(("sidecar", "served"), [(False, "lab.app:app"), (True, "lab.sidecar:app")])
def test_a_replica_serves_the_app_or_with_a_sidecar_the_forwarder(sidecar, served):
    command = gunicorn.command(
        Deployment(name="d", sidecar=sidecar), app=APP, replica=1, port=4711, folder=Path("/run/x"),
        env=environment(sidecar=sidecar), log=Path("/log"),
    )  # fmt: skip
    assert command.argv[1:] == ("-m", "gunicorn", "-c", "lab/gunicorn.conf.py", served)
    assert command.cwd == APP.root
    assert command.env["LAB_REPLICA"] == "r1"
    assert command.env["LAB_BIND"] == "127.0.0.1:4711"
    assert command.env["LAB_CONTROL_SOCKET"] == "/run/x/r1.ctl"
    assert command.env.get("LAB_SIDECAR") == ("1" if sidecar else None)


def test_only_hashed_routing_hashes_and_no_routing_sends_a_call_twice():
    texts = {
        routing: nginx.configuration(routing=routing, port=1, replicas=[2, 3], folder=Path("/run/x"))
        for routing in ("round_robin", "hash_principal")
    }
    assert "hash $http_x_principal_id consistent;" in texts["hash_principal"]
    assert "hash $http" not in texts["round_robin"]
    for text in texts.values():
        assert "proxy_next_upstream off;" in text
        assert "server 127.0.0.1:2 max_fails=0;" in text
        assert "server 127.0.0.1:3 max_fails=0;" in text
        assert "listen 127.0.0.1:1;" in text


def test_sockets_fit_into_their_folder_even_where_the_temp_folder_lies_deep(monkeypatch, tmp_path):
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr(guarded.tempfile, "gettempdir", lambda: str(deep))
    assert len(os.fsencode(guarded._short_folder() / "r12.ctl")) <= 103
    monkeypatch.setattr(guarded.tempfile, "gettempdir", lambda: "/t")
    assert guarded._short_folder().parent == Path("/t")


@pytest.mark.parametrize(
    ("worker", "pid"), [("r0/4711/ab12", 4711), ("r0", None), ("", None), ("r0/x/y", None)]
)
def test_a_workers_pid_is_read_from_its_name(worker, pid):
    assert Health(status=200, worker=worker).pid == pid


def test_a_stack_that_was_not_started_says_so(tmp_path):
    stack = NativeStack(Deployment(name="d"), app=APP, folder=tmp_path)
    assert not stack.alive()
    with pytest.raises(StackFailed, match="d has not been started"):
        _ = stack.base_url

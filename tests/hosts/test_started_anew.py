"""What a service of a swarm is told when a cell needs a deployment that nobody has used."""

import msgspec

from kernel_lab.deployments.containers.anew import KEPT, changes, environment_of, given, wanted

GIVEN = {
    "LAB_WORKERS": "2",
    "LAB_STATE": "redis://:{store_password}@store:6379/0?namespace=hosts-redis",
    "LAB_RATE_LIMITS": "WRITE=4/2.0",
}


def service(env, *, replicas=3, labels=None):
    return {
        "Spec": {
            "Labels": labels or {},
            "TaskTemplate": {"ContainerSpec": {"Env": [f"{name}={value}" for name, value in env.items()]}},
            "Mode": {"Replicated": {"Replicas": replicas}},
        }
    }


def test_a_cell_gets_its_settings_and_a_place_that_nobody_has_used():
    to = wanted(GIVEN, {"LAB_BUDGET_TOTAL": "1000", "LAB_RATE_LIMITS": "WRITE=4/20"}, "ab12")
    assert to == {
        "LAB_WORKERS": "2",
        "LAB_STATE": "redis://:{store_password}@store:6379/0?namespace=hosts-redis-ab12",
        "LAB_RATE_LIMITS": "WRITE=4/20",
        "LAB_BUDGET_TOTAL": "1000",
    }


def test_a_file_on_each_host_gets_another_name():
    to = wanted({"LAB_STATE": "sqlite:////var/lib/lab/state.db"}, {"LAB_BUDGET_TOTAL": "1"}, "ab12")
    assert to["LAB_STATE"] == "sqlite:////var/lib/lab/state-ab12.db"


def test_what_make_up_swarm_gave_outlives_a_run_that_was_killed():
    base = given(service(GIVEN))
    changed = service(
        wanted(GIVEN, {"LAB_BUDGET_TOTAL": "1"}, "ab12"),
        replicas=0,
        labels={KEPT: msgspec.json.encode(base).decode()},
    )
    assert given(changed) == base
    assert base.replicas == 3


def test_the_way_there_and_back_is_told_in_options():
    to = wanted(GIVEN, {"LAB_BUDGET_TOTAL": "1"}, "ab12")
    assert changes(GIVEN, to) == [
        "--env-add",
        f"LAB_STATE={to['LAB_STATE']}",
        "--env-add",
        "LAB_BUDGET_TOTAL=1",
    ]
    assert changes(to, GIVEN) == [
        "--env-rm",
        "LAB_BUDGET_TOTAL",
        "--env-add",
        f"LAB_STATE={GIVEN['LAB_STATE']}",
    ]
    assert changes(to, to) == []


def test_an_environment_is_read_as_it_is_written():
    assert environment_of(service(GIVEN)) == GIVEN

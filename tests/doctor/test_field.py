"""The fourteen files from the field give what EXPECTED.csv says, and so do combinations of files."""

import csv
from pathlib import Path

import pytest

from kernel_lab.doctor.diagnosis import diagnose

FIELD = Path(__file__).parent / "configs" / "field"

# file: processes, and for each finding that EXPECTED.csv names its id and words of the sentence
SAID = {
    "unit-four-workers-hup.service": (4, 4, {
        "several-processes": ["4 processes", "4 times", "3 of 4"], "reload-forgets": ["HUP", "revoked", "window"],
    }),
    "fastapi-cli-workers.Dockerfile": (4, 4, {"several-processes": ["4 processes"]}),
    "gthread-defaults.sh": (1, 1, {
        "threads": ["One process", "20 threads", "thread safe"], "workers-from-environment": ["WORKER_COUNT", "RECYCLE_AFTER"],
    }),
    "preload-recycle.gunicorn.py": (1, 1, {
        "preload": ["copied into every worker", "secrets", "connections", "random"], "recycle-forgets": ["2000 to 2100", "forgotten"],
        "workers-from-environment": ["WEB_CONCURRENCY"],
    }),
    "platform.env": (2, 2, {"workers-only-in-environment": ["2 processes although no file of the service says so"]}),
    "cores-at-least-two.gunicorn.py": (2, None, {
        "processes-by-cores": ["never 1 unless WEB_CONCURRENCY", "each machine"], "deprecated-worker-class": ["deprecated"],
    }),
    "two-replicas-optional-redis.k8s.yaml": (2, None, {
        "no-affinity": ["2 replicas", "without session affinity"], "optional-store": ["optional", "without notice"],
        "rollout-overlap": ["1 replica more", "another version"],
    }),
    "autoscaling-off.helm-values.yaml": (1, 1, {
        "autoscaling-ready": ["up to 100"], "store-switched-off": ["no shared store", "second replica"], "generated-key": ["differs between installs"],
    }),
    "three-by-twenty-four.compose.yaml": (72, 72, {
        "redis-evicts": ["allkeys-lru", "any key", "revocation"], "redis-not-durable": ["no append-only file"], "revocation-cached": ["120 s", "72 processes"],
        "file-lock-leader": ["3 leaders"], "several-processes": ["3 × 24"],
    }),
    "preload-reuse-port.gunicorn.py": (2, 2, {"preload-reuse-port": ["preload_app", "reuse_port"], "recycle-forgets": ["100000 requests"]}),
    "ip-hash.nginx.conf": (3, 3, {
        "sticky-by-address": ["Behind another proxy all clients have one address", "one server", "first three octets", "moves when a server goes"],
    }),
    "evicting-redis.container": (0, 0, {"redis-evicts": ["allkeys-lru at 128mb", "counter", "volatile-lru", "TTL", "noeviction"]}),
    "slowapi_with_fallback.py": (1, None, {
        "limiter-falls-back": ["without a word", "each process counts alone"], "store-database-shared": ["database 0"],
    }),
    "half-the-cores.sh": (1, 4, {"processes-by-cores": ["1 to 4", "number of cores", "machine"]}),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_a_file_from_the_field_is_read_as_expected(name):
    low, high, said = SAID[name]
    diagnosis = diagnose([FIELD / name])
    assert (diagnosis.sum.processes.min, diagnosis.sum.processes.max) == (low, high)
    messages = {each.id: each.message for each in diagnosis.findings}
    for rule, words in said.items():
        assert rule in messages
        assert [word for word in words if word not in messages[rule]] == [], messages[rule]


def test_every_file_of_the_list_is_tried():
    with (FIELD / "EXPECTED.csv").open() as rows:
        assert {row["file"] for row in csv.DictReader(rows)} == set(SAID)


def test_a_folder_with_all_of_them_is_read():
    diagnosis = diagnose([FIELD])
    assert len(diagnosis.files) == 14
    assert diagnosis.sum.processes.max == 72
    assert {"redis-evicts", "generated-key", "sticky-by-address"} <= {each.id for each in diagnosis.findings}

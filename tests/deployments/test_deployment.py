"""deployments.toml."""

from pathlib import Path

import pytest

from kernel_lab.deployments.deployment import BadDeployments, read_deployments

ROOT = Path(__file__).resolve().parents[2]


def test_the_labs_own_file_is_read_in_its_order():
    deployments = read_deployments(ROOT / "lab" / "deployments.toml")
    assert list(deployments)[:4] == ["single", "memory-2", "memory-4", "memory-8"]
    assert deployments["memory-8"].processes == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nworkerz = 4", "[a]: Object contains unknown field `workerz`"),
        ("[a]\nworkers = 'four'", "[a]: Expected `int`, got `str`"),
        ("[a]\nrouting = 'dns'", "[a]: Invalid enum value 'dns'"),
        ("[a", "TOML"),
    ],
)
def test_a_bad_table_is_named(tmp_path, text, said):
    path = tmp_path / "deployments.toml"
    path.write_text(text)
    with pytest.raises(BadDeployments) as error:
        read_deployments(path)
    assert str(path) in str(error.value)
    assert said in str(error.value) or said == "TOML"


def test_a_control_is_one_whose_state_races():
    deployments = read_deployments(ROOT / "lab" / "deployments.toml")
    assert {name for name, one in deployments.items() if one.races} == {"redis-naive", "stash"}


def test_traces_are_lost_by_chance_where_several_processes_write_upstreams_file():
    deployments = read_deployments(ROOT / "lab" / "deployments.toml")
    assert {name for name, one in deployments.items() if one.loses_traces} == {"sqlite-stock"}

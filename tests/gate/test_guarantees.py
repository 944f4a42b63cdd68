"""guarantees.toml: what holds, what is broken, what cannot be judged, and what is bad input."""

import json

import pytest
from few_cells import few_cells

from kernel_lab.gate.judging import open_run


def table(**keys):
    return "[[guarantee]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())


def test_one_line_a_guarantee_with_the_figure_and_the_counter_example(command_line, declare, saved):
    text = table(claim="tokens", deployment="redis") + table(claim="revocation", deployment="memory-4")
    done = command_line("gate", "--guarantees", declare(text), "--run", saved)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"judged: {saved}, commit ")
    assert "weaver-kernel 0.12.0" in lines[0]
    assert lines[0].endswith("ago")
    assert any(line.startswith("✓ tokens on redis: valid over round_robin: 0 of ") for line in lines)
    assert any(line.startswith("✗ revocation on memory-4: invalid over round_robin: ") for line in lines)
    assert sum("revoke token" in line or "invoke token" in line for line in lines) >= 2
    assert lines[-1] == "1 of 2 guarantees hold, 1 broken"


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"claim": "rate_limit", "deployment": "redis", "measure": "factor", "max": 1}, 0, "factor is 1 over"),
        ({"claim": "rate_limit", "deployment": "memory-4", "measure": "factor", "max": 1.5}, 1, "declared ≤ 1.5"),
        # a bound alone asks for the figure, and not for the verdict
        ({"claim": "revocation", "deployment": "memory-4", "measure": "leak_rate", "max": 0.99}, 0, "leak_rate is"),
        (
            {
                "claim": "revocation", "deployment": "memory-4", "measure": "leak_rate", "max": 0.99,
                "verdict": "valid",
            },
            1, "invalid over ",
        ),
        ({"claim": "revocation", "deployment": "redis", "upper_bound": 0.05}, 0, "declared at most 5 %"),
        ({"claim": "revocation", "deployment": "redis", "upper_bound": 0.001}, 2, "it takes 2995 without a failure"),
        ({"claim": "revocation", "deployment": "memory-4", "measure": "leak_rate", "upper_bound": 0.05}, 1, "95 %: "),
        ({"claim": "stats", "deployment": "redis"}, 2, "not measured in"),
        ({"claim": "revocation", "deployment": "redis", "connections": "round_robin"}, 0, "over round_robin"),
    ],
)  # fmt: skip
def test_a_guarantee_against_a_run(command_line, declare, saved, keys, code, said):
    done = command_line("gate", "--guarantees", declare(table(**keys)), "--run", saved)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr


def test_the_cell_that_is_nearest_to_its_bound_is_quoted(command_line, declare, saved):
    text = table(claim="rate_limit", deployment="memory-4", measure="certain_max", max=100)
    done = command_line("gate", "--guarantees", declare(text), saved)
    figures = [cell.measures["certain_max"] for cell in open_run(saved).of("rate_limit", "memory-4")]
    assert f"certain_max is {max(figures):g} over" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (table(claim="revokation", deployment="redis"), "claim 'revokation' is not known; one of: tokens"),
        (table(claim="tokens", deployment="reddis"), "deployment reddis is not known; one of:"),
        (table(claim="tokens", deployment="redis", connections="robin"), "connections 'robin' is not known"),
        (table(claim="tokens"), "needs `deployment` or `app`, and not both"),
        (table(claim="tokens", deployment="redis", verdict="invalid"), 'can only ask for "valid"'),
        (table(claim="tokens", deployment="redis", max=1), "`max` and `min` need `measure`"),
        (
            table(claim="tokens", deployment="redis", measure="leak_rate", max=1),
            "no measure 'leak_rate'; one of:",
        ),
        (
            table(claim="revocation", deployment="redis", measure="leak_rate"),
            "needs `max`, `min` or `upper_bound`",
        ),
        (
            table(claim="revocation", deployment="redis", measure="leak_rate", max=7),
            "a share between 0 and 1",
        ),
        (table(claim="revocation", deployment="redis", upper_bound=2), "a share between 0 and 1"),
        (table(claim="rate_limit", deployment="redis", upper_bound=0.1), "counts no share of failures"),
        (
            table(claim="rate_limit", deployment="redis", measure="factor", max=1, min=2),
            "min 2 is above max 1",
        ),
        (
            '[[guarantee]]\nclaim = "rate_limit"\ndeployment = "redis"\nmeasure = "factor"\nmax = nan\n',
            "max = nan is no number",
        ),
        (
            '[[guarantee]]\nclaim = "rate_limit"\ndeployment = "redis"\nmeasure = "factor"\nmax = inf\n',
            "max = inf is no number",
        ),
        (table(claim="tokens", deployment="redis", maximum=1), "maximum"),
        (table(claim="tokens", deployment="redis") * 2, "is declared twice"),
        (table(claim="tokens", app="no-such.toml"), "an app can be asked for"),
        (table(claim="handles", app="no-such.toml"), "no-such.toml"),
        (table(claim="handles", app="no-such.toml", fault="flood"), "fault 'flood' is not known; one of:"),
        (table(claim="handles", deployment="redis", fault="flood"), "fault 'flood' is not known; one of:"),
        ("", "no [[guarantee]] table"),
        ("[[guarantee]\n", "docs/gate.md"),
        ("guarantee = " + "[" * 5000 + "]" * 5000, "guarantees.toml"),
    ],
)
def test_what_is_misspelt_is_bad_input_and_not_unmeasured(command_line, declare, saved, text, said):
    path = declare(text)
    for arguments in ([], ["--run", saved]):
        done = command_line("gate", "--guarantees", path, *arguments)
        assert done.returncode == 64, done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
        if not (arguments == [] and "reddis" in said):
            assert said in done.stderr
        else:
            assert "reddis: not known" in done.stderr


def test_text_that_is_no_utf_8_is_bad_input(command_line, declare, saved):
    path = declare("")
    path.write_bytes(b"claim = '\xff'")
    done = command_line("gate", "--guarantees", path, "--run", saved)
    assert done.returncode == 64
    assert "is not UTF-8 at byte 9" in done.stderr


def test_short_cells_are_refused_unless_somebody_says_that_they_will_do(command_line, declare, tmp_path):
    run = few_cells(tmp_path / "run", quick=True)
    path = declare(table(claim="tokens", deployment="redis"))
    done = command_line("gate", "--guarantees", path, "--run", run)
    assert done.returncode == 64
    assert "was made with --quick" in done.stderr
    done = command_line("gate", "--guarantees", path, "--run", run, "--quick")
    assert done.returncode == 0
    assert "short cells (--quick)" in done.stdout


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe\x00", b"run,scenario\n1", b'a,"b\n', b"x" * 200_000])
@pytest.mark.parametrize("name", ["verdicts.csv", "tokens.csv", "environment.json"])
def test_a_damaged_run_is_bad_input_and_never_holds(command_line, declare, tmp_path, damage, name):
    run = few_cells(tmp_path / "run", quick=False)
    (run / name).write_bytes(damage)
    path = declare(table(claim="tokens", deployment="redis"))
    done = command_line("gate", "--guarantees", path, "--run", run)
    assert done.returncode in (64, 2), done.stdout
    assert "Traceback" not in done.stderr


def test_a_run_that_is_none_is_bad_input(command_line, declare, tmp_path):
    path = declare(table(claim="tokens", deployment="redis"))
    for place in (tmp_path / "nowhere", path):
        done = command_line("gate", "--guarantees", path, "--run", place)
        assert done.returncode == 64
        assert len(done.stderr.splitlines()) == 1


def test_init_writes_guarantees_that_the_gate_reads(command_line, tmp_path, saved):
    assert command_line("init", "--gate").returncode == 0
    text = (tmp_path / "guarantees.toml").read_text()
    done = command_line("gate", "--run", saved)
    assert done.returncode == 0, done.stderr
    # what it shows in comments can be taken as it is
    (tmp_path / "guarantees.toml").write_text(
        "\n".join(
            line.removeprefix("# ").partition("   #")[0]
            if line.startswith(("# verdict", "# measure", "# max", "# upper", "# connections"))
            else line
            for line in text.splitlines()
        )
    )
    done = command_line("gate", "--run", saved)
    assert done.returncode == 0, done.stderr
    assert "declared at most 2 %" in done.stdout
    assert command_line("init", "--gate").returncode == 64
    assert command_line("init", "--gate", "other.toml", "--deployment", "reddis").returncode == 64

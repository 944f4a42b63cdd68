"""app.toml: what is wrong in it is told in one sentence; what is right is read."""

from pathlib import Path

import pytest

from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.http import Reply, Unclear
from kernel_lab.apps.mapping import Match, Pick, _filled, from_environment, read
from kernel_lab.bad_input import BadInput

EXAMPLES = Path(__file__).parents[2] / "examples"
START = '[start]\ncommand = "run {port}"\n'


def reply(status=200, body=b"{}", **headers):
    return Reply(status=status, headers={name.lower(): value for name, value in headers.items()}, body=body)


def test_every_operation_is_read(app_toml):
    service = read(app_toml())
    assert service.claims() == list(NEEDS)


def test_a_claim_without_its_operations_is_left_out_with_one_line(app_toml):
    service = read(app_toml('[handles]\nput = { request = "POST /a", id = { json = "/id" } }'))
    assert service.claims() == []
    assert service.left_out("handles") == "handles is left out: it needs get"
    assert service.left_out("revocation") == "revocation is left out: it needs login, use and revoke"
    assert "no [rate_limit]" in service.left_out("rate_limit")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "name"),
        ('name = "a"', "needs [start] (a command) or [attach] (a URL)"),
        ('name = "a/b"\n' + START, "letters, digits"),
        ('name = "a"\n[start]\ncommand = "run"', "no {port}"),
        ('name = "a"\n[start]\ncommand = "run {port} {store}"', 'needs store = "redis"'),
        ('name = "a"\n' + START + "workers = [0]", "from 1 to 64"),
        ('name = "a"\n' + START + "wrokers = 4", "wrokers"),
        ('name = "a"\n[attach]\nurl = "localhost"', "http:// or https://"),
        (
            'name = "a"\n' + START + "[rate_limit]\npromise = { limit = 5, window_s = 1, kind = 'leaky' }",
            "sliding_log",
        ),
        (
            'name = "a"\n' + START + "[rate_limit]\npromise = { limit = 0, window_s = 1 }",
            "limit of 1 or more",
        ),
        ('name = "a"\n' + START + '[stats.add]\nrequest = "/a"', "METHOD /path"),
        ('name = "a"\n' + START + '[stats.read]\nrequest = "GET /a"', "needs value"),
        ('name = "a"\n' + START + '[stats.add]\nrequest = "GET /a"\nok = { body = "(" }', "expression"),
        ('name = "a"\n[expect]\nspeed = "valid"\n' + START, "[expect] has 'speed'"),
        ('name = "a"\nadapter = "no.py:App"\n' + START, "there is no file"),
        ('name = "a"\nadapter = "no"\n' + START, "file.py:Class"),
        ("name = ", "Invalid value"),
        ("[" * 3000, "app.toml"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "app.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as refused:
        read(path)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("written", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path, written):
    path = tmp_path / "app.toml"
    if written is not None:
        path.write_bytes(written)
    with pytest.raises(BadInput, match=r"app\.toml"):
        read(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "no attribute 'App'"),
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("class App: pass", "is no kernel_lab.App"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_one_sentence(app_toml, text, said):
    path = app_toml("", head='adapter = "mine.py:App"')
    (path.parent / "mine.py").write_text(text)
    with pytest.raises(BadInput, match=said):
        read(path)


def test_an_adapter_and_a_mapping_add_up(app_toml):
    path = app_toml('[stats]\nadd = { request = "POST /things" }', head='adapter = "mine.py:Mine"')
    (path.parent / "mine.py").write_text(
        "from kernel_lab import App\n"
        "class Mine(App):\n"
        "    async def read(self, http, caller):\n"
        "        return (await http.get('/count')).expect(200).json()['count']\n"
    )
    assert read(path).claims() == ["stats"]


@pytest.mark.parametrize(
    ("match", "holds"),
    [
        (Match(status=200), True),
        (Match(status=[404, 410]), False),
        (Match(header="X-Left"), True),
        (Match(header="X-Left: ^0$"), False),
        (Match(body="revok"), True),
        (Match(json="/user/0/id"), True),
        (Match(json="/user/0/id = 7"), True),
        (Match(json="/user/0/id = 8"), False),
        (Match(json="/user/1"), False),
        (Match(status=200, body="nowhere"), False),
    ],
)
def test_a_reply_is_matched(match, holds):
    body = b'{"user": [{"id": 7}], "said": "revoked"}'
    assert match.holds(reply(body=body, **{"X-Left": "3"})) is holds


def test_a_value_is_picked():
    answered = reply(body=b'{"a/b": {"~": 5}}', **{"Set-Cookie": "sid=abc; Path=/"})
    assert Pick(json="/a~1b/~0").of(answered) == "5"
    assert Pick(header="Set-Cookie", regex="sid=([^;]+)").of(answered) == "abc"
    for pick in (Pick(json="/c"), Pick(header="X-No"), Pick(regex="z(z)z"), Pick(json="/a~1b")):
        with pytest.raises(Unclear):
            pick.of(answered)


def test_a_token_that_looks_like_a_placeholder_is_not_filled_in_again():
    assert _filled({"a": ["{token}-{other}"]}, {"token": "{caller}", "caller": "x"}) == {
        "a": ["{caller}-{other}"]
    }


def test_headers_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "secret")
    assert from_environment({"Authorization": "Bearer ${SHOP_TOKEN}"}) == {"Authorization": "Bearer secret"}
    with pytest.raises(BadInput, match="no such variable"):
        from_environment({"X": "${SHOP_NOTHING}"})


def test_every_example_can_be_read_and_says_what_it_expects():
    # the gate's example holds guarantees and deployments, and no service
    files = [
        path
        for path in sorted(EXAMPLES.glob("*/*.toml"))
        if path.name != "pyproject.toml" and path.parent.name != "gate"
    ]
    assert len(files) >= 20
    for path in files:
        service = read(path)
        assert service.claims(), path
        assert set(service.file.expect) <= set(service.claims()), path
        assert service.file.about.source.startswith("https://"), path

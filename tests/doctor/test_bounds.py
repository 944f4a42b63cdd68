"""Malformed and hostile files: one sentence each, the rest is read, and the work is bounded."""

import json
import os
import time

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.doctor.diagnosis import diagnose

BESIDE = "[Service]\nExecStart=/v/bin/gunicorn -w 3 a:b\n"
MALFORMED = {
    "gunicorn.conf.py": "workers = (2\n",
    "app.py": "def f(:\n",
    "compose.yaml": "services:\n  web: [1\n",
    "list.compose.yaml": "services:\n  - web\n",
    "web.k8s.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: 3\n",
    "values.yaml": "- 1\n- 2\n",
    "nginx.conf": "upstream a {\n server a:1;\n",
    "redis.conf": "maxmemory-policy 'noeviction\n",
    "wsgi.conf": "WSGIDaemonProcess a 'processes=2\n</VirtualHost>\n",
    "Dockerfile": 'FROM x\nSTART gunicorn\nCMD ["gunicorn", "-w", "2", "a:b"]\n',
    "Procfile": "no process here\n",
    "app.env": "WEB_CONCURRENCY=2\n=3\n",
    "start.sh": "if [ 1 = 1 ]; then\ngunicorn -w 2 a:b\n",
    "other.service": "[Service]\nnothing\n",
    "a.container": '[Container]\nImage=x\nEnvironment="A=1\n',
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_one_sentence_and_the_rest_is_read(name, tmp_path):
    (tmp_path / name).write_text(MALFORMED[name])
    (tmp_path / "web.service").write_text(BESIDE)
    diagnosis = diagnose([tmp_path])
    said = [each for each in diagnosis.findings if each.id == "unreadable"]
    assert said, [each.message for each in diagnosis.findings]
    assert {each.place.file for each in said} == {str(tmp_path / name)}
    assert all(each.message.endswith(".") and "Traceback" not in each.message for each in said)
    assert len(said) <= 2
    assert any(factor.count and factor.count.max == 3 for factor in diagnosis.sum.factors)


HOSTILE = {
    "an alias bomb": ("compose.yaml", "a: &a [x, x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(24)) + "services: {web: {image: r/w, environment: *y}}\n"),
    "a merge bomb": ("compose.yaml", "a: &a {x: 1}\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join(['*' + chr(97 + n)] * 9)}]}}\n" for n in range(20)) + "services: {web: {<<: *u, image: r/w}}\n"),
    "an alias of itself": ("compose.yaml", "services: &s\n  web: {image: r/w, environment: *s}\n  b: *s\n"),
    "deep YAML": ("compose.yaml", "services: {web: " + "[" * 50_000),
    "deep JSON": ("web.json", '{"apiVersion": "v1", "kind": ' + "[" * 50_000),
    "deep Python": ("gunicorn.conf.py", "workers = " + "(" * 5_000 + "1" + ")" * 5_000 + "\n"),
    "deep expressions": ("gunicorn.conf.py", "workers = " + "1+" * 20_000 + "1\n"),
    "an endless loop": ("gunicorn.conf.py", "n = 0\nwhile True:\n    n += 1\nworkers = n\n"),
    "an endless recursion": ("gunicorn.conf.py", "def f(n): return f(n + 1)\nworkers = f(0)\n"),
    "a huge power": ("gunicorn.conf.py", "workers = 9 ** 9 ** 9 ** 9\n"),
    "a huge shift and text": ("gunicorn.conf.py", "workers = 1 << 10 ** 12\nx = 'a' * 10 ** 12\ny = [0] * 10 ** 12\n"),
    "many unknown conditions": ("gunicorn.conf.py", "import x\nworkers = 1\n" + "if x.a():\n    workers += 1\n" * 60),
    "a fork bomb": ("start.sh", ":(){ :|:& };:\nf() { f; f; }\nf\n"),
    "deep shell": ("start.sh", "echo " + "$(" * 3_000 + "\n"),
    "deep arithmetic": ("start.sh", "gunicorn -w $((" + "(" * 2_000 + "1" + ")" * 2_000 + ")) a:b\n"),
    "deep nginx": ("nginx.conf", "a {" * 5_000),
    "deep defaults": ("compose.yaml", 'services: {web: {image: r/w, command: "gunicorn -w ' + "${A:-" * 500 + "2" + "}" * 500 + '"}}\n'),
    "a script that runs itself": ("start.sh", "exec ./start.sh\n"),
    "a long line": ("app.env", "A=" + "x" * 900_000 + "\n"),
    "many lines": ("redis.conf", "save 1 1\n" * 100_000),
    "two million bytes": ("app.env", "A=1\n" * 500_000),
    "binary": ("start.sh", "\0\1\2"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_bounded(name, tmp_path):
    file, text = HOSTILE[name]
    (tmp_path / file).write_text(text)
    (tmp_path / "web.service").write_text(BESIDE)
    started = time.process_time()
    diagnose([tmp_path])
    assert time.process_time() - started < 30, "far above what it takes; a bomb would take for ever"


def test_nothing_of_a_configuration_is_executed(tmp_path):
    proof = tmp_path / "proof"
    (tmp_path / "gunicorn.conf.py").write_text(
        f"import os, subprocess\nos.system('touch {proof}')\nopen({str(proof)!r}, 'w').close()\nsubprocess.run(['touch', {str(proof)!r}])\n"
        f"__import__('os').mkdir({str(proof)!r})\nexec('open({str(proof)!r}, \"w\")')\nworkers = 2\n"
    )
    (tmp_path / "start.sh").write_text(
        f"X=$(touch {proof})\ntouch {proof} `touch {proof}`\ngunicorn -w 2 a:b\n"
    )
    diagnosis = diagnose([tmp_path])
    assert diagnosis.sum.processes.min == 2
    assert not proof.exists()


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "compose.yaml")
    (tmp_path / "loop.sh").symlink_to(tmp_path / "loop.sh")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "passwd.env").symlink_to("/etc/passwd")
    (tmp_path / "web.service").write_text(BESIDE)
    diagnosis = diagnose([tmp_path])
    assert diagnosis.sum.processes.max == 3
    assert [each.message for each in diagnosis.findings if each.id == "unreadable"] == [
        "This is not a regular file, so it was not read."
    ]


@pytest.mark.parametrize("name", ["nothing", "binary.sh", "photo.jpg", "empty"])
def test_what_cannot_be_used_at_all_is_one_line(name, tmp_path):
    (tmp_path / "binary.sh").write_bytes(b"\0\1")
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput) as said:
        diagnose([tmp_path / name])
    assert "\n" not in str(said.value)
    assert json.dumps(str(said.value))

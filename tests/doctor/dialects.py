"""Small configurations in many dialects: file names and texts, the processes they mean, and findings that must be among the doctor's."""

from typing import NamedTuple


class Case(NamedTuple):
    name: str
    files: dict[str, str]
    low: int
    high: int | None
    findings: frozenset[str] = frozenset()
    rollout: int | None = None


def case(name, low, high, findings="", rollout=None, **files):
    """Keyword names stand for file names: two underscores for a dot, three for a slash."""
    named = {key.replace("___", "/").replace("__", "."): text for key, text in files.items()}
    return Case(name, named, low, high, frozenset(findings.split()), rollout)


def one(name, file, text, low, high, findings="", rollout=None):
    return Case(name, {file: text}, low, high, frozenset(findings.split()), rollout)


GUNICORN = [
    one("two for each core and one", "gunicorn.conf.py", "import multiprocessing\nworkers = multiprocessing.cpu_count() * 2 + 1\n", 3, None, "processes-by-cores several-processes"),
    one("a function of the cores with a cap", "gunicorn.conf.py", "import os\ndef n():\n    c = os.cpu_count() or 1\n    return min(c * 2 + 1, 9)\nworkers = n()\n", 3, 9, "processes-by-cores"),
    one("getenv with a default", "gunicorn_conf.py", "from os import getenv\nbind = '0.0.0.0:80'\nworkers = int(getenv('WORKERS', '3'))\n", 3, 3, "workers-from-environment"),
    one("environ item or", "gunicorn.conf.py", "import os\nworkers = int(os.environ.get('W') or 5)\nthreads = 4\n", 5, 5, "threads"),
    one("environ item that must be set", "gunicorn.conf.py", "import os\nworkers = int(os.environ['WORKERS'])\n", 1, None, "workers-unknown"),
    one("if in environ", "gunicorn.conf.py", "import os\nif 'WORKERS' in os.environ:\n    workers = int(os.environ['WORKERS'])\nelse:\n    workers = 6\n", 6, 6),
    one("try and except", "gunicorn.conf.py", "import os\ntry:\n    workers = int(os.environ.get('W', 'many'))\nexcept ValueError:\n    workers = 2\n", 2, 2),
    one("a dict of settings", "gunicorn.conf.py", "settings = {'workers': 4, 'bind': ':80', 'preload_app': True}\nglobals().update(settings)\n", 4, 4, "preload"),
    one("settings set one by one", "gunicorn.conf.py", "for k, v in {'workers': 3, 'max_requests': 500}.items():\n    globals()[k] = v\n", 3, 3, "recycle-forgets"),
    one("the image's well-known file", "gunicorn_conf.py", (
        "import json\nimport multiprocessing\nimport os\n\nper_core_text = os.getenv('WORKERS_PER_CORE', '1')\nmost_text = os.getenv('MAX_WORKERS')\n"
        "most = 0\nif most_text:\n    most = int(most_text)\nasked = os.getenv('WEB_CONCURRENCY', None)\ncores = multiprocessing.cpu_count()\n"
        "default = float(per_core_text) * cores\nif asked:\n    count = int(asked)\n    assert count > 0\nelse:\n    count = max(int(default), 2)\n"
        "    if most:\n        count = min(count, most)\nworkers = count\nbind = '0.0.0.0:80'\nprint(json.dumps({'workers': workers}))\n"
    ), 2, None, "processes-by-cores"),
    one("cores in a bind trick", "gunicorn.conf.py", "import os\nport = os.environ.get('PORT', '8000')\nbind = f'0.0.0.0:{port}'\nworkers = len(os.sched_getaffinity(0))\n", 1, None, "processes-by-cores"),
    one("lambda and ternary", "gunicorn.conf.py", "import os\nenv = lambda k, d: os.environ.get(k, d)\ndebug = env('DEBUG', '0') == '1'\nworkers = 1 if debug else 8\nbind = ':80'\n", 8, 8),
    one("raw_env names the store", "gunicorn.conf.py", "workers = 4\nraw_env = ['REDIS_URL=redis://cache:6379/1']\n", 4, 4, "several-processes"),
    one("decouple", "gunicorn.conf.py", "from decouple import config\nworkers = config('GUNICORN_WORKERS', default=3, cast=int)\n", 3, 3),
    one("ceil of half", "gunicorn.conf.py", "import math, multiprocessing as mp\nworkers = min(4, math.ceil(mp.cpu_count() / 2))\n", 1, 4),
    one("annotated and augmented", "gunicorn.conf.py", "workers: int = 2\nworkers += 1\nbind = ':1'\n", 3, 3),
    one("hooks do not matter", "gunicorn.conf.py", "import logging\nworkers = 2\ndef post_fork(server, worker):\n    logging.info('x')\nclass L: pass\non_starting = lambda s: None\n", 2, 2),
    case("the .env beside it", 7, 7, gunicorn__conf__py="bind = ':80'\nthreads = 1\n", __env="WEB_CONCURRENCY=7\n"),
]  # fmt: skip

COMMANDS = [
    one("short option glued", "start.sh", "#!/bin/sh\ngunicorn -w4 app:app\n", 4, 4),
    one("long option with equals", "run.sh", "#!/bin/bash\nset -e\npython manage.py migrate && exec gunicorn --workers=3 --threads=2 app.wsgi\n", 3, 3, "threads"),
    one("the last option wins", "start.sh", "gunicorn -w 2 -w 5 app:app\n", 5, 5),
    one("arguments in the environment", "start.sh", '#!/bin/sh\nexport GUNICORN_CMD_ARGS="--workers=6 --preload"\nexec gunicorn main:app\n', 6, 6, "preload"),
    one("command line beats the variable", "start.sh", "export GUNICORN_CMD_ARGS='-w 6'\ngunicorn -w 2 main:app\n", 2, 2),
    case("a file of settings", 5, 5, start__sh="#!/bin/sh\nexec gunicorn -c conf/prod.py main:app\n", conf___prod__py="bind = ':80'\nworkers = 5\n"),
    one("a file that was not given", "start.sh", "exec gunicorn -c /etc/app/prod.py main:app\n", 1, None, "workers-unknown"),
    one("twice the cores and one", "start.sh", "#!/bin/bash\nexec gunicorn -w $((2 * $(nproc) + 1)) main:app\n", 3, None, "processes-by-cores"),
    one("cores by getconf with a cap", "start.sh", "#!/bin/bash\nN=$(getconf _NPROCESSORS_ONLN)\nif [ $N -gt 8 ]; then N=8; fi\nuvicorn main:app --workers $N\n", 1, 8, "processes-by-cores"),
    one("cores by python", "start.sh", "W=$(python -c 'import os; print(os.cpu_count() * 2)')\nexec gunicorn --workers \"$W\" app:app\n", 2, None),
    one("expr", "start.sh", "W=$(expr 2 \\* $(nproc))\nexec gunicorn -w $W app:app\n", 2, None),
    one("assigned default", "start.sh", ': "${WORKERS:=3}"\nexec uvicorn main:app --workers $WORKERS\n', 3, 3, "workers-from-environment"),
    one("a variable that must be set", "start.sh", "exec uvicorn main:app --workers ${WORKERS:?set it}\n", 1, None, "workers-unknown"),
    one("by environment of the stage", "start.sh", 'if [ "$ENV" = production ]; then W=4; else W=1; fi\nexec gunicorn -w $W app:app\n', 1, 1),
    one("an unknown condition", "start.sh", "if curl -sf http://config/prod; then\n  exec gunicorn -w 4 app:app\nelse\n  exec gunicorn -w 2 app:app\nfi\n", 2, 4),
    one("case with a default", "start.sh", '#!/bin/sh\ncase "$1" in\n  worker) exec celery -A app worker -c 2 ;;\n  *) exec gunicorn -w 3 app:app ;;\nesac\n', 3, 3),
    one("a function", "start.sh", 'serve() {\n  exec gunicorn -w "$1" app:app\n}\nserve 3\n', 1, None),
    one("uvicorn reload", "dev.sh", "uvicorn main:app --reload --workers 4\n", 1, 1),
    one("uvicorn by its own variable", "start.sh", "export UVICORN_WORKERS=3\nuvicorn main:app --host 0.0.0.0\n", 3, 3),
    one("hypercorn", "start.sh", "hypercorn -w 3 -b :80 main:app\n", 3, 3),
    case("hypercorn with a file", 6, 6, start__sh="hypercorn --config hypercorn.toml main:app\n", hypercorn__toml="bind = ':80'\nworkers = 6\n"),
    one("granian", "start.sh", "granian --interface asgi --workers 5 main:app\n", 5, 5),
    one("daphne", "start.sh", "daphne -b 0.0.0.0 app.asgi:application\n", 1, 1),
    one("waitress", "start.sh", "waitress-serve --threads=8 --port=80 app:app\n", 1, 1, "threads"),
    one("fastapi dev", "start.sh", "fastapi dev main.py\n", 1, 1),
    one("python -m", "start.sh", "exec python3 -u -m gunicorn --workers 4 app:app\n", 4, 4),
    one("poetry run", "start.sh", "exec poetry run uvicorn main:app --workers 2\n", 2, 2),
    one("uv run", "start.sh", "exec uv run --frozen gunicorn main:app -w 4 -k uvicorn_worker.UvicornWorker\n", 4, 4),
    one("behind gosu and a tracer", "start.sh", "exec gosu app:app ddtrace-run gunicorn -w 3 app:app\n", 3, 3),
    one("waits first", "start.sh", "./wait-for-it.sh db:5432 -- gunicorn -w 2 app:app\n", 2, 2),
    one("web and celery from one script", "start.sh", "celery -A app worker --concurrency=2 &\nexec gunicorn -w 3 app:app\n", 5, 5, "task-workers"),
    one("uwsgi", "start.sh", "uwsgi --http :80 --module app:app --processes 4 --threads 2\n", 4, 4, "threads"),
    case("uwsgi with a file", 6, 6, start__sh="exec uwsgi --ini app.uwsgi.ini\n", app__uwsgi__ini="[uwsgi]\nmodule = app:app\nprocesses = 6\n"),
    case("one script runs another", 4, 4, entrypoint__sh='#!/bin/sh\nset -e\n./migrate.sh\nexec "$@"\n', Dockerfile='FROM x\nENTRYPOINT ["/entrypoint.sh"]\nCMD ["gunicorn", "-w", "4", "app:app"]\n'),
    one("installing is not serving", "install.sh", "pip install gunicorn uvicorn\nwhich gunicorn\nexec gunicorn -w 2 a:b\n", 2, 2),
]  # fmt: skip

IMAGES = [
    one("shell form with a default", "Dockerfile", "FROM python:3.12\nCMD gunicorn -w ${WORKERS:-3} app:app\n", 3, 3, "workers-from-environment"),
    one("ENV and shell form", "Dockerfile", "FROM python:3.12\nENV WORKERS=6 PORT=80\nCMD exec gunicorn --bind :$PORT --workers $WORKERS app:app\n", 6, 6),
    one("an exec form expands nothing", "Dockerfile", 'FROM python:3.12\nENV W=6\nCMD ["gunicorn", "-w", "$W", "app:app"]\n', 1, None),
    one("ENTRYPOINT and CMD", "Dockerfile", 'FROM python:3.12\nENTRYPOINT ["uvicorn", "main:app"]\nCMD ["--workers", "2"]\n', 2, 2),
    one("the last CMD counts", "Dockerfile", 'FROM python:3.12\nCMD ["gunicorn", "-w", "9", "a:b"]\nCMD ["gunicorn", "-w", "2", "a:b"]\n', 2, 2),
    one("the last stage counts", "Dockerfile", 'FROM python:3.12 AS base\nENV WEB_CONCURRENCY=5\nFROM node:20 AS ui\nCMD ["npm", "start"]\nFROM base\nCOPY --from=ui /x /y\nCMD ["gunicorn", "app:app"]\n', 5, 5),
    one("an ARG with a default", "Dockerfile", 'FROM python:3.12\nARG N=4\nENV WEB_CONCURRENCY=${N}\nCMD ["uvicorn", "main:app"]\n', 4, 4),
    one("sh -c", "Dockerfile", 'FROM python:3.12\nCMD ["sh", "-c", "alembic upgrade head && uvicorn main:app --workers ${W:-2}"]\n', 2, 2),
    one("over several lines", "Dockerfile", 'FROM python:3.12\nCMD [ \\\n  "gunicorn", \\\n  "--workers", "3", \\\n  "app:app" \\\n]\n', 3, 3),
    one("an image that starts by itself", "Dockerfile", "FROM tiangolo/uvicorn-gunicorn-fastapi:python3.11\nCOPY ./app /app\n", 2, None, "processes-by-cores"),
    one("a here-document", "Dockerfile", 'FROM python:3.12\nRUN <<EOF\nCMD nothing\nEOF\nCMD ["daphne", "app:app"]\n', 1, 1),
    one("one worker in a lower-case Containerfile", "Containerfile", 'from python:3.12\ncmd ["uvicorn", "main:app"]\n', 1, 1),
    case("the start script of the image", 3, 3, Dockerfile='FROM python:3.12\nCOPY . /app\nCMD ["/app/start.sh"]\n', start__sh="#!/bin/sh\nexec gunicorn -w 3 app:app\n"),
    case("a Python program that starts uvicorn", 4, 4, Dockerfile='FROM python:3.12\nCMD ["python", "main.py"]\n', main__py="import uvicorn\nif __name__ == '__main__':\n    uvicorn.run('main:app', workers=4)\n"),
]  # fmt: skip

UNITS = [
    one("environment of a unit", "web.service", '[Service]\nEnvironment=WORKERS=3 "X=a b"\nExecStart=/usr/bin/gunicorn -w ${WORKERS} app:app\n', 3, 3),
    case("a file of the environment", 5, 5, web__service="[Service]\nEnvironmentFile=-/etc/app/web.env\nExecStart=/srv/venv/bin/gunicorn app:app\n", web__env="WEB_CONCURRENCY=5\n"),
    Case("a drop-in", {"web.service": "[Service]\nExecStart=/usr/bin/gunicorn -w 2 app:app\n", "web.service.d/override.conf": "[Service]\nExecStart=\nExecStart=/usr/bin/gunicorn -w 8 app:app\n"}, 8, 8),
    one("a template", "web@.service", "[Service]\nExecStart=/usr/bin/uvicorn --port %i main:app\n", 1, None),
    one("a shell in a unit", "web.service", "[Service]\nExecStart=/bin/bash -c 'exec gunicorn -w $(( $(nproc) + 1 )) app:app'\n", 2, None, "processes-by-cores"),
    one("continued lines and a signal", "web.service", "[Service]\nType=notify\nExecStart=/opt/venv/bin/gunicorn \\\n    --workers 3 \\\n    app:app\nExecReload=/bin/kill -s HUP $MAINPID\n", 3, 3, "reload-forgets"),
    case("web and celery units", 6, 6, "task-workers", web__service="[Service]\nExecStart=/v/bin/gunicorn -w 4 a:b\n", celery__service="[Service]\nExecStart=/v/bin/celery -A a worker --concurrency 2\n"),
    one("a quadlet", "web.container", "[Container]\nImage=registry.example/web:2\nEnvironment=WEB_CONCURRENCY=3\nExec=gunicorn app:app\n", 3, 3),
]  # fmt: skip

PROCESS_TYPES = [
    one("a Procfile with a default", "Procfile", "release: python manage.py migrate\nweb: gunicorn app.wsgi --workers ${WEB_CONCURRENCY:-2}\n", 2, 2),
    case("a Procfile and its .env", 3, 3, Procfile="web: gunicorn main:app\n", __env="WEB_CONCURRENCY=3\nDEBUG=0\n"),
    one("a worker type", "Procfile", "web: uvicorn main:app --host=0.0.0.0 --port=${PORT:-5000} --workers 2\nworker: celery -A app worker -c 3\nbeat: celery -A app beat\n", 6, 6, "task-workers"),
    one("rq", "Procfile", "web: gunicorn -w 2 a:b\nworker: rq worker high default\n", 3, 3, "task-workers"),
    one("quotes in .env", "web.env", '# comment\nexport WEB_CONCURRENCY="4"\n', 4, 4, "workers-only-in-environment"),
    one("arguments in .env", "app.env", 'GUNICORN_CMD_ARGS="--bind=:80 --workers=3"\n', 3, 3),
    one("supervisor", "supervisord.conf", "[supervisord]\nnodaemon=true\n[program:web]\ncommand=gunicorn -w 2 app:app\nnumprocs=2\nprocess_name=%(process_num)d\n", 4, 4),
]  # fmt: skip

COMPOSE = [
    one("a default in braces", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    command: gunicorn -w ${W-3} app:app\n", 3, 3),
    one("must be set", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    command: gunicorn -w ${W:?say it} app:app\n    scale: 2\n", 2, None),
    case("the project's .env", 10, 10, compose__yaml='services:\n  web:\n    image: r.example/web\n    command: ["gunicorn", "-w", "${W}", "app:app"]\n    deploy:\n      replicas: ${R}\n', __env="W=5\nR=2\n"),
    case("image, .env file, gunicorn file and replicas", 12, 12, compose__yaml="services:\n  web:\n    build: .\n    env_file: [web.env]\n    deploy: {replicas: 3}\n", Dockerfile='FROM python:3.12\nCMD ["gunicorn", "-c", "gunicorn.conf.py", "app:app"]\n', gunicorn__conf__py="import os\nworkers = int(os.environ.get('N', 2))\n", web__env="N=4\n"),
    one("anchors and merge keys", "docker-compose.yml", "x-app: &app\n  image: r.example/app\n  environment: &env\n    WEB_CONCURRENCY: 2\nservices:\n  a:\n    <<: *app\n    command: gunicorn a:b\n  b:\n    <<: *app\n    environment:\n      <<: *env\n      WEB_CONCURRENCY: 3\n    command: gunicorn a:b\n", 5, 5),
    case("extends", 6, 6, compose__yaml="services:\n  web:\n    extends: {file: base.yaml, service: app}\n    scale: 2\n", base__yaml="services:\n  app:\n    image: r.example/app\n    command: uvicorn main:app --workers 3\n"),
    one("a shell in a command", "compose.yml", 'services:\n  web:\n    image: r.example/web\n    environment: ["N=4"]\n    command: sh -c "python manage.py migrate && gunicorn -w $$N app:app"\n', 4, 4),
    one("stores beside it count nothing", "compose.yaml", 'services:\n  web:\n    image: r.example/web\n    command: uvicorn main:app\n  db: {image: postgres:16}\n  cache: {image: "redis:7-alpine"}\n  proxy: {image: nginx}\n', 1, 1),
    one("celery beside it", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    command: gunicorn -w 2 a:b\n  worker:\n    image: r.example/web\n    command: celery -A a worker -c 4\n    scale: 2\n", 10, 10, "task-workers"),
    one("global mode", "stack.yml", "services:\n  web:\n    image: r.example/web\n    command: gunicorn -w 2 a:b\n    deploy: {mode: global}\n", 2, None),
    one("start-first", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    command: gunicorn -w 2 a:b\n    deploy: {replicas: 2, update_config: {order: start-first}}\n", 4, 6, "rollout-overlap"),
    case("an override file", 8, 8, docker_compose__yml="services:\n  web:\n    image: r.example/web\n    command: gunicorn -w 2 a:b\n", docker_compose__override__yml="services:\n  web:\n    command: gunicorn -w 8 a:b\n"),
    one("a random limit in the environment", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    environment: {RATE_LIMIT: 5/minute}\n    command: gunicorn -w 24 a:b\n    scale: 3\n", 72, 72, "limit-multiplied"),
    one("an image that nobody knows", "compose.yaml", "services:\n  web:\n    image: r.example/web\n    scale: 2\n", 2, None, "workers-unknown"),
]  # fmt: skip


def deployment(more="", replicas="3", command='["gunicorn", "-w", "4", "a:b"]', kind="Deployment", env=""):
    return (
        f"apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n{more}  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n"
        f"      containers:\n        - name: web\n          image: r.example/web:1\n          command: {command}\n{env}"
    )


HPA = "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec:\n  scaleTargetRef: {kind: Deployment, name: web}\n  minReplicas: 3\n  maxReplicas: 20\n"

KUBERNETES = [
    one("replicas times workers", "web.yaml", deployment(), 12, 12, "several-processes rollout-overlap", rollout=16),
    one("a stated surge", "web.yaml", deployment("  strategy: {rollingUpdate: {maxSurge: 1}}\n"), 12, 16, "rollout-overlap"),
    one("a surge in percent, rounded up", "web.yaml", deployment("  strategy:\n    type: RollingUpdate\n    rollingUpdate: {maxSurge: 50%}\n"), 12, 20, "rollout-overlap"),
    one("recreate", "web.yaml", deployment("  strategy: {type: Recreate}\n"), 12, 12, rollout=12),
    one("an autoscaler", "web.yaml", deployment() + HPA, 12, 80, "autoscaling", rollout=100),
    one("a StatefulSet", "web.yaml", deployment(kind="StatefulSet", replicas="2"), 8, 8, rollout=8),
    one("a DaemonSet", "web.yaml", deployment(kind="DaemonSet"), 4, None),
    one("a List", "all.yaml", "apiVersion: v1\nkind: List\nitems:\n" + "".join(f"  {line}\n" if index else f"- {line}\n" for index, line in enumerate(deployment().splitlines())), 12, 12),
    one("arguments with $(NAME)", "web.yaml", deployment(command='["gunicorn"]\n          args: ["-w", "$(N)", "a:b"]', env='          env: [{name: N, value: "5"}]\n'), 15, 15),
    one("a shell with a default", "web.yaml", deployment(command='["sh", "-c", "exec gunicorn -w ${N:-2} a:b"]'), 6, 6),
    one("a ConfigMap", "web.yaml", deployment(command='["gunicorn", "a:b"]', env="          envFrom: [{configMapRef: {name: c}}]\n") + '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {WEB_CONCURRENCY: "2"}\n', 6, 6),
    one("a Service without affinity", "web.yaml", deployment() + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n", 12, 12, "no-affinity"),
    one("a Service by address", "web.yaml", deployment() + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}, sessionAffinity: ClientIP}\n", 12, 12, "sticky-by-address sticky-to-many-workers"),
    one("a sidecar container", "web.yaml", deployment(env="        - name: proxy\n          image: envoyproxy/envoy:v1.30\n"), 12, 12),
    one("a CronJob", "cron.yaml", "apiVersion: batch/v1\nkind: CronJob\nmetadata: {name: sweep}\nspec:\n  schedule: '* * * * *'\n  jobTemplate: {spec: {template: {spec: {containers: [{name: a, image: r.example/a, command: [python, sweep.py]}]}}}}\n", 0, 1, "cron-overlaps"),
    case("the Dockerfile beside it", 9, 9, web__k8s__yaml=deployment().replace('          command: ["gunicorn", "-w", "4", "a:b"]\n', ""), Dockerfile='FROM python:3.12\nCMD ["uvicorn", "main:app", "--workers", "3"]\n'),
    one("JSON", "web.json", '{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "w"}, "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "w", "image": "r.example/w", "command": ["uvicorn", "a:b"]}]}}}}', 2, 2),
]  # fmt: skip

HELM = [
    one("replicas and workers", "values.yaml", "replicaCount: 3\nworkers: 4\nimage: {repository: r.example/web}\n", 12, 12),
    one("autoscaling on", "values.yaml", 'replicaCount: 1\nautoscaling: {enabled: true, minReplicas: 2, maxReplicas: 10}\nenv: {WEB_CONCURRENCY: "2"}\n', 4, 20, "autoscaling"),
    one("an environment list", "values-prod.yaml", 'replicaCount: 2\nenv:\n  - name: GUNICORN_WORKERS\n    value: "5"\n  - {name: REDIS_URL, value: "redis://r:6379/2"}\n', 10, 10),
    one("services by name", "values.yaml", 'web: {replicaCount: 2, command: [gunicorn, -w, "3", "a:b"]}\nworker: {replicaCount: 1, command: [celery, -A, a, worker, -c, "2"]}\nredis: {enabled: true, replica: {replicaCount: 3}}\n', 8, 8),
    case("values laid over values", 8, 8, values__yaml="replicaCount: 1\nworkers: 2\n", values_prod__yaml="replicaCount: 4\n"),
]  # fmt: skip

BALANCERS = [
    one("backup and down", "nginx.conf", "events {}\nhttp {\n upstream a { server 10.0.0.1:80 weight=3; server 10.0.0.2:80; server 10.0.0.3:80 backup; server 10.0.0.4:80 down; }\n server { location / { proxy_pass http://a; } }\n}\n", 2, 3),
    one("hash of a header", "nginx.conf", "upstream a { hash $http_x_principal_id consistent; server a:80; server b:80; }\n", 2, 2, "sticky-not-revocation"),
    one("least_conn", "lb.conf", "upstream a {\n least_conn;\n server a:80;\n server b:80;\n}\nserver { listen 80; location / { proxy_pass http://a; } }\n", 2, 2, "several-processes"),
    one("hash of the address", "nginx.conf", "upstream a { hash $remote_addr; server a:80; server b:80; }\n", 2, 2, "sticky-by-address"),
    case("an included upstream", 3, 3, nginx__conf="http {\n include upstreams/*.conf;\n}\n", upstreams___app__conf="upstream a { server a:1; server b:1; server c:1; }\n"),
    case("a unit behind it", 8, 8, web__service="[Service]\nExecStart=/v/bin/gunicorn -w 4 a:b\n", nginx__conf="upstream a { server 10.0.0.1:80; server 10.0.0.2:80; }\n"),
    one("mod_wsgi", "app.apache.conf", "WSGIDaemonProcess app processes=2 threads=15 python-home=/v\nWSGIProcessGroup app\nWSGIScriptAlias / /srv/app.wsgi\n", 2, 2, "threads"),
    one("mod_wsgi over two lines", "site.conf", "<VirtualHost *:80>\n  WSGIDaemonProcess app \\\n     processes=3\n  WSGIScriptAlias / /srv/app.wsgi process-group=app\n</VirtualHost>\n", 3, 3),
    one("mod_wsgi without a daemon", "wsgi.conf", "WSGIScriptAlias / /srv/app.wsgi\n", 1, None),
]  # fmt: skip

STORES = [
    one("volatile-lru", "redis.conf", "maxmemory 64mb\nmaxmemory-policy volatile-lru\nappendonly yes\n", 0, 0, "redis-evicts"),
    one("nothing on disk", "redis.conf", 'save ""\nappendonly no\n', 0, 0, "redis-not-durable"),
    one("a cluster", "redis-node.conf", "cluster-enabled yes\nappendonly yes\nappendfsync always\n", 0, 0, "redis-asynchronous"),
    one("a command in compose", "compose.yaml", "services:\n  web: {image: r.example/w, command: uvicorn a:b}\n  r:\n    image: valkey/valkey:8\n    command: valkey-server --maxmemory-policy allkeys-lfu --save '' --appendonly no\n", 1, 1, "redis-evicts redis-not-durable"),
]  # fmt: skip

SOURCES = [
    one("a limiter in memory", "app.py", "from slowapi import Limiter\nlimiter = Limiter(key_func=str)\n@limiter.limit('5/minute')\ndef f(request): ...\n", 1, None, "limiter-in-memory limit-multiplied"),
    one("a deny list", "auth.py", "REVOKED = set()\ndef revoke(t): REVOKED.add(t)\n", 1, None, "revocations-in-memory"),
    one("sessions", "s.py", "from collections import defaultdict\nsessions: dict = defaultdict(dict)\nasync def f(k): sessions[k]['a'] = 1\n", 1, None, "registry-in-memory"),
    one("a random key", "settings.py", "import os, secrets\nSECRET_KEY = os.environ.get('SECRET_KEY') or secrets.token_hex(32)\n", 1, None, "random-secret"),
    one("a scheduler at import", "jobs.py", "from apscheduler.schedulers.background import BackgroundScheduler\ns = BackgroundScheduler()\ns.start()\n", 1, None, "scheduler-in-process"),
    one("LocMemCache", "settings.py", "CACHES = {'default': {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}}\n", 1, None, "locmem-cache"),
    one("SQLite", "db.py", "from sqlalchemy import create_engine\ne = create_engine('sqlite:///app.db')\n", 1, None, "sqlite-several"),
    one("weaver_kernel with default stores", "k.py", "from weaver_kernel import Kernel, HMACTokenProvider, CapabilityRegistry\nk = Kernel(registry=CapabilityRegistry(), token_provider=HMACTokenProvider())\n", 1, None, "weaver-default-stores"),
    one("a lock around a shared count", "l.py", "import asyncio\nlock = asyncio.Lock()\nasync def f(redis, k):\n    async with lock:\n        n = await redis.get(k)\n        await redis.set(k, int(n) + 1)\n", 1, None, "lock-per-process"),
    one("the client's clock", "c.py", "import time\nasync def f(r, k):\n    now = time.time()\n    await r.zadd(k, {str(now): now})\n", 1, None, "client-clock"),
    one("metrics", "m.py", "from prometheus_client import make_asgi_app\napp = make_asgi_app()\n", 1, None, "metrics-per-process"),
    one("a cached check", "c.py", "from functools import lru_cache\n@lru_cache\ndef is_revoked(t): return False\n", 1, None, "revocation-cached"),
    one("a leader by file", "l.py", "from filelock import FileLock\nlock = FileLock('/tmp/leader')\n", 1, None, "file-lock-leader"),
    one("MCP sessions", "mcp_server.py", "from mcp.server.fastmcp import FastMCP\nmcp = FastMCP('x')\napp = mcp.streamable_http_app()\n", 1, None, "mcp-sessions"),
    one("Socket.IO", "s.py", "import socketio\nsio = socketio.AsyncServer(async_mode='asgi')\n", 1, None, "socketio-alone"),
    one("an audit chain", "t.py", "from weaver_kernel import JsonlTraceStore\nt = JsonlTraceStore('a.jsonl')\n", 1, None, "audit-chain-forks"),
    one("gunicorn's own application class", "serve.py", "from gunicorn.app.base import BaseApplication\nimport multiprocessing\nclass A(BaseApplication): ...\nif __name__ == '__main__':\n    options = {'bind': ':80', 'workers': multiprocessing.cpu_count() + 1}\n    A(None, options).run()\n", 2, None, "processes-by-cores"),
    case("a limit times the processes", 8, 8, "limit-multiplied limiter-in-memory", app__py="from flask_limiter import Limiter\nlimiter = Limiter(str, default_limits=['2 per minute'])\n", start__sh="exec gunicorn -w 8 app:app\n"),
]  # fmt: skip

CASES = [
    *GUNICORN, *COMMANDS, *IMAGES, *UNITS, *PROCESS_TYPES, *COMPOSE, *KUBERNETES, *HELM, *BALANCERS, *STORES, *SOURCES,
]  # fmt: skip

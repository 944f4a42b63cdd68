"""Right configurations: one process, shared stores done right, sticky routing done right. None of them may raise a warning."""

from dialects import deployment

ONE_PROCESS = {
    "gunicorn with one worker": {"gunicorn.conf.py": "workers = 1\nbind = ':80'\nworker_class = 'uvicorn_worker.UvicornWorker'\n"},
    "gunicorn from the command line": {"start.sh": "#!/bin/sh\nset -eu\nexec gunicorn -w 1 main:app\n"},
    "uvicorn": {"start.sh": "#!/bin/sh\nexec uvicorn main:app --host 0.0.0.0\n"},
    "an image with one process": {"Dockerfile": 'FROM python:3.12\nCOPY . /srv\nCMD ["fastapi", "run", "main.py"]\n'},
    "a unit with one worker": {"web.service": "[Service]\nExecStart=/v/bin/gunicorn -w 1 a:b\nExecReload=/bin/kill -HUP $MAINPID\n"},
    "compose with one process": {"compose.yaml": "services:\n  web: {image: r.example/w, command: uvicorn a:b}\n  db: {image: postgres:16}\n"},
    "one pod": {"web.yaml": deployment(replicas="1", command='["uvicorn", "a:b"]')},
    "one pod that is recreated": {"web.yaml": deployment("  strategy: {type: Recreate}\n", "1", '["gunicorn", "-w", "1", "a:b"]')},
    "a StatefulSet of one": {"web.yaml": deployment(kind="StatefulSet", replicas="1", command='["uvicorn", "a:b"]')},
    "values of one replica": {"values.yaml": "replicaCount: 1\nautoscaling: {enabled: false, minReplicas: 1, maxReplicas: 100}\n"},
    "a Procfile with one process": {"Procfile": "web: uvicorn main:app --port $PORT --workers 1\n"},
    "mod_wsgi with one process and one thread": {"wsgi.conf": "WSGIDaemonProcess a processes=1 threads=1\nWSGIScriptAlias / /a.wsgi\n"},
    "waitress": {"start.sh": "waitress-serve --port=80 a:b\n"},
    "daphne in a unit": {"web.service": "[Service]\nExecStart=/v/bin/daphne a.asgi:application\n"},
    "a deny list in one process": {"app.py": "REVOKED = set()\ndef revoke(t): REVOKED.add(t)\n", "start.sh": "exec uvicorn app:app\n"},
}  # fmt: skip

SHARED = {
    "four workers on Redis": {"gunicorn.conf.py": "workers = 4\nraw_env = ['REDIS_URL=redis://cache:6379/1']\n"},
    "a unit on Redis": {"web.service": "[Service]\nEnvironment=REDIS_URL=redis://10.0.0.1/2\nExecStart=/v/bin/gunicorn -w 4 a:b\nExecReload=/bin/kill -HUP $MAINPID\n"},
    "compose with a durable Redis": {
        "compose.yaml": 'services:\n  web:\n    image: r.example/w\n    command: gunicorn -w 4 a:b\n    environment: {REDIS_URL: "redis://r:6379/1"}\n    deploy: {replicas: 3}\n'
        "  r:\n    image: redis:7\n    command: redis-server --maxmemory 1gb --maxmemory-policy noeviction --appendonly yes --appendfsync always\n"
    },
    "compose with a plain Redis": {
        "compose.yaml": 'services:\n  web: {image: r.example/w, command: gunicorn -w 4 a:b, environment: ["REDIS_URL=redis://r:6379/1"]}\n  r: {image: "redis:7"}\n'
    },
    "pods on a required secret": {
        "web.yaml": deployment(env="          env: [{name: REDIS_URL, valueFrom: {secretKeyRef: {name: r, key: url}}}]\n")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n"
    },
    "values on Redis": {"values.yaml": 'replicaCount: 3\nworkers: 4\nenv: {REDIS_URL: "redis://r:6379/1"}\n'},
    "autoscaling on Redis": {
        "values.yaml": 'autoscaling: {enabled: true, minReplicas: 2, maxReplicas: 9}\nenv: {WEB_CONCURRENCY: "2", REDIS_URL: "rediss://r:6380/1"}\n'
    },
    "a redis.conf that keeps everything": {"redis.conf": "maxmemory 2gb\nmaxmemory-policy noeviction\nappendonly yes\nappendfsync everysec\nsave 900 1\n"},
    "a limiter on Redis": {"app.py": "from slowapi import Limiter\nlimiter = Limiter(str, default_limits=['5/minute'], storage_uri='redis://c:6379/3')\n"},
    "Flask's limiter on Redis, 8 workers": {
        "app.py": "from flask_limiter import Limiter\nlimiter = Limiter(str, default_limits=['5 per minute'], storage_uri='redis://c:6379/3')\n", "start.sh": "exec gunicorn -w 8 app:app\n"
    },
    "web and celery on Redis": {
        "compose.yaml": 'x: &e {REDIS_URL: "redis://r:6379/1", CELERY_BROKER_URL: "redis://r:6379/0"}\nservices:\n  web: {image: r.example/w, command: gunicorn -w 2 a:b, environment: *e}\n'
        "  worker: {image: r.example/w, command: celery -A a worker -c 2, environment: *e}\n  beat: {image: r.example/w, command: celery -A a beat, environment: *e}\n"
    },
    "a key from the environment": {"settings.py": "import os\nSECRET_KEY = os.environ['SECRET_KEY']\nCACHES = {'default': {'BACKEND': 'django_redis.cache.RedisCache', 'LOCATION': 'redis://c/1'}}\n"},
    "weaver_kernel with shared stores": {
        "k.py": "from weaver_kernel import Kernel, HMACTokenProvider\ndef build(s, registry):\n    return Kernel(registry=registry, token_provider=HMACTokenProvider(revocation_store=s.revocations), "
        "handle_store=s.handles, trace_store=s.traces, budget_manager=s.budget)\n"
    },
    "the lab's SQLite on one host": {"web.service": "[Service]\nEnvironment=LAB_STATE=sqlite:////var/lib/lab/state.db\nExecStart=/v/bin/gunicorn -w 4 a:b\n"},
    "metrics of several processes": {"m.py": "from prometheus_client import CollectorRegistry, generate_latest, multiprocess\ndef m():\n    r = CollectorRegistry()\n    multiprocess.MultiProcessCollector(r)\n    return generate_latest(r)\n"},
    "MCP without sessions": {"s.py": "from mcp.server.fastmcp import FastMCP\nmcp = FastMCP('x', stateless_http=True)\napp = mcp.streamable_http_app()\n"},
    "a scheduler behind its own main": {"jobs.py": "from apscheduler.schedulers.blocking import BlockingScheduler\nif __name__ == '__main__':\n    s = BlockingScheduler()\n    s.start()\n"},
    "constants are no registry": {"c.py": "LIMITS = {'a': 1}\nALLOWED = {'x'}\ntokens = []\ndef f(): return LIMITS['a'], tokens\n"},
}  # fmt: skip

STICKY = {
    "nginx on the principal, one worker each": {"nginx.conf": "upstream a {\n hash $http_x_principal_id consistent;\n server a:80;\n server b:80;\n}\n"},
    "nginx by cookie": {"nginx.conf": "upstream a {\n sticky cookie srv expires=1h;\n server a:80;\n server b:80;\n}\n"},
    "an ingress by cookie, one worker in each pod": {
        "web.yaml": deployment(replicas="2", command='["uvicorn", "a:b"]')
        + "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web, annotations: {nginx.ingress.kubernetes.io/affinity: cookie}}\nspec: {}\n"
        "---\napiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {selector: {app: web}}\n"
    },
    "one server behind nginx": {"nginx.conf": "upstream a { server unix:/run/app.sock; }\nserver { location / { proxy_pass http://a; } }\n", "start.sh": "exec uvicorn a:b\n"},
}  # fmt: skip

RIGHT = {**ONE_PROCESS, **SHARED, **STICKY}

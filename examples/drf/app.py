"""A Django REST framework view that its throttle limits to five requests in four seconds for each user."""

import os

from django.conf import settings
from worker_header import WorkerWSGI

STORE = os.environ.get("STORE")
settings.configure(
    SECRET_KEY="an example has no secrets",  # noqa: S106
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    CACHES={
        "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": STORE}
        if STORE
        else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    },
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []},
)

import django  # noqa: E402

django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.throttling import SimpleRateThrottle  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class FiveInFourSeconds(SimpleRateThrottle):
    """The framework's own throttle, with a short window."""

    rate = "5/4s"

    def parse_rate(self, rate: str) -> tuple[int, int]:  # noqa: ARG002
        """The framework's own rates have windows of 1 s, 60 s, an hour or a day."""
        return 5, 4

    def get_cache_key(self, request: Request, view: APIView) -> str:  # noqa: ARG002
        """Each user has a window."""
        return f"throttle-{request.headers.get('X-User', 'nobody')}"


class Quote(APIView):
    """What is limited."""

    throttle_classes = (FiveInFourSeconds,)

    def get(self, request: Request) -> Response:  # noqa: ARG002
        """A quote."""
        return Response({"quote": "Five in four seconds."})


class Health(APIView):
    """A route that is not limited."""

    def get(self, request: Request) -> Response:  # noqa: ARG002
        """Up."""
        return Response({"up": True})


urlpatterns = [path("quote", Quote.as_view()), path("health", Health.as_view())]
app = WorkerWSGI(get_wsgi_application())

"""A FastAPI route behind fastapi-limiter, with a bucket of pyrate-limiter for each user."""

import os

from fastapi import Depends, FastAPI, Request
from fastapi_limiter.depends import RateLimiter
from pyrate_limiter import BucketFactory, InMemoryBucket, Limiter, Rate, RateItem, RedisBucket
from pyrate_limiter.abstracts import AbstractBucket
from redis import Redis
from worker_header import WorkerASGI

FIVE = [Rate(5, 4000)]


class BucketPerUser(BucketFactory):
    """One bucket for each key."""

    def __init__(self, store: str) -> None:
        self.redis = Redis.from_url(store) if store else None
        self.buckets: dict[str, AbstractBucket] = {}
        self.clock = InMemoryBucket(FIVE)

    def wrap_item(self, name: str, weight: int = 1) -> RateItem:
        """The item at this instant."""
        return RateItem(
            name, self.clock.now() if self.redis is None else self.bucket(name).now(), weight=weight
        )

    def get(self, item: RateItem) -> AbstractBucket:
        """The bucket of the item's key."""
        return self.bucket(item.name)

    def bucket(self, name: str) -> AbstractBucket:
        """The bucket of a key, made when it is asked for."""
        if name not in self.buckets:
            made = InMemoryBucket(FIVE) if self.redis is None else RedisBucket.init(FIVE, self.redis, name)
            self.buckets[name] = made
        return self.buckets[name]


async def user(request: Request) -> str:
    """Who asks."""
    return request.headers.get("X-User", "nobody")


limiter = Limiter(BucketPerUser(os.environ.get("STORE", "")))
app = FastAPI()
app.add_middleware(WorkerASGI)


@app.get("/quote", dependencies=[Depends(RateLimiter(limiter, identifier=user))])
async def quote() -> dict[str, str]:
    """What is limited."""
    return {"quote": "Five in four seconds."}

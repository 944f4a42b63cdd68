from slowapi import Limiter
from slowapi.util import get_remote_address

limiter = Limiter(
    get_remote_address,
    default_limits=["60/minute"],
    storage_uri="redis://cache:6379",
    in_memory_fallback_enabled=True,
)

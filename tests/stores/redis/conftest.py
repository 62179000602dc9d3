"""What the tests of `RedisStore` share."""

import pytest
from support.redis_stores import close_opened


@pytest.fixture(autouse=True)
def _stores_are_closed():
    yield
    close_opened()

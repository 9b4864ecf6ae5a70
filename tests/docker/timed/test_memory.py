"""The memory of the production container while it handles many requests."""

from itertools import pairwise

import pytest

from tests.support.docker import HARDENED, Image, Load, container
from tests.support.template import DEFAULTS
from tools.measuring import memory

WARM_UP, STEP, STEPS = 2000, 5000, 4
# A leak of 100 bytes a request would add 1.5 MB in three steps.
GROWTH = 1.0
# In one of the steps, the memory may grow further: a worker of Gunicorn stops sharing pages with the main process.
ONCE = 8.0


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "server"), DEFAULTS.items())
def test_memory_stays_the_same_over_20000_requests(framework: str, server: str, image: Image) -> None:
    with container(
        image(framework=framework, server=server), *HARDENED, "--memory=256m", "--env=WEB_CONCURRENCY=1"
    ) as service:
        service.get("/health")
        used = []
        for count in (WARM_UP, *[STEP] * STEPS):
            load = Load(service.port)
            load.start(count)
            assert load.finish() == {"200": count}, service.logs()[-3000:]
            used.append(memory(service.id))
        *others, largest = sorted(after - before for before, after in pairwise(used))
        assert sum(others) < GROWTH, used
        assert largest < ONCE, used

"""The memory of the production container while it handles many requests."""

import pytest

from tests.support.docker import HARDENED, Image, Load, container
from tests.support.template import DEFAULTS
from tools.measuring import memory

# The memory of Gunicorn grows once by 6 MB during the first 20,000 requests.
WARM_UP, REQUESTS = 20_000, 20_000
# In MB. A leak of 100 bytes a request would add 2 MB.
GROWTH = 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "server"), DEFAULTS.items())
def test_memory_stays_the_same_over_20000_requests(framework: str, server: str, image: Image) -> None:
    with container(
        image(framework=framework, server=server), *HARDENED, "--memory=256m", "--env=WEB_CONCURRENCY=1"
    ) as service:
        service.get("/health")
        used = []
        for count in (WARM_UP, REQUESTS):
            load = Load(service.port)
            load.start(count)
            assert load.finish() == {"200": count}, service.logs()[-3000:]
            used.append(memory(service.id))
        assert used[1] - used[0] < GROWTH, used

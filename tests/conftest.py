"""What several test files share."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.benches import bench_setting, harbour  # noqa: F401 - fixtures
from tests.rerankers import loads  # noqa: F401 - a fixture

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(scope="session")
def collections():
    """Folder of real collections in the BEIR layout, named by the environment variable PRORANK_DATA."""
    folder = os.environ.get("PRORANK_DATA")
    if not folder:
        pytest.skip("PRORANK_DATA does not name a folder of collections")
    return Path(folder)

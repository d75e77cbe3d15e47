from __future__ import annotations

from tests.ci.conftest import index, private_index, python, small, uv  # noqa: F401 - fixtures
from tests.e2e.conftest import stage  # noqa: F401 - a fixture

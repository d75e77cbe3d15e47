from __future__ import annotations

from tests.e2e.conftest import stage  # noqa: F401 - a fixture

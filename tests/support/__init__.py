"""Code that several tests share."""

import pytest

# Show the compared values when an assertion in these modules fails, as in tests.
pytest.register_assert_rewrite("tests.support.adopters", "tests.support.updates")

"""Code that several tests share."""

import pytest

# Failed asserts of these modules show the compared values, as those of tests do.
pytest.register_assert_rewrite("tests.support.adopters", "tests.support.updates")

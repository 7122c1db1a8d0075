"""The clauses of the contract say what differed, like tests do."""

import pytest

pytest.register_assert_rewrite("greenroom.stores.contract")

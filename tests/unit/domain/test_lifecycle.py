"""The life of a batch, stated a second time by hand so that the table is not its own oracle."""

from itertools import product

import pytest

from slackwater.domain.lifecycle import TABLE, TERMINAL, after, allowed_from

STATES = ("in_progress", "canceling", "ended")
TRIGGERS = ("cancel", "finish", "archive", "delete")
ACCEPTED = {
    ("in_progress", "cancel", "canceling"),
    ("in_progress", "finish", "ended"),
    ("canceling", "cancel", "canceling"),
    ("canceling", "finish", "ended"),
    ("ended", "archive", "ended"),
    ("ended", "delete", "gone"),
}


@pytest.mark.parametrize(("state", "trigger"), list(product(STATES, TRIGGERS)))
def test_every_pair_of_state_and_trigger_does_what_the_contract_says(state: str, trigger: str) -> None:
    """Contract §5: what is not listed is refused; no way leads out of `ended` but deletion (S3)."""
    expected = next((to for known, by, to in ACCEPTED if (known, by) == (state, trigger)), None)
    assert after(state, trigger) == expected


def test_the_table_has_no_other_rows() -> None:
    """A row that nobody stated here would be a rule nobody asked for."""
    assert {(state, trigger, to) for (state, trigger), to in TABLE.items()} == ACCEPTED
    assert frozenset({"ended"}) == TERMINAL


def test_guards_are_the_states_from_which_a_trigger_is_accepted() -> None:
    """C4: cancel is idempotent; a batch in any other state than ended cannot be deleted."""
    assert allowed_from("cancel") == {"in_progress", "canceling"}
    assert allowed_from("finish") == {"in_progress", "canceling"}
    assert allowed_from("delete") == {"ended"}

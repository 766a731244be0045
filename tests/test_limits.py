"""How many clients fit into a number of descriptors: at the limit, and one above."""

from loadgen.machine.limits import (
    OWN_DESCRIPTORS,
    SERVER_DESCRIPTORS,
    beyond_descriptor_limit,
    lack_of_descriptors,
)


def test_a_process_holds_clients_beside_what_it_needs_for_itself() -> None:
    assert lack_of_descriptors(1000, 1000 + OWN_DESCRIPTORS) is None
    assert lack_of_descriptors(1001, 1000 + OWN_DESCRIPTORS) == (
        "needs 1,065 descriptors and the limit is 1,064: raise `ulimit -Hn`"
    )


def test_a_model_holds_clients_up_to_its_own_limit() -> None:
    """The 1,008 clients that select was measured with fit."""
    assert beyond_descriptor_limit(1008, 1024) is None
    assert beyond_descriptor_limit(1024 - SERVER_DESCRIPTORS, 1024) is None
    assert beyond_descriptor_limit(1025 - SERVER_DESCRIPTORS, 1024) == ("no descriptor beyond 1023")


def test_a_model_without_a_limit_of_its_own_holds_all() -> None:
    assert beyond_descriptor_limit(10**9, None) is None

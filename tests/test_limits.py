"""How many clients fit into a number of descriptors: at the limit, and one above."""

from loadgen.machine.limits import OWN_DESCRIPTORS, lack_of_descriptors


def test_a_process_holds_clients_beside_what_it_needs_for_itself() -> None:
    assert lack_of_descriptors(1000, 1000 + OWN_DESCRIPTORS) is None
    assert lack_of_descriptors(1001, 1000 + OWN_DESCRIPTORS) == (
        "needs 1,065 descriptors and the limit is 1,064: raise `ulimit -Hn`"
    )

"""How many descriptors a process may have, and how many clients it can hold with them."""

import resource

# What a process needs besides one descriptor per client: standard streams, files, pollers, the
# pipes of the programs that it starts. Plenty: the limit can be raised, and a trial that runs into
# it is lost. The limit that is built into a model is another matter (servers/catalog.py, serves).
OWN_DESCRIPTORS = 64


def raise_descriptor_limit() -> int:
    """Raise our soft limit to the hard one, for the servers too; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def lack_of_descriptors(clients: int, limit: int) -> str | None:
    """Why a process of `limit` descriptors (RLIMIT_NOFILE) cannot hold so many clients, in words;
    None if it can."""
    needed = clients + OWN_DESCRIPTORS
    if needed <= limit:
        return None
    return f"needs {needed:,} descriptors and the limit is {limit:,}: raise `ulimit -Hn`"

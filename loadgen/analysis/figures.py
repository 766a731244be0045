"""The figures of a run, for other programs: every cell, with its intervals."""

from typing import Any

from loadgen.analysis.estimate import MINIMUM_BLOCKS
from loadgen.analysis.run import Run


def figures(run: Run) -> list[dict[str, Any]]:
    """One entry per cell, in the order of the plan; names of figures carry their units.

    There is no interval of fewer than three trials, and no figure without a valid one.
    """
    return [
        {
            "cell": data.cell.id,
            "experiment": data.cell.experiment,
            "server": data.cell.server,
            "workload": data.cell.workload.as_record(),
            "options": list(data.cell.options),
            "python": data.cell.python,
            "heap": data.cell.heap,
            "replica": data.cell.replica,
            "trials": len(data.records),
            "valid": len(data.valid),
            "served": data.first["connections"]["greeted"],
            "clients": data.first["connections"]["attempted"],
            "figures": {
                metric.name: {
                    "value": found.value,
                    "low": found.low if found.n >= MINIMUM_BLOCKS else None,
                    "high": found.high if found.n >= MINIMUM_BLOCKS else None,
                    "n": found.n,
                }
                for metric in dict.fromkeys(
                    (data.cell.workload.headline, *data.cell.workload.metrics)
                )
                if (found := data.over_blocks(metric)) is not None
            },
        }
        for data in run.cells.values()
    ]

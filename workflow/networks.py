"""Paper A's tables for each of its four networks, in one file: a script of the Snakefile."""

from pathlib import Path

import pandas as pd

from crackutils.papers import crack_tables
from crackutils.papers.source import reading_source

job = snakemake  # noqa: F821 (Snakemake provides it)


def main() -> None:
    """Write Tables 1 and 4 to 7, which hold all trainings, with the network of each row, and the
    figures of each training at the threshold chosen on the validation part (table `own`)."""
    given, tables = job.params.parameters, []
    for network in job.params.networks:
        source = reading_source(given["protocol"], "cracks", given["data"], given["runs"], "",
                                given.get("seeds", [0]), given.get("overrides", {}) | network)
        for number in (1, 4, 5, 6, 7):
            table = crack_tables.crack_table(number, source)
            tables.append(table.assign(table=number, **network))
        own = crack_tables.at_validation_thresholds(source)
        tables.append(own[own["loss"] != "bce"].assign(table="own", **network))
    pd.concat(tables).to_csv(Path(job.output[0]), index=False)


main()

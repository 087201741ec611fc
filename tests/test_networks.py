"""The tables of the whole grid, which a script of the Snakefile makes from records."""

import runpy
from types import SimpleNamespace

import pandas as pd

from crackutils.files import ROOT
from crackutils.papers import published
from workflow import plan


def test_every_row_of_every_network_is_there_also_without_a_record(tmp_path):
    parameters = {"protocol": "smoke", "data": "synthetic", "runs": str(tmp_path)}
    job = SimpleNamespace(output=[str(tmp_path / "networks.csv")], params=SimpleNamespace(
        parameters=parameters, networks=plan.NETWORKS))
    runpy.run_path(str(ROOT / "workflow" / "networks.py"), {"snakemake": job})
    table = pd.read_csv(tmp_path / "networks.csv")
    rows = sum(len(published.table(number)) for number in (1, 4, 5, 6, 7))
    own = table[table["table"] == "own"]
    assert len(own) == 4 * 17 and len(table) == 4 * (rows + 17) and table["f1_score"].isna().all()
    assert len(table[["levels", "kernel"]].drop_duplicates()) == 4

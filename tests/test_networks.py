"""The tables of the whole grid, which a script of the Snakefile makes from records."""

import runpy
from types import SimpleNamespace

import pandas as pd
from tiny_records import write_record

from crackutils.files import ROOT
from crackutils.papers import published
from crackutils.records import records_folder
from workflow import plan


def test_a_record_fills_the_rows_of_its_network_and_all_others_are_there_empty(tmp_path):
    parameters = {"protocol": "smoke", "data": "synthetic", "runs": str(tmp_path),
                  "overrides": {"precision": "float32"}}
    write_record(records_folder(tmp_path, "smoke", "synthetic"), levels=5, kernel=7)
    job = SimpleNamespace(output=[str(tmp_path / "networks.csv")], params=SimpleNamespace(
        parameters=parameters, networks=plan.NETWORKS))
    runpy.run_path(str(ROOT / "workflow" / "networks.py"), {"snakemake": job})
    table = pd.read_csv(tmp_path / "networks.csv")
    rows = sum(len(published.table(number)) for number in (1, 4, 5, 6, 7))
    own = table[table["table"] == "own"]
    assert len(own) == 4 * 17 and len(table) == 4 * (rows + 17)
    filled = table[table["f1_score"].notna()]
    assert len(filled) == len(published.table(1)) + 1
    assert set(zip(filled["loss"], filled["levels"], filled["kernel"])) == {("mse", 5, 7)}
    assert len(table[["levels", "kernel"]].drop_duplicates()) == 4

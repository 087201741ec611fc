"""Which notebooks the pipeline executes, in which order, with which parameters."""

from dataclasses import dataclass, replace
from pathlib import Path

import papermill

from crackutils import files
from crackutils.data.layouts import recognise
from crackutils.papers import crack_tables, road_tables
from crackutils.protocol import preset

CRACK_LOSSES = ("mse", "bce", "balanced_step", "squared_balanced_step", "step", "relu")
FIGURE_8 = [{"levels": levels, "kernel": kernel} for levels in (4, 5) for kernel in (5, 7)]
NOTEBOOKS = files.ROOT / "notebooks"


@dataclass(frozen=True)
class Stage:
    """A notebook with its parameters; `name` is the executed notebook's."""

    name: str
    notebook: str
    parameters: dict
    dataset: str
    trainings: int = 0  # the stages that only read wait for those that train


def stages(protocol: str, cracks: str, roads: str, shared: dict) -> list[Stage]:
    """All stages in order; `shared` goes to every notebook that has such a parameter."""
    crack_data, road_data = dataset_name(cracks), dataset_name(roads)
    both = {"data": cracks, "roads": roads}
    chosen = [Stage("01_data", "01_data", both, crack_data),
              Stage("02_losses_by_hand", "02_losses_by_hand", {}, crack_data),
              *crack_trainings(protocol, cracks, shared),
              Stage("05_threshold_sweeps", "05_threshold_sweeps", {"data": cracks}, crack_data),
              *road_trainings(protocol, roads, shared),
              Stage("07_drivable_area", "07_drivable_area", {"data": roads}, road_data),
              Stage("08_figures", "08_figures", both, crack_data)]
    given = {"protocol": protocol, **shared}
    return [replace(stage, parameters=known(stage.notebook, given) | stage.parameters)
            for stage in chosen]


def crack_trainings(protocol: str, cracks: str, shared: dict) -> list[Stage]:
    """Notebook 03 for each family, and for Fig. 8's networks where there are pictures to draw."""
    seeds, overrides = shared.get("seeds", [0]), shared.get("overrides") or {}
    families = [Stage(f"04_train_cracks-{loss}", "04_train_cracks",
                      {"data": cracks, "loss": loss, "weights": []}, dataset_name(cracks),
                      trainings=len(seeds) * len(crack_tables.published_weights(loss)))
                for loss in CRACK_LOSSES]
    networks = [Stage(f"04_train_cracks-figure8-{fields['levels']}x{fields['kernel']}",
                      "04_train_cracks", {"data": cracks, "loss": "relu", "weights": [0.97],
                                          "seeds": seeds[:1], "overrides": overrides | fields},
                      dataset_name(cracks), trainings=1)
                for fields in FIGURE_8
                if cracks == "synthetic" and beyond(protocol, overrides, fields)]
    return families + networks


def road_trainings(protocol: str, roads: str, shared: dict) -> list[Stage]:
    """Notebook 05 for each family of paper B's losses, and, where direct and alternative area can
    be told apart, BCE for direct area alone and cross entropy for three classes."""
    seeds, overrides = len(shared.get("seeds", [0])), shared.get("overrides") or {}
    rows = [row.loss for row in road_tables.paper_rows(preset(protocol, "roads", overrides))]
    stages = [Stage(f"07_drivable_area-{loss}", "07_drivable_area", {"data": roads, "loss": loss},
                    dataset_name(roads), trainings=seeds * rows.count(loss))
              for loss in dict.fromkeys(rows)]
    if roads != "synthetic" and len(recognise(Path(roads), overrides.get("layout", "auto"))
                                    .positive) != 2:
        return stages
    return stages + [Stage(f"07_drivable_area-{classes}", "07_drivable_area",
                           {"data": roads, "loss": loss, "overrides": overrides | fields},
                           dataset_name(roads), trainings=seeds)
                     for classes, loss, fields in (
                         ("direct", "bce", {"classes": "direct"}),
                         ("three", "cross_entropy", {"classes": "three", "output": "sigmoid"}))
                     if "classes" not in overrides]


def beyond(protocol: str, overrides: dict, fields: dict) -> bool:
    """Whether these fields are other than the protocol's own: its own runs are made anyway."""
    return preset(protocol, "cracks", overrides | fields) != preset(protocol, "cracks", overrides)


def known(notebook: str, given: dict) -> dict:
    """Those of the given parameters that the notebook has."""
    names = parameter_names(notebook)
    return {name: value for name, value in given.items() if name in names}


def parameter_names(notebook: str) -> set[str]:
    """The names in a notebook's `parameters` cell."""
    return set(papermill.inspect_notebook(str(NOTEBOOKS / f"{notebook}.ipynb")))


def check_parameters(plan: list[Stage], shared: dict) -> None:
    """Refuse a parameter that no notebook has: papermill itself would only warn."""
    names = {notebook: parameter_names(notebook) for notebook in {s.notebook for s in plan}}
    for stage in plan:
        if unknown := set(stage.parameters) - names[stage.notebook]:
            raise ValueError(f"{stage.notebook} has no parameter {', '.join(sorted(unknown))}: "
                             f"it knows {', '.join(sorted(names[stage.notebook]))}.")
    all_names = set().union(*names.values())
    if unknown := set(shared) - all_names:
        raise ValueError(f"No notebook has a parameter {', '.join(sorted(unknown))}: they know "
                         f"{', '.join(sorted(all_names))}.")


def dataset_name(data: str) -> str:
    return "synthetic" if data == "synthetic" else Path(data).expanduser().resolve().name

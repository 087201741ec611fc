"""The house rules that a reader of a diff overlooks."""

import ast
import json
import re
import tomllib
from pathlib import Path

import papermill
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from crackutils.protocol import ParameterError, check_parameters
from workflow import numbers

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "crackutils").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def name_of(path: Path) -> str:
    """The dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def own_imports(path: Path) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name_of(module) for module in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("crackutils"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in names else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("crackutils")}
    return found


def room(module: str) -> str:
    """`data`, `papers`, `cracks` or `cli`; all other modules are the method."""
    part = module.split(".")[1]
    return part if part in ("data", "papers", "cracks", "cli") else "method"


# what each room may import; of the method, data knows only these modules
ALLOWED = {"data": {"data"}, "method": {"method", "data"}, "cracks": {"cracks", "method", "data"},
           "papers": {"papers", "cracks", "method", "data"},
           "cli": {"cli", "papers", "cracks", "method", "data"}}
SHARED = {"crackutils.protocol", "crackutils.losses", "crackutils.files", "crackutils.device"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_rooms_import_one_way(path):
    module = name_of(path)
    if module == "crackutils":
        assert own_imports(path) == set()
        return
    for imported in own_imports(path) - SHARED:
        assert room(imported) in ALLOWED[room(module)], f"{module} imports {imported}"
    if module in SHARED:
        assert own_imports(path) <= SHARED


def test_no_module_imports_itself_by_way_of_others():
    imports = {name_of(path): own_imports(path) for path in MODULES}
    for module in imports:
        seen, waiting = set(), set(imports[module])
        while waiting:
            seen |= waiting
            waiting = set().union(*(imports.get(one, set()) for one in waiting)) - seen
        assert module not in seen, f"{module} imports itself"


def frozen() -> dict[str, list[Requirement]]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {name: [item for item in parsed if item.name == name]
            for name in {item.name for item in parsed}}


def test_requirements_are_pinned_without_addresses():
    text = (ROOT / "requirements.txt").read_text()
    assert "://" not in text and "--index" not in text
    for items in frozen().values():
        assert all(len(item.specifier) == 1 and str(item.specifier).startswith("==")
                   for item in items)


def test_requirements_satisfy_the_ranges_of_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ranges = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    pinned = frozen()
    for wanted in map(Requirement, ranges):
        assert wanted.name in pinned, f"{wanted.name} is not in requirements.txt"
        for item in pinned[wanted.name]:
            version = Version(str(item.specifier).removeprefix("=="))
            assert wanted.specifier.contains(version), f"{item} is outside {wanted}"


def test_environment_installs_the_frozen_list_and_the_same_python():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    *conda, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.txt", "-e ."]}
    assert conda == [f"python{project['requires-python']}", "pip"]


def test_set_up_installs_into_its_own_environment():
    """uv would take one that happens to be active (VIRTUAL_ENV, CONDA_PREFIX)."""
    installs = re.findall(r"uv pip install.*", (ROOT / "Makefile").read_text())
    assert installs and all("--python .venv" in line or "--python $(BIN)/python" in line
                            for line in installs)


def test_imports_are_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {Requirement(line).name.replace("-", "_") for line in project["dependencies"]}
    names = {"PIL": "pillow", "cv2": "albumentations", "libarchive": "libarchive_c",
             "skimage": "scikit_image", "yaml": "pyyaml",
             "nbformat": "nbconvert", "IPython": "jupyterlab"}  # what these bring is theirs to pin
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module]
            else:
                continue
            for module in (name.split(".")[0] for name in modules):
                known = module in __import__("sys").stdlib_module_names or module == "crackutils"
                assert known or names.get(module, module) in declared, f"{path.name}: {module}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_executed_narrated_and_short(path):
    cells = json.loads(path.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert cells[0]["cell_type"] == "markdown" and cells[0]["source"][0].startswith("# ")
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1
    for cell in code:
        lines = [line for line in cell["source"]
                 if line.strip() and not line.lstrip().startswith("#")]
        assert len(lines) <= 20
        assert cell["execution_count"] is not None, "".join(cell["source"])
        assert not any(output["output_type"] == "error" for output in cell["outputs"])
        assert not any(re.match(r"\s*(class |!|%)", line) for line in cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_carry_the_common_names_and_defaults(path):
    cells = json.loads(path.read_text())["cells"]
    cell = next(cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    tree = ast.parse("".join(cell["source"]))
    values = {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
    allowed = {"protocol", "data", "roads", "runs", "results", "loss", "weights", "seeds",
               "device", "devices", "overrides", "weight", "best_f1", "limit"}
    assert set(values) <= allowed and len(values) <= 10
    assert values.get("protocol", "smoke") == "smoke"
    assert all("#" in line for line in cell["source"] if line.strip())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_refuses_a_parameter_that_it_does_not_have(path):
    """Papermill only warns. The cells are executed here, and kept in `In` as IPython does."""
    notebook = papermill.execute_notebook(path, None, {"step": 40}, prepare_only=True)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    place = next(index for index, cell in enumerate(cells)
                 if "injected-parameters" in cell.metadata.get("tags", []))
    own, injected, first = (cell.source for cell in cells[place - 1:place + 2])
    assert first.startswith("check_parameters(globals())\n")
    namespace = {"In": ["", *(cell.source for cell in cells[:place + 2])]}
    exec(own, namespace)
    exec(injected, namespace)
    with pytest.raises(ParameterError, match="Unknown parameter step: expected "):
        check_parameters(namespace)
    del namespace["In"][-2]  # without the injected cell
    check_parameters(namespace)


def tracked_texts() -> list[Path]:
    suffixes = {".py", ".md", ".ipynb", ".yml", ".toml", ".txt", ".cff", ".json", ".csv", ""}
    skipped = {".venv", ".git", "runs"}
    return [path for path in ROOT.rglob("*") if path.is_file() and path.suffix in suffixes
            and not skipped & set(path.relative_to(ROOT).parts)
            and not any(part.startswith(".") and part != ".ci" for part in
                        path.relative_to(ROOT).parts)]


def test_no_path_of_a_machine_is_written_down():
    machine = re.compile(r"/(home|root|Users|work|tmp)/\w")
    for path in tracked_texts():
        if path != Path(__file__):
            found = machine.search(path.read_text(errors="ignore"))
            assert found is None, f"{path.relative_to(ROOT)}: {found}"


def test_no_weights_and_no_photographs_are_kept():
    kept = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert any(path.name == "counts.npz" for path in kept)
    assert not [path for path in kept if path.suffix in {".safetensors", ".pt", ".jpg", ".png"}]
    for samples in (ROOT / "results").rglob("samples.npz"):
        assert samples.parts[-4] == "synthetic", samples


def test_the_measured_numbers_on_the_pages_are_computed_from_results():
    assert numbers.update(check=True) == [], "run make numbers"

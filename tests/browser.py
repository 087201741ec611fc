"""A headless Chromium, driven by its DevTools protocol, and a JupyterLab for it to open.

`websocket-client`, which Jupyter brings, is all that this needs.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import papermill
import psutil
import pytest
import websocket

from crackutils.files import ROOT

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")
# A user's settings of JupyterLab. All cells are drawn, also those outside of the window.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"},
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False}}


def waited(condition: Callable, seconds: float, wanted: str):
    """What `condition` returns as soon as that is true; `TimeoutError` after some seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{wanted}: not within {seconds:g} s")
        time.sleep(0.05)
    return answer


@contextmanager
def started(command: list, **options) -> Iterator[subprocess.Popen]:
    """A process that is ended at the end, with all that it started."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        children = []
        if process.poll() is None:
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for child in children:
            if child.is_running():  # false also where its number went to another process
                child.kill()
        psutil.wait_procs(children, 20)


class Page:
    """A page of the browser; `send` takes any command of the DevTools protocol."""

    def __init__(self, address: str):
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=600)
        self.number = 0
        for domain in ("Page", "Runtime"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setFocusEmulationEnabled", enabled=True)

    def send(self, method: str, **parameters) -> dict:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def evaluate(self, script: str):
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True,
                           returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression, or what it promises, is true."""
        truth = f"(async () => Boolean(await ({script})))()"
        waited(lambda: self.evaluate(truth), seconds, script)

    def resize(self, width: int, height: int, phone: bool = False) -> None:
        """Give the page a size in px; a phone shows pages that do not say otherwise reduced."""
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=phone)

    def open(self, address: str) -> None:
        self.send("Page.navigate", url=address)

    def press(self, key: str) -> None:
        """Press and release a key, such as "ArrowRight"."""
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def drag(self, selector: str, right: int) -> None:
        """Drag the first element of a selector so many px to the right, by the mouse."""
        x, y = self.evaluate(f"""(() => {{
            const element = document.querySelector({selector!r});
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2] }})()""")
        for kind, shift in (("mousePressed", 0), ("mouseMoved", right // 2), ("mouseMoved", right),
                            ("mouseReleased", right)):
            self.send("Input.dispatchMouseEvent", type=kind, x=x + shift, y=y, button="left",
                      buttons=int(kind != "mouseReleased"), clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Write what the window shows as a PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A page of a headless Chromium whose profile lies in `folder`."""
    options = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}",
               "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # root can't have one
    port = folder / "DevToolsActivePort"
    with started([CHROMIUM, *options, "about:blank"], stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL):
        waited(lambda: port.is_file() and "\n" in port.read_text(), 60, "Chromium's port")
        number = port.read_text().split("\n")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{number}/json") as answer:
            address = next(target["webSocketDebuggerUrl"] for target in json.load(answer)
                           if target["type"] == "page")
        page = Page(address)
        page.resize(width, height)
        yield page
        page.socket.close()


def copy_notebook(path: Path, folder: Path, parameters: dict | None = None) -> None:
    """Copy a notebook into a folder, with parameters; those that it doesn't have are left out."""
    known = papermill.inspect_notebook(path)
    given = {name: value for name, value in (parameters or {}).items() if name in known}
    papermill.execute_notebook(path, folder / path.name, given, prepare_only=True,
                               progress_bar=False)


@contextmanager
def jupyter_lab(folder: Path, notebooks: Path, dark: bool = False) -> Iterator[Callable]:
    """A JupyterLab that shows a folder of notebooks; yields a function that gives the address of
    one of them. What JupyterLab writes, and its settings, lie in `folder`."""
    themes = {"apputils-extension/themes": {"theme": "JupyterLab Dark"}} if dark else {}
    for name, content in (SETTINGS | themes).items():
        path = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "IPYTHONDIR": "ipython",
              "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_SETTINGS_DIR": "settings",
              "JUPYTERLAB_WORKSPACES_DIR": "workspaces"}
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    environment |= {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
               "--expose-app-in-browser", "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0",
               f"--ServerApp.root_dir={notebooks}"]
    with started(command, cwd=notebooks, env=environment, stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL) as server:
        path = folder / "runtime" / f"jpserver-{server.pid}.json"
        waited(lambda: path.is_file() and path.read_text().endswith("}"), 60, "JupyterLab")
        facts = json.loads(path.read_text())
        yield lambda name: f"{facts['url']}lab/tree/{name}?token={facts['token']}&reset"


def open_notebook(page: Page, address: str) -> None:
    """Open a notebook in JupyterLab, without those opened before, and wait for its kernel."""
    page.open(address)
    page.wait_for("window.jupyterapp?.shell?.widgets && "
                  "[...jupyterapp.shell.widgets('main')].some(widget => widget.sessionContext)")
    page.evaluate("""(async () => {
        const panel = [...jupyterapp.shell.widgets('main')].find(widget => widget.sessionContext);
        await panel.revealed; await panel.context.ready; await panel.sessionContext.ready;
        await panel.sessionContext.session.kernel.info;
        jupyterapp.shell.activateById(panel.id) })()""")
    page.wait_for("jupyterapp.shell.currentWidget?.sessionContext")


def run_all_cells(page: Page) -> None:
    """Run all cells of the open notebook, as its menu does, and wait until they have ended."""
    page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")

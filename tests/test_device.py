"""Where a run computes, in which precision and layout, and in how many processes."""

import ctypes
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crackutils import device
from crackutils.device import Hardware, decide
from crackutils.protocol import preset

FLOAT32 = Hardware("cpu", "float32", "channels_last")
CHANNELS_LAST = Hardware("cpu", "bfloat16", "channels_last")
CHANNELS_FIRST = Hardware("cpu", "bfloat16", "channels_first")


def tiny(**overrides):
    return preset("smoke", overrides={"batch": 2} | overrides)


def test_cuda_where_there_is_none_is_an_error_and_never_a_silent_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device=cuda, but PyTorch sees no CUDA.*device=auto"):
        decide(tiny(), "cuda")
    assert decide(tiny(), "auto").device == decide(tiny(), "cpu").device == "cpu"
    with pytest.raises(ValueError, match="auto, cpu or cuda, got 'gpu'"):
        decide(tiny(), "gpu")


@pytest.mark.parametrize("matrix_units, instructions, wide, narrow, fpn", [
    (True, True, CHANNELS_LAST, CHANNELS_FIRST, CHANNELS_LAST),
    (False, True, CHANNELS_LAST, CHANNELS_FIRST, FLOAT32),
    (False, False, FLOAT32, FLOAT32, FLOAT32)])
def test_precision_and_layout_follow_network_and_cpu(monkeypatch, matrix_units, instructions, wide,
                                                     narrow, fpn):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {
        "amx_bf16": matrix_units, "avx512_bf16": instructions})
    assert decide(tiny(first_filters=16), "cpu") == wide
    assert decide(tiny(first_filters=8), "cpu") == narrow
    assert decide(tiny(first_filters=8, batch_norm=False), "cpu") == wide
    assert decide(preset("smoke", "roads"), "cpu") == fpn


def test_the_layout_is_that_of_the_precision_that_the_protocol_states(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    assert decide(tiny(first_filters=8, precision="float32"), "cpu") == FLOAT32
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    for precision in ("float32", "bfloat16"):
        assert decide(tiny(first_filters=16, precision=precision), "cpu") == Hardware(
            "cpu", precision, "channels_first")


@pytest.mark.parametrize("architecture", ["unet", "fpn"])
def test_a_cpu_computes_in_float32_where_pytorch_does_not_say_what_it_can(monkeypatch, recwarn,
                                                                          architecture):
    for name in ("get_capabilities", "_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    protocol = preset("smoke", "cracks" if architecture == "unet" else "roads")
    assert decide(protocol, "cpu") == FLOAT32 and not len(recwarn)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)  # another processor
    assert decide(protocol, "cpu") == FLOAT32


def pages_are_huge() -> bool:
    """Whether Linux gives every large allocation pages of 2 MiB, so that faults are rare anyway."""
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return setting.exists() and "[always]" in setting.read_text()


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
                    reason="needs glibc")
@pytest.mark.skipif(pages_are_huge(), reason="page faults are rare where pages are huge")
def test_freed_memory_is_kept():
    """The second time that memory is taken and filled, it costs far fewer page faults (a system
    that is short of memory may have taken back some pages)."""
    script = """
import resource, sys, torch
from crackutils import device
if sys.argv[1] == "kept":
    device.keep_freed_memory()
def work():
    for _ in range(3):
        tensors = [torch.ones(1_000_000 * count) for count in (1, 2, 4, 3)]
before = [work(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt][1]
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {}
    for way in ("kept", "given back"):
        done = subprocess.run([sys.executable, "-c", script, way], check=True, text=True,
                              capture_output=True)
        faults[way] = int(done.stdout)
    assert 3 * faults["kept"] < faults["given back"], faults


@pytest.mark.parametrize("given, expected", [({}, "PASSIVE 2000"),
                                             ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 2000")])
def test_waiting_threads_sleep_unless_the_user_says_otherwise(given, expected):
    """PyTorch reads the variables when it is loaded, so the package sets them before that."""
    environment = {name: value for name, value in os.environ.items()
                   if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    script = ("import os, sys, crackutils; print('torch' in sys.modules, "
              "os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])")
    done = subprocess.run([sys.executable, "-c", script], env=environment | given, check=True,
                          capture_output=True, text=True)
    assert done.stdout.strip() == f"False {expected}"


def test_private_functions_of_pytorch_decide_nothing(monkeypatch):
    before = decide(tiny(), "cpu")
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert decide(tiny(), "cpu") == before


def test_cuda_computes_in_bfloat16_where_it_can(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert decide(tiny(), "cuda") == Hardware("cuda", "bfloat16", "channels_last")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert decide(tiny(), "cuda") == Hardware("cuda", "float32", "channels_first")


@pytest.mark.parametrize("wanted, words", [
    (dict(devices=0), "devices must be a whole number of at least 1, got 0"),
    (dict(devices=True), "got True"), (dict(devices=5), "may use 4: choose at most 4"),
    (dict(num_nodes=1.5), "num_nodes must be a whole number"),
    (dict(num_nodes=2), "num_nodes=2 needs a process on each machine: .* torchrun"),
    (dict(devices=3), "A batch of 2 can't be divided evenly among 3 processes"),
    (dict(devices=2), "synchronised_batch_norm or batch_norm with false")])
def test_processes_that_can_not_share_a_run_are_refused(wanted, words, monkeypatch):
    monkeypatch.setattr(device, "usable_cores", lambda: 4)
    with pytest.raises(ValueError, match=words):
        decide(tiny(), "cpu", **wanted)


def test_processes_on_a_cpu_may_share_a_run_without_synchronised_batch_norm(monkeypatch):
    monkeypatch.setattr(device, "usable_cores", lambda: 4)
    for overrides in ({"batch_norm": False}, {"synchronised_batch_norm": False}):
        assert decide(tiny(**overrides), "cpu", devices=2).ranks == 2


def test_cores_that_a_process_may_not_use_are_not_counted(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7}, raising=False)
    assert decide(tiny(batch_norm=False), "cpu", devices=2).ranks == 2
    with pytest.raises(ValueError, match="devices=3, but this process may use 2: choose"):
        decide(tiny(batch_norm=False, batch=3), "cpu", devices=3)


@pytest.mark.parametrize("limits, cores", [
    ({}, 64), ({"cpu.max": "max 100000"}, 64), ({"cpu.max": "150000 100000"}, 2),
    ({"cpu.max": "20000 100000"}, 1),
    ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
    ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4)])
def test_cores_that_a_container_does_not_get_are_not_counted(monkeypatch, limits, cores):
    """Both versions of Linux's control groups limit the time of all cores together."""
    files = {f"/sys/fs/cgroup/{name}": text for name, text in limits.items()}
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: path in files)
    monkeypatch.setattr("builtins.open", lambda path, *_, **__: io.StringIO(files[path]))
    counted = device.usable_cores()
    monkeypatch.undo()
    assert counted == cores


def test_a_network_computes_with_as_many_threads_as_there_are_usable_cores(monkeypatch):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for usable, threads in ((5, 3), (2, 2)):
            monkeypatch.setattr(device, "usable_cores", lambda usable=usable: usable)
            device.fabric_for(FLOAT32)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_precision_and_layout_of_the_protocol_go_first(precision, layout):
    stated = {"precision": precision, "memory_format": layout}
    for protocol in (tiny(**stated), preset("smoke", "roads", stated)):
        assert decide(protocol, "cpu") == Hardware("cpu", precision, layout)

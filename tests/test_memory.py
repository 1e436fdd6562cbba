"""Freed memory: kept for the next allocation, or returned."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only glibc can be told")

COUNT_FAULTS = """
import resource
import numpy as np
from hyperstem import memory
{call}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(8_000_000)
before = faults()
for _ in range(5):
    np.ones(8_000_000)
print(faults() - before)
"""


def page_faults(call: str) -> int:
    """Page faults of five arrays of 64 MB, one after the other, in a process of their own."""
    command = [sys.executable, "-c", COUNT_FAULTS.format(call=call)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_kept_memory_is_used_again() -> None:
    assert page_faults("memory.keep_freed()") < page_faults("pass") / 10


RETURN = """
import numpy as np
from hyperstem import memory
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])
memory.keep_freed()
arrays = [np.ones(1_000_000) for _ in range(20)]
held = arrays.pop()
del arrays
before = resident()
memory.return_freed()
print((before - resident()) * 4096 / 1e6)
"""


def test_freed_memory_is_returned() -> None:
    done = subprocess.run([sys.executable, "-c", RETURN], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 100  # of 152 MB

"""A Ray cluster of several nodes on this machine, in a process of its own.

Example: ``with RayNodes(3) as nodes: run_script("sampling.py", "--ray", nodes.address, ...); nodes.kill()``
"""

from __future__ import annotations

import subprocess
import sys
from typing import Optional

from tests.helpers import ROOT, environment


class RayNodes:
    """A head node and ``count`` - 1 others; the script's own process joins at the head.

    ``ray_version`` is the version that the nodes say that they have (default: the real one).
    """

    def __init__(self, count: int, ray_version: str = "") -> None:
        self._count = count
        self._ray_version = ray_version
        self.address = ""
        self._child: Optional[subprocess.Popen[str]] = None

    def __enter__(self) -> RayNodes:
        words = [sys.executable, "-m", "tests.ray_nodes", str(self._count), self._ray_version]
        self._child = subprocess.Popen(
            words,
            env=environment(RAY_AUTH_MODE="disabled"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.address = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child is not None
        self._child.communicate(timeout=60)

    def add(self) -> None:
        """One more node."""
        self._say("add")

    def kill(self) -> None:
        """Kills the youngest node with all its processes, as a power loss would."""
        self._say("kill")

    def _say(self, word: str) -> None:
        assert self._child is not None
        assert self._child.stdin is not None
        self._child.stdin.write(word + "\n")
        self._child.stdin.flush()
        assert self._read() == "done"

    def _read(self) -> str:
        assert self._child is not None
        assert self._child.stdout is not None
        for line in self._child.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError("the cluster did not start")


def main(count: int, ray_version: str) -> None:
    """Prints the address, then does what it is told, until standard input ends."""
    import ray
    from ray.cluster_utils import Cluster

    ray.__version__ = ray_version or ray.__version__
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(count - 1)]
    print(">", cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(num_cpus=1))
        else:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("> done", flush=True)
    for node in [*nodes, cluster.head_node]:
        cluster.remove_node(node, allow_graceful=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

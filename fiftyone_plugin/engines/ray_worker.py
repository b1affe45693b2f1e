"""What runs in a worker process of a Ray cluster."""

from __future__ import annotations

from typing import Any

__all__ = ["worker_class"]


def worker_class() -> type[Any]:
    """Return the class of the actors.

    It is made in a function so that it travels by value: a machine that lacks this package, or has another
    version of it, can then say so in words. Hence nothing is used in it that it does not import itself.
    """

    class PseudoMaskWorker:
        def open(self, work: bytes, versions: dict[str, str], cores: int) -> dict[str, Any]:
            """Load the work; returns ``where`` and ``node``, or ``error`` besides."""
            import os
            import pickle
            import socket

            import ray

            self.answer = {
                "where": f"{socket.gethostname()} (process {os.getpid()})",
                "node": ray.get_runtime_context().get_node_id(),
            }
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded
            os.environ["LOKY_MAX_CPU_COUNT"] = str(cores)  # what joblib counts as cores
            if unlike := self.unlike(versions):
                return {**self.answer, "error": unlike, "kind": "usage"}
            self.work: Any = None  # what was loaded before goes first
            try:
                self.work = pickle.loads(work).open()
            except Exception as error:
                return self.failure(error)
            return self.answer

        def unlike(self, versions: dict[str, str]) -> str:
            """Return how the packages here differ; empty where they do not."""
            from importlib.metadata import PackageNotFoundError, version

            for name, wanted in versions.items():
                try:
                    found = version(name)
                except PackageNotFoundError:
                    found = "none"
                if found != wanted:
                    return (
                        f"has {name} {found}, this process {wanted}, and masks depend on it: install the "
                        f"same on all machines, pip install {name}=={wanted}"
                    )
            return ""

        def do(self, items: list[Any]) -> dict[str, Any]:
            """Do the work on items; returns what was ``found``, or an ``error``."""
            try:
                return {"found": list(self.work(items))}
            except Exception as error:
                return self.failure(error)

        def failure(self, error: Exception) -> dict[str, Any]:
            """Return an error as text, and what kind it is of."""
            import traceback

            from fiftyone_plugin.common.memory import is_out_of_memory
            from fiftyone_plugin.errors import PseudoMaskError, UsageError

            text, kind = str(error), "bug"
            if is_out_of_memory(error):
                kind = "memory"
            elif isinstance(error, UsageError):
                kind = "usage"
            elif isinstance(error, PseudoMaskError):
                kind = "refused"
            elif isinstance(error, OSError):
                kind = "disk"
            else:
                text = "".join(traceback.format_exception(error))
            return {**self.answer, "error": text, "kind": kind}

    return PseudoMaskWorker

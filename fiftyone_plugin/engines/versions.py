"""What workers must have in the same version, to come to the same bytes."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from .._version import DISTRIBUTION

__all__ = ["versions_needed"]

PACKAGES = (DISTRIBUTION, "torch", "timm", "numpy", "scikit-learn", "scipy", "pillow")


def versions_needed() -> dict[str, str]:
    """Return package -> version here, this package first."""
    found = {package: _version_of(package) for package in PACKAGES}
    return {package: number for package, number in found.items() if number}


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # a checkout that is not installed
        return ""

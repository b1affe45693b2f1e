"""Which packages a wheel holds; everything else is in pyproject.toml.

FiftyOne discovers plugins as folders that hold a ``fiftyone.yml``, so the repository's root is the plugin.
A wheel carries the same files (``fiftyone.yml``, ``__init__.py``, ``operators/``, ``requirements.txt``) in
the library, as ``fiftyone_plugin/_bundle``: a package ``operators`` at top level would belong to everybody.
A declarative ``packages.find`` cannot express that mapping without listing every sub-package by hand.
"""

from setuptools import find_packages, setup

BUNDLE = "fiftyone_plugin._bundle"

setup(
    script_name="setup.py",  # else the build tool's own name, and this file would join the bundle
    packages=[
        *find_packages(include=["fiftyone_plugin", "fiftyone_plugin.*"]),
        BUNDLE,
        *(f"{BUNDLE}.{package}" for package in find_packages(include=["operators", "operators.*"])),
    ],
    package_dir={BUNDLE: ".", f"{BUNDLE}.operators": "operators"},
    package_data={BUNDLE: ["fiftyone.yml", "requirements.txt"], "fiftyone_plugin": ["py.typed"]},
    include_package_data=False,
)

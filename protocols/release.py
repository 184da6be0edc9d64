"""Which release this is."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("daw-bridge")
except PackageNotFoundError:  # run from a checkout that was never installed
    VERSION = "0+checkout"

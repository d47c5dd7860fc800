"""The command ``prorank``: index, search, evaluate and demo; one module per sub-command."""

from prorank_plugins.cli.app import main

__all__ = ["main"]

"""What a shell is to complete the value of an option with, where click cannot know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def file_names(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of files, which the shell itself finds."""
    # Needed by shells alone, and not for nothing to load.
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]

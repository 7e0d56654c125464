"""Write every generated file anew, and say which of them changed.

python -m papers
"""

from __future__ import annotations

from papers import completion, errors, man


def main() -> None:
    """Write what differs."""
    for file in (*man.files(), *completion.files(), *errors.files()):
        if file.write():
            print(f"written: {file.path.name}")


if __name__ == "__main__":
    main()

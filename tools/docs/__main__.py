"""Write every generated file that is out of date, and print its name: python -m tools.docs."""

from __future__ import annotations

from tools.docs import completion, errors, man, routers

if __name__ == "__main__":
    for file in (*man.files(), *completion.files(), *errors.files(), *routers.files()):
        if file.write():
            print(f"written: {file.path.name}")

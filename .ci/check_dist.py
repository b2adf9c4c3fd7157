"""What `make dist` asks of the files in dist/: the wheel holds what it should, and the README's example runs from it.

Run by the Python of an environment that has the wheel and nothing of the repository.
"""

import os
import re
import tempfile
import zipfile
from pathlib import Path

import skst

ROOT = Path(__file__).resolve().parents[1]


def main():
    (wheel,) = (ROOT / "dist").glob("*.whl")
    (sdist,) = (ROOT / "dist").glob("*.tar.gz")
    assert f"-{skst.__version__}-" in wheel.name and f"-{skst.__version__}.tar" in sdist.name
    assert ROOT / "skst" not in Path(skst.__file__).parents, f"{skst.__file__} is not of the wheel"

    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {str(path.relative_to(ROOT)) for path in (ROOT / "skst").rglob("*") if path.is_file()}
    wanted = {name for name in wanted if "__pycache__" not in name}
    assert {"skst/py.typed", "skst/genes/__init__.py"} <= held
    assert held == wanted, f"the wheel and the folder skst differ by {sorted(held ^ wanted)}"

    (code,) = re.findall(r"## Ten lines\n\n```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.S)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKST_CACHE_HOME"] = folder
        os.chdir(folder)
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    print(f"{wheel.name} holds {len(held)} files, and the README's example runs from it")


if __name__ == "__main__":
    main()

"""Gives a project made from the template its own name, and takes the demo out of it: `make init NAME=orders`.

Owns where the name stands. A second call with the same name changes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

_OVERLAY = (
    r"^(namespace: )[\w-]+(-(?:dev|prod))$",
    r"(FLOODGATE_NAMESPACE=)[\w-]+(-(?:dev|prod)\])",
    r"(\{name: )[\w-]+(-app,)",
)
NAMES = {
    "pyproject.toml": (r'^(name = ")[\w-]+()',),
    "docker-compose.yml": (r"^(name: )[\w-]+()", r"^( +FLOODGATE_NAMESPACE: .*:\+\?\})[\w-]+()"),
    ".env.example": (r"^(#FLOODGATE_NAMESPACE=)[\w-]+()",),
    "gateway_app/main.py": (r'(\bFastAPI\(\s*title=")[^"]*()',),
    "deploy/kubernetes/base/app.yaml": (r"^( +image: )[\w-]+(-app)",),
    "deploy/kubernetes/base/namespace.yaml": (r"^(  name: )[\w-]+()",),
    "deploy/kubernetes/overlays/dev/kustomization.yaml": (*_OVERLAY,),
    "deploy/kubernetes/overlays/prod/kustomization.yaml": (*_OVERLAY, r"(/)[\w-]+(-app, newTag)"),
    "README.md": (r"\A(# ).*()",),
}
"""File to the places of the name in it: what stands before it and after it."""
DEMO = ("shared/handlers/demo.py", "tests/test_demo.py")
OF_DEMO = {
    "docker-compose.yml": r" +ORDERS_DB: .*\n",
    "deploy/kubernetes/base/settings.env": r"# The demo's; .*\nORDERS_DB=.*\n",
    "shared/settings.py": r'from pathlib import Path\n\n|\n    orders_db: .*\n    """.*"""\n',
}


def init(name: str | None, demo: str | None) -> int:
    """Write the name where it belongs; without the demo when `demo` is no. Return 1 for a name that does not do."""
    if not name or not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        print("init    | NAME=orders: small letters, digits and -, at most 40; with DEMO=no the demo goes")
        return 1
    for file, places in NAMES.items():
        for place in places:
            _replace(Path(file), place, rf"\g<1>{name}\g<2>", once=True)
    for file in DEMO if demo == "no" else ():
        Path(file).unlink(missing_ok=True)
    for file, pattern in OF_DEMO.items() if demo == "no" else ():
        _replace(Path(file), pattern, "", once=False)
    print(f"init    | this is {name}")
    return 0


def _replace(path: Path, pattern: str, by: str, *, once: bool) -> None:
    if path.exists():
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(pattern, by, text, count=int(once), flags=re.MULTILINE), encoding="utf-8")

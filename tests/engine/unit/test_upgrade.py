"""`make upgrade`, `make upgrade-check` and `make init` in a project that was made from a repository with two tags.

The template is some of this project's own files, its second version changes them; git
and the commands are the real ones.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
FILES = ("pyproject.toml", "Makefile", "docker-compose.yml", "README.md", ".env.example", ".gitignore", "CHANGELOG.md")
FOLDERS = ("floodgate/run", "shared", "gateway_app", "requirements", "deploy/kubernetes")
HEALTH, CHECK, DEMO = "floodgate/run/health.py", "floodgate/run/check.py", "shared/handlers/demo.py"


@dataclass(frozen=True)
class Repository:
    """A folder under git."""

    path: Path

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *identity, *words], cwd=self.path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, text: str = "work") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", text)

    def read(self, file: str) -> str:
        return (self.path / file).read_text()

    def edit(self, file: str, old: str, new: str) -> None:
        assert old in self.read(file)
        (self.path / file).write_text(self.read(file).replace(old, new, 1))

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run a command of the project's own copy of the engine."""
        command = [sys.executable, "-m", "floodgate", *words]
        known = {"PATH": os.environ["PATH"], "HOME": str(self.path), "PYTHONDONTWRITEBYTECODE": "1", **environment}
        done = subprocess.run(
            command, cwd=self.path, env=known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        return done.returncode, done.stdout

    def upgrade(self, to: str = "v0.2.0", **environment: str) -> tuple[int, str]:
        return self.run("upgrade", TO=to, **{"CHECKS": "no", **environment})

    @property
    def table(self) -> dict[str, Any]:
        return dict(tomllib.loads(self.read("pyproject.toml")))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The template with its tags v0.1.0 and v0.2.0; what it is upgraded by touches every owner's files."""
    template = Repository(tmp_path_factory.mktemp("template"))
    for name in FILES:
        shutil.copy(ROOT / name, template.path / name)
    for folder in filter(lambda folder: (ROOT / folder).exists(), FOLDERS):
        shutil.copytree(ROOT / folder, template.path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("floodgate/__init__.py", "floodgate/__main__.py"):
        shutil.copy(ROOT / name, template.path / name)
    source, base = template.table["tool"]["floodgate"]["source"], template.table["tool"]["floodgate"]["base"]
    template.edit("pyproject.toml", f'source = "{source}"\nbase = "{base}"', 'source = ""\nbase = "v0.1.0"')
    template.path.joinpath(DEMO).write_text('"""The demo."""\n')  # a project may have lost its own
    template.git("init", "--quiet")
    template.commit()
    template.git("tag", "v0.1.0")
    template.edit(HEALTH, "LIMIT_S = 2.0", "LIMIT_S = 3.0")
    template.path.joinpath("floodgate/run/pin.py").unlink()
    template.path.joinpath("floodgate/run/later.py").write_text('"""Is new."""\n')
    template.edit("Makefile", "init:  ##", "later:  ## is new\n\ninit:  ##")
    template.edit("CHANGELOG.md", "# Changelog\n", "# Changelog\n\n## 0.2.0\n\n* Health checks wait longer.\n")
    template.edit("pyproject.toml", 'base = "v0.1.0"', 'base = "v0.2.0"')
    template.edit("pyproject.toml", '"tests/engine/"', '"tests/engine/", "deploy/new.py"')
    template.path.joinpath("deploy").mkdir(exist_ok=True)
    template.path.joinpath("deploy/new.py").write_text('"""Of the engine."""\n')
    template.path.joinpath("deploy/other.py").write_text('"""Of the project."""\n')
    template.edit("pyproject.toml", "timeout = 60", "timeout = 61")
    template.edit("requirements/run.txt", "    --hash", "    # renewed\n    --hash")
    template.path.joinpath(DEMO).write_text('"""The demo, better."""\n')
    template.commit()
    template.git("tag", "v0.2.0")
    return template


@pytest.fixture(scope="module")
def made(template: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two projects named orders, with targets and dependencies of their own and no demo: a clone, and a mere copy."""
    projects = {}
    for kind in ("clone", "copy"):
        project = Repository(tmp_path_factory.mktemp("made") / "orders")
        template.git("clone", "--quiet", "--branch", "v0.1.0", str(template.path), str(project.path))
        if kind == "copy":
            shutil.rmtree(project.path / ".git")
            project.git("init", "--quiet")
        else:
            project.git("switch", "--quiet", "--create", "mine")
        assert project.run("init", NAME="orders")[0] == 0
        project.edit("pyproject.toml", 'source = ""', f'source = "{template.path}"')
        project.edit("Makefile", "help:  ##", "mine:  ## mine\n\nhelp:  ##")
        project.edit("requirements/run.in", "-r ", "stripe\n-r ")
        project.edit("requirements/run.txt", "    --hash", "    # mine\n    --hash")
        project.path.joinpath(DEMO).unlink()
        project.path.joinpath("shared/handlers/mine.py").write_text('"""Mine."""\n')
        project.commit()
        projects[kind] = project.path
    return projects


@pytest.fixture
def project(request: pytest.FixtureRequest, made: dict[str, Path], tmp_path: Path) -> Repository:
    """One of them: without history in common, where a test does not say."""
    return Repository(shutil.copytree(made[getattr(request, "param", "copy")], tmp_path / "orders"))


both = pytest.mark.parametrize("project", ["clone", "copy"], indirect=True)


@both
def test_the_engine_is_replaced_what_is_both_s_is_merged_and_what_is_the_users_stays(project: Repository) -> None:
    code, said = project.upgrade()
    assert code == 0, said
    assert project.git("branch", "--show-current") == "upgrade-v0.2.0\n"
    assert "LIMIT_S = 3.0" in project.read(HEALTH)
    assert not project.path.joinpath("floodgate/run/pin.py").exists()
    assert project.path.joinpath("floodgate/run/later.py").exists()
    assert [path.name for path in project.path.glob("deploy/*.py")] == ["new.py"]
    assert {"mine:  ## mine", "later:  ## is new"} <= set(project.read("Makefile").splitlines())
    assert project.table["project"]["name"] == "orders"
    assert project.table["tool"]["pytest"]["ini_options"]["timeout"] == 61
    assert project.table["tool"]["floodgate"]["base"] == "v0.2.0"
    assert "# mine" in project.read("requirements/run.txt")
    assert "# renewed" not in project.read("requirements/run.txt")
    assert not project.path.joinpath(DEMO).exists()
    assert project.git("log", "--format=%s", "-1") == "work\n"
    assert "* Health checks wait longer." in said
    assert "left out, since CHECKS=no: make lock && make check test" in said
    assert f"M\t{DEMO}" in said.split("yours, so not touched")[1]


def test_after_an_upgrade_the_next_begins_where_it_ended(project: Repository) -> None:
    project.upgrade()
    project.commit()
    assert project.run("upgrade_check") == (0, "upgrade | the engine is as in v0.2.0\n")
    code, said = project.upgrade("main")
    assert code == 0, said
    base = project.table["tool"]["floodgate"]["base"]  # a branch moves on, so its commit
    project.commit()
    assert project.run("upgrade_check") == (0, f"upgrade | the engine is as in {base}\n")
    assert re.fullmatch("[0-9a-f]{40}", base)


def test_a_folder_of_another_repository_is_refused(project: Repository) -> None:
    shutil.rmtree(project.path / ".git")
    around = Repository(project.path.parent)
    around.git("init", "--quiet")
    around.commit()
    code, said = project.upgrade()
    assert (code, "a repository of its own" in said) == (1, True)


def test_an_edit_of_the_engine_is_listed_and_kept_where_the_new_one_does_not_touch_it(project: Repository) -> None:
    project.edit(CHECK, "MODULE_LINES = 400", "MODULE_LINES = 500")
    project.commit()
    assert project.run("upgrade_check") == (1, f"M\t{CHECK}\n")
    assert project.upgrade()[0] == 0
    assert "MODULE_LINES = 500" in project.read(CHECK)


@both
def test_an_edit_on_the_same_line_is_an_unmerged_entry(project: Repository) -> None:
    project.edit(HEALTH, "LIMIT_S = 2.0", "LIMIT_S = 9.0")
    project.commit()
    code, said = project.upgrade(CHECKS="")
    assert (code, f"  {HEALTH}\n" in said) == (1, True)
    stages = [line.split()[2] for line in project.git("ls-files", "--unmerged").splitlines()]
    assert stages == ["1", "2", "3"]
    assert "<<<<<<<" in project.read(HEALTH)
    assert not list(project.path.rglob("*.rej"))


def test_what_is_not_committed_is_not_risked(project: Repository) -> None:
    project.path.joinpath("shared/handlers/new.py").touch()
    code, said = project.upgrade()
    assert (code, "commit them" in said) == (1, True)
    assert project.git("branch", "--show-current") == "main\n"
    assert "LIMIT_S = 2.0" in project.read(HEALTH)


@pytest.mark.parametrize(("fails", "asked"), [("", ["lock", "check test"]), ("lock", ["lock"])])
def test_a_merge_is_followed_by_lock_and_then_by_checks_and_tests(
    project: Repository, tmp_path: Path, fails: str, asked: list[str]
) -> None:
    make = tmp_path / "bin/make"
    make.parent.mkdir()
    make.write_text(f'#!/bin/sh\necho "$*" >> {tmp_path}/asked\n[ "$*" != "{fails}" ]\n')
    make.chmod(0o755)
    code, _ = project.upgrade(CHECKS="", PATH=f"{make.parent}{os.pathsep}{os.environ['PATH']}")
    assert (code, (tmp_path / "asked").read_text().splitlines()) == (int(bool(fails)), asked)


def test_a_source_is_asked_for_once_and_then_recorded(project: Repository, template: Repository) -> None:
    project.edit("pyproject.toml", f'source = "{template.path}"', 'source = ""')
    project.commit()
    code, said = project.upgrade()
    assert (code, "SOURCE=" in said) == (1, True)
    assert project.upgrade(SOURCE=str(template.path))[0] == 0
    assert project.table["tool"]["floodgate"]["source"] == str(template.path)


@pytest.mark.parametrize("to", ["", "--upload-pack=touch", "v9"])
def test_a_version_that_is_none_changes_nothing(project: Repository, to: str) -> None:
    code, said = project.upgrade(to)
    assert (code, said.startswith("upgrade | "), "Traceback" in said) == (1, True, False)
    assert (project.git("status", "--porcelain"), project.git("branch", "--show-current")) == ("", "main\n")


def test_a_name_is_given_once_and_may_be_changed(project: Repository) -> None:
    assert project.run("init", NAME="orders")[0] == 0
    assert project.git("status", "--porcelain") == ""
    assert project.run("init", NAME="Not that one")[0] == 1
    assert project.git("status", "--porcelain") == ""
    assert project.run("init", NAME="shop")[0] == 0
    assert project.table["project"]["name"] == "shop"
    assert "\nname: shop\n" in project.read("docker-compose.yml")
    assert "FLOODGATE_NAMESPACE:-${REDIS_URL:+?}shop}" in project.read("docker-compose.yml")
    assert 'FastAPI(title="shop")' in project.read("gateway_app/main.py")
    assert project.read("README.md").startswith("# shop\n")
    manifests = "".join(path.read_text() for path in project.path.rglob("deploy/kubernetes/**/*.yaml"))
    assert re.findall(r"(?:image: |namespace: |NAMESPACE=|name: )(?:floodgate|orders)\b", manifests) == []
    assert (
        project.table["tool"]["importlinter"]
        == tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    )


def test_without_the_demo_nothing_is_left_of_it(project: Repository) -> None:
    for _ in range(2):
        assert project.run("init", NAME="orders", DEMO="no")[0] == 0
    found = [path for path in project.path.glob("shared/**/*.py") if "rders_db" in path.read_text()]
    told = project.git("grep", "-l", "-e", "ORDERS_DB=", "-e", "ORDERS_DB:", "--", ".", ":!CHANGELOG.md", ":!floodgate")
    assert (found, told.split()) == ([], ["shared/settings.py"])  # an example in its docstring
    assert not project.path.joinpath(DEMO).exists()
    compile(project.read("shared/settings.py"), "settings.py", "exec")

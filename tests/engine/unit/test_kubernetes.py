"""deploy/kubernetes/, rendered: sound by the schemas of Kubernetes, and at one with settings, image and compose file.

No cluster runs it here. A project that deleted the folder has nothing to test.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from floodgate.declare.discovery import check_times, discover
from floodgate.operations import environment
from floodgate.operations.endpoints import LIVE, READY
from floodgate.operations.settings import Settings

ROOT = Path(__file__).parents[3]
OVERLAYS = sorted(path.parent for path in ROOT.glob("deploy/kubernetes/overlays/*/kustomization.yaml"))
VERSIONS = ("1.29", "1.37")
APPS = ("gateway", "worker")
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

pytestmark = [
    pytest.mark.kubectl,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed"),
]
Resource = dict[str, Any]
Rendered = list[tuple[str, list[Resource]]]


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    """Every overlay with its resources."""
    found = []
    for path in OVERLAYS:
        said = subprocess.run(
            ["kubectl", "kustomize", str(path)], capture_output=True, text=True, check=False, timeout=30
        )
        assert said.returncode == 0, said.stderr
        found.append((path.name, list(yaml.safe_load_all(said.stdout))))
    return found


def of_kind(rendered: Rendered, kind: str) -> Iterator[tuple[str, Resource]]:
    for overlay, resources in rendered:
        yield from ((overlay, resource) for resource in resources if resource["kind"] == kind)


def apps(rendered: Rendered) -> Iterator[tuple[str, Resource, Resource]]:
    """Yield name, pod and container of each app in each overlay."""
    for _, resource in of_kind(rendered, "Deployment"):
        if (name := resource["metadata"]["name"]) in APPS:
            pod = resource["spec"]["template"]["spec"]
            yield name, pod, pod["containers"][0]


def settings_of(resources: list[Resource]) -> dict[str, str]:
    (found,) = (resource["data"] for resource in resources if resource["kind"] == "ConfigMap")
    return dict(found)


def default(text: str) -> str:
    """Return what compose takes where nobody says otherwise."""
    return re.sub(r"\$\{\w+:-(.*?)\}", r"\1", text)


def matches(selector: Resource, labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items()) and all(
        labels.get(term["key"]) in term["values"] for term in selector.get("matchExpressions", [])
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_is_sound_by_its_schema(rendered: Rendered, version: str) -> None:
    unknown = set()
    for _, resources in rendered:
        for resource in resources:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.SchemaNotFoundError:
                unknown.add(resource["kind"])
    assert unknown <= {"PodMonitor"}  # of the Prometheus operator


def test_both_apps_are_started_as_compose_starts_them(rendered: Rendered) -> None:
    for name, pod, container in apps(rendered):
        service = COMPOSE["services"][name]
        assert container["command"] == service["command"]
        assert container["image"].rpartition(":")[0].rpartition("/")[2] == f"{COMPOSE['name']}-app"
        limits = service["deploy"]["resources"]["limits"]
        memory = container["resources"]["limits"]["memory"].replace("Mi", "m")
        assert (container["resources"]["limits"]["cpu"], memory) == (default(limits["cpus"]), default(limits["memory"]))
        (size,) = re.findall(r"/tmp:size=(\d+)m", service["tmpfs"][0])
        assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": f"{size}Mi"}


def test_whoever_kills_waits_as_long_as_in_compose_and_long_enough(
    rendered: Rendered, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _, resources in rendered:
        given = settings_of(resources)
        for name in ("FLOODGATE_DRAIN_S", "FLOODGATE_STOP_GRACE_S"):
            assert given[name] == default(str(COMPOSE["services"]["gateway"]["environment"][name]))
        for name, value in {"REDIS_URL": "redis://redis", **given}.items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        check_times(settings, discover(settings))
        for _, pod, _ in apps([("", resources)]):
            assert pod["terminationGracePeriodSeconds"] == settings.stop_grace_s


def test_every_variable_is_a_setting_or_is_in_the_compose_file(rendered: Rendered) -> None:
    known = {environment.variable(name) for name in Settings.model_fields} | {
        *COMPOSE["services"]["gateway"]["environment"]
    }
    for _, resources in rendered:
        assert set(settings_of(resources)) <= known
    for name, _, container in apps(rendered):
        assert {variable["name"] for variable in container["env"]} <= known, name


def test_probes_ask_for_pages_that_there_are_at_the_port_of_the_app(rendered: Rendered) -> None:
    for _, resources in rendered:
        given = settings_of(resources)
        for name, _, container in apps([("", resources)]):
            (port,) = container["ports"]
            assert str(port["containerPort"]) == given[f"FLOODGATE_{name.upper()}_PORT"]
            asked = {probe: container[f"{probe}Probe"]["httpGet"] for probe in ("startup", "readiness", "liveness")}
            pages = {"startup": LIVE, "readiness": READY, "liveness": LIVE}
            assert asked == {probe: {"path": f"/-/{page}", "port": port["name"]} for probe, page in pages.items()}


def test_pods_are_restricted_and_get_no_variables_of_services(rendered: Rendered) -> None:
    for _, deployment in of_kind(rendered, "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        assert (pod["enableServiceLinks"], pod["automountServiceAccountToken"]) == (False, False)
        context = pod["securityContext"]
        assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_whatever_selects_pods_finds_some_with_the_port_that_it_names(rendered: Rendered) -> None:
    for overlay, resources in rendered:
        pods = [one["spec"]["template"] for _, one in of_kind([(overlay, resources)], "Deployment")]
        selected = 0
        for resource in resources:
            spec = resource.get("spec", {})
            selector = spec.get("podSelector") or spec.get("selector")
            if not selector or resource["kind"] == "Deployment":
                continue
            selector = {"matchLabels": selector} if resource["kind"] == "Service" else selector
            found = [pod for pod in pods if matches(selector, pod["metadata"]["labels"])]
            assert found, resource["metadata"]["name"]
            selected += 1
            ports = {port["name"] for pod in found for port in pod["spec"]["containers"][0]["ports"]}
            rules = [*spec.get("ports", []), *(port for rule in spec.get("ingress", []) for port in rule["ports"])]
            named = [port.get("targetPort", port["port"]) for port in [*rules, *spec.get("podMetricsEndpoints", [])]]
            assert set(named) <= ports, resource["metadata"]["name"]
        assert selected >= 4

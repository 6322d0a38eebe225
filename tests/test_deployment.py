"""compose.cluster.yml and deploy/kubernetes: what they name exists, agrees with each other, and loads.

The schemas come with packages of their own, and HAProxy is a server: those tests carry the mark ``cluster``.
"""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from scp.config.load import load

ROOT = Path(__file__).parents[1]
CLUSTER, KUBERNETES = ROOT / "conf" / "cluster", ROOT / "deploy" / "kubernetes"
COMPOSE = ROOT / "compose.cluster.yml"
# What an admin writes into .env; nothing of it is a secret.
FILLED = {"POSTGRES_PASSWORD": "p", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s", "GRAFANA_PASSWORD": "g"}
PROCESS_SECONDS = 20  # after limits.stop_seconds, until what still runs is killed (docs/decisions/0134)
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?::([-?])([^}]*))?\})")
_VERSION = re.compile(r"[a-z][\w./-]*:v?\d+\.\d+[\w.-]*")
_SECRET = re.compile(r"PASSWORD|SECRET|ACCESS_KEY")

quick, cluster = pytest.mark.quick, pytest.mark.cluster
HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
PROMTOOL = shutil.which("promtool")


def interpolated(text: str, environment: dict[str, str]) -> str:
    """A compose file's text as compose reads it, with the three forms of variables that ours use."""

    def value(found: re.Match[str]) -> str:
        name, kind, otherwise = found.groups()
        if name is None:
            return "$"
        if environment.get(name):
            return environment[name]
        assert kind != "?", f"{name}: {otherwise}"
        return otherwise or ""

    return _VARIABLE.sub(value, text)


@pytest.fixture(scope="module")
def compose() -> Any:
    return yaml.safe_load(interpolated(COMPOSE.read_text(encoding="utf-8"), FILLED))


@pytest.fixture(scope="module")
def services(compose: Any) -> dict[str, Any]:
    return dict(compose["services"])


@pytest.fixture(scope="module")
def haproxy() -> str:
    return (CLUSTER / "haproxy.cfg").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def prometheus() -> dict[str, Any]:
    jobs = yaml.safe_load((CLUSTER / "prometheus.yml").read_text(encoding="utf-8"))["scrape_configs"]
    return {job["job_name"]: job for job in jobs}


def only(pattern: str, text: str) -> str:
    found = re.findall(pattern, text, re.MULTILINE)
    assert len(found) == 1, f"{pattern}: {found}"
    return str(found[0])


def tables(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


# ---- compose.cluster.yml ----


@quick
def test_each_image_has_a_version_and_each_mounted_file_is_there(compose: Any) -> None:
    volumes = set(compose["volumes"])
    for name, service in compose["services"].items():
        assert "build" in service or _VERSION.fullmatch(service["image"]), name
        for mount in service.get("volumes", []):
            source, *rest = mount.split(":")
            if source.startswith("."):
                assert (ROOT / source).exists(), mount
                assert rest[-1] == "ro", mount
            elif rest:
                assert source in volumes, mount
        assert set(service["networks"]) <= set(compose["networks"])


@quick
def test_what_is_waited_for_can_come_about(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert "restart" not in services[name]  # else it never is


@quick
def test_no_secret_is_in_a_file_and_all_are_asked_for() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    for service in yaml.safe_load(text)["services"].values():
        for name, value in service.get("environment", {}).items():
            if _SECRET.search(name):
                assert re.fullmatch(r"\$\{\w+:\?.+\}", value), name
    asked = {name for name, *_ in _VARIABLE.findall(text) if name}
    example = (CLUSTER / "env.example").read_text(encoding="utf-8")
    assert asked == set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    with pytest.raises(AssertionError, match=r"set it in \.env"):
        interpolated(text, {})


@quick
def test_a_node_is_confined_and_has_time_to_stop(services: dict[str, Any]) -> None:
    node = services["zscp"]
    assert (
        int(node["stop_grace_period"].removesuffix("s"))
        > load(None, {}).limits.stop_seconds + PROCESS_SECONDS
    )
    assert (node["cap_drop"], node["read_only"]) == (["ALL"], True)
    assert "ports" not in node  # peers reach it by HAProxy, and replicas would take the same one
    named = [mount for mount in node["volumes"] if ":" in mount and not mount.startswith(".")]
    assert named == []  # replicas would share it, and a spool is one node's


@quick
def test_haproxy_sends_peers_to_the_nodes(services: dict[str, Any], haproxy: str, compose: Any) -> None:
    settings = load(None, {})
    port = str(settings.node.port)
    assert only(r"^frontend dicom\n    bind :(\d+)$", haproxy) == port
    assert services["haproxy"]["ports"] == [f"{port}:{port}"]
    most, service, target = re.findall(r"server-template node (\d+) (\w+):(\d+)", haproxy)[0]
    assert (service in services, target) == (True, port)
    assert int(most) >= int(services["zscp"]["deploy"]["replicas"])
    # The node has to end an association that idles, by an A-ABORT, before HAProxy closes the connection.
    for side in ("client", "server"):
        assert int(only(rf"^    timeout {side} (\d+)m$", haproxy)) * 60 > settings.limits.idle_seconds
    # Nodes believe the PROXY headers of HAProxy, and of nobody else.
    assert "send-proxy-v2" in haproxy
    address = services["haproxy"]["networks"]["front"]["ipv4_address"]
    assert tables(CLUSTER / "zscp.toml")["node"]["proxies"] == [address]
    (network,) = compose["networks"]["front"]["ipam"]["config"]
    assert ip_address(address) in ip_network(network["subnet"])
    assert ip_address(address) not in ip_network(network["ip_range"])


@quick
def test_all_ask_the_node_on_the_port_where_it_answers(haproxy: str, prometheus: dict[str, Any]) -> None:
    http = tables(CLUSTER / "zscp.toml")["http"]
    assert http["host"] == "0.0.0.0"
    assert set(re.findall(r"check port (\d+)", haproxy)) == {str(http["port"])}
    (found,) = prometheus["zscp"]["dns_sd_configs"]
    assert (found["names"], found["port"]) == (["zscp"], http["port"])
    (figures,) = prometheus["haproxy"]["static_configs"]
    port = only(r"^    bind :(\d+)$", haproxy.partition("frontend figures")[2])
    assert figures["targets"] == [f"haproxy:{port}"]


@quick
def test_grafana_finds_prometheus_and_the_dashboard(services: dict[str, Any]) -> None:
    (source,) = yaml.safe_load((CLUSTER / "grafana/datasources/prometheus.yml").read_text())["datasources"]
    assert urlsplit(source["url"]).hostname in services
    (provider,) = yaml.safe_load((CLUSTER / "grafana/dashboards/zscp.yml").read_text())["providers"]
    targets = [mount.split(":")[1] for mount in services["grafana"]["volumes"]]
    assert any(Path(target).parent == Path(provider["options"]["path"]) for target in targets)


@quick
def test_the_nodes_call_the_servers_that_are_started(services: dict[str, Any]) -> None:
    """And the environment, which has to override that of the image, says what the file says."""
    given, file = services["zscp"]["environment"], tables(CLUSTER / "zscp.toml")
    assert given["ZSCP_STORAGE__URL"] == file["storage"]["url"]
    assert given["ZSCP_INDEX__URL"] == file["index"]["url"]
    index, store = urlsplit(file["index"]["url"]), urlsplit(file["storage"]["endpoint"])
    database = services["postgresql"]["environment"]
    assert (index.hostname, index.username) == ("postgresql", database["POSTGRES_USER"])
    assert index.path == f"/{database['POSTGRES_DB']}"
    assert store.hostname == "seaweedfs"
    assert f"-s3.port={store.port}" in services["seaweedfs"]["command"]
    bucket = urlsplit(file["storage"]["url"]).hostname
    assert f"s3.bucket.create -name {bucket}\n" in services["bucket"]["command"][0].replace('"', "\n")


@quick
def test_nodes_load_what_compose_gives_them(services: dict[str, Any]) -> None:
    given = services["zscp"]["environment"]
    settings: Any = load(CLUSTER / "zscp.toml", given)
    assert settings.storage.url == "s3://zscp/archive"
    assert settings.http.port
    shown = repr(settings)
    assert "secret_key='s'" not in shown
    assert "password='p'" not in shown


@quick
def test_the_image_has_what_nodes_need_for_both_servers_and_the_page() -> None:
    (asked,) = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set(asked.split(",")) == {"oidc", "s3", "postgresql", "web"}
    assert set(asked.split(",")) <= tables(ROOT / "pyproject.toml")["project"]["optional-dependencies"].keys()


@cluster
@pytest.mark.parametrize("secure", [False, True], ids=["as shipped", "with TLS"])
def test_haproxy_reads_its_file(secure: bool, haproxy: str, tmp_path: Path) -> None:
    assert HAPROXY is not None, "haproxy is missing; scripts/install-cluster.sh installs it"
    text, count = re.subn(r"^#\| ?", "", haproxy, flags=re.MULTILINE)
    assert count
    (tmp_path / "haproxy.cfg").write_text(text if secure else haproxy, encoding="utf-8")
    command = [HAPROXY, "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is missing; scripts/install-tools.sh installs it")
def test_prometheus_reads_its_file(tmp_path: Path) -> None:
    shutil.copy(CLUSTER / "prometheus.yml", tmp_path)
    shutil.copy(ROOT / "conf" / "prometheus" / "alerts.yml", tmp_path)
    command = [str(PROMTOOL), "check", "config", str(tmp_path / "prometheus.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


@cluster
@pytest.mark.parametrize("file", ["docker-compose.yml", "compose.cluster.yml"])
def test_compose_files_are_as_the_specification_says(file: str) -> None:
    """By a parser of the specification; it refuses unknown keys, and networks that nobody declares."""
    parser = importlib.import_module("compose_spec").PyCompose
    text = interpolated((ROOT / file).read_text(encoding="utf-8"), FILLED)
    parser.from_yaml(text).validate()
    wrong = yaml.safe_load(text)
    wrong["services"]["zscp"]["imagee"] = "zscp"
    with pytest.raises(ValueError, match="imagee"):
        parser.from_yaml(yaml.safe_dump(wrong))


# ---- deploy/kubernetes ----


def manifests() -> Iterator[tuple[str, Any]]:
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            yield path.name, one


def of_kind(kind: str) -> Any:
    (found,) = [one for _, one in manifests() if one["kind"] == kind]
    return found


@pytest.fixture(scope="module")
def pod() -> Any:
    return of_kind("StatefulSet")["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def container(pod: Any) -> Any:
    (found,) = pod["containers"]
    return found


@quick
def test_the_kustomization_names_all_manifests_but_the_secret() -> None:
    named = of_kind("Kustomization")
    there = {name for name, _ in manifests()} - {"kustomization.yaml", "secret.example.yaml"}
    assert set(named["resources"]) == there
    (generated,) = named["configMapGenerator"]
    assert (generated["name"], generated["files"]) == ("zscp", ["zscp.toml"])


@quick
def test_secrets_are_references_and_the_example_has_them_all(container: Any) -> None:
    secret = of_kind("Secret")
    assert set(secret["stringData"].values()) == {""}
    wanted = set()
    for one in container["env"]:
        if _SECRET.search(one["name"]):
            reference = one["valueFrom"]["secretKeyRef"]
            assert reference["name"] == secret["metadata"]["name"]
            wanted.add(reference["key"])
    assert wanted == set(secret["stringData"])


@quick
def test_a_pod_has_no_rights_it_does_not_need(pod: Any, container: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    # The id that the image gives to its user, so that the volume can be written.
    assert f"--uid {pod['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    confined = container["securityContext"]
    assert confined["allowPrivilegeEscalation"] is False
    assert confined["readOnlyRootFilesystem"] is True
    assert confined["capabilities"] == {"drop": ["ALL"]}
    assert {"/var/lib/zscp", "/tmp"} <= {mount["mountPath"] for mount in container["volumeMounts"]}


@quick
def test_a_pod_has_time_to_stop(pod: Any, container: Any) -> None:
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    needed = load(None, {}).limits.stop_seconds + PROCESS_SECONDS + waits
    assert pod["terminationGracePeriodSeconds"] > needed


@quick
def test_probes_and_services_name_the_ports_of_the_node(container: Any) -> None:
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "dicom": load(None, {}).node.port,
        "http": tables(KUBERNETES / "zscp.toml")["http"]["port"],
    }
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert {kind: probe["path"] for kind, probe in probes.items()} == {
        "startup": "/live", "liveness": "/live", "readiness": "/ready",
    }  # fmt: skip
    labels = of_kind("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    for service in (one for _, one in manifests() if one["kind"] == "Service"):
        assert service["spec"]["selector"] == labels
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
    for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert of_kind(kind)["spec"][key]["matchLabels"] == labels


@quick
def test_the_environment_says_what_the_file_says(container: Any) -> None:
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    file = tables(KUBERNETES / "zscp.toml")
    assert given == {"ZSCP_STORAGE__URL": file["storage"]["url"], "ZSCP_INDEX__URL": file["index"]["url"]}


@quick
def test_pods_load_what_kubernetes_gives_them(container: Any) -> None:
    settings: Any = load(
        KUBERNETES / "zscp.toml", {one["name"]: one.get("value", "x") for one in container["env"]}
    )
    mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    assert any(Path(settings.storage.spool.removeprefix("file://")).is_relative_to(mount) for mount in mounts)


@cluster
def test_manifests_are_as_their_schemas_say() -> None:
    """By the JSON schemas of Kubernetes, which refuse unknown keys; Kustomization has none there."""
    schemas = importlib.import_module("kubernetes_validate")
    for name, one in manifests():
        if one["kind"] != "Kustomization":
            assert schemas.validate(one, "1.31", strict=True) == "1.31", name
    wrong = of_kind("StatefulSet")
    wrong["spec"]["replica"] = 2
    with pytest.raises(schemas.ValidationError, match="replica"):
        schemas.validate(wrong, "1.31", strict=True)

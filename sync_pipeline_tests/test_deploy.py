"""What deploy/ ships names only what exists: commands, variables, files, and fields of those who read it."""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import click
import dagster_k8s
import kubernetes_validate
import pytest
import yaml
from celery.bin.celery import celery
from dagster._cli import create_dagster_cli
from dagster._core.execution import asset_backfill
from dagster._core.instance.config import dagster_instance_config
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.cli import create_dagster_daemon_cli
from dagster_celery.launcher import CeleryRunLauncher
from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from kubernetes.client import ApiClient

from sync_pipeline.cli import cli
from sync_pipeline.console.site import site_of
from sync_pipeline.defs.reload import LOCATION
from sync_pipeline.hosting.dev import BACKFILLS_WAIT, dagster_environ
from sync_pipeline.settings import SECRETS, describe_settings, load_given
from sync_pipeline_tests.generate import ROOT

DEPLOY = ROOT / "deploy"
VERSION = version("sync-pipeline")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OBJECTS = yaml.safe_load((DEPLOY / "kubernetes.yaml").read_text())["items"]
VALUES = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
TEXTS = {path.name: path.read_text() for path in DEPLOY.iterdir() if path.is_file()}
KUBERNETES = "1.37.0"
SETTINGS = {row["env"] for row in describe_settings()}
OF_OTHERS = {
    "DAGSTER_POSTGRES_URL", "DAGSTER_PG_PASSWORD", "DAGSTER_GRPC_MAX_WORKERS", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT", "WORKERS",
    *BACKFILLS_WAIT,
}  # fmt: skip
"""Variables that Dagster, the PostgreSQL client and deploy/dagster.yaml read."""
WRITTEN = {
    "CONSOLE_HOST": "sync.example.com",
    "DAGSTER_HOST": "dagster.example.com",
    "POSTGRES_PASSWORD": "p",
    "BROKER_PASSWORD": "b",
    "PROXY_USER": "ana",
    "PROXY_PASSWORD_HASH": "$2a$14$x",
    "SYNC_ENCRYPTION_KEY": "A" * 43 + "=",
    "SYNC_USER_ROLES": "ana=admin",
}
"""What a person writes into .env."""
PROGRAMS = {
    "sync-pipeline": cli,
    "dagster": create_dagster_cli(),  # type: ignore[no-untyped-call]
    "dagster-daemon": create_dagster_daemon_cli(),
    "celery": celery,
}
"""The programs in the image."""


def ours() -> dict[str, Any]:
    """The services of compose.yaml that run our image."""
    return {name: service for name, service in COMPOSE["services"].items() if "sync-pipeline:" in service["image"]}


def filled(environment: dict[str, str]) -> dict[str, str]:
    """Variables of compose.yaml with what is in .env; one without a default has to be there."""
    pattern = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")
    return {
        name: pattern.sub(lambda found: WRITTEN.get(found[1]) or found[2], value) for name, value in environment.items()
    }


def containers() -> Iterator[dict[str, Any]]:
    """All containers of the manifests."""
    for found in OBJECTS:
        if "template" in found.get("spec", {}):
            yield from found["spec"]["template"]["spec"]["containers"]


def commands() -> Iterator[list[str]]:
    """Every command that a container of our image runs, health checks included."""
    for service in ours().values():
        if "command" in service:
            yield service["command"]
        test = service.get("healthcheck", {}).get("test")
        if test and test[1] != "python":
            yield test[1:]
    yield from (found["command"] for found in containers())
    yield from (json.loads(found) for found in re.findall(r"CMD (\[.*\])", TEXTS["Dockerfile"]))
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    yield ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", str(code["port"]), *code["codeServerArgs"]]


@pytest.mark.parametrize("command", {" ".join(words): words for words in commands()}.values(), ids=" ".join)
def test_a_command_is_one_that_its_program_has(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With the options and arguments that it takes; the image has its workspace file elsewhere."""
    monkeypatch.setenv("SYNC_BROKER_URL", "redis://broker:6379/0")
    program, *words = [str(DEPLOY / "workspace.yaml") if "workspace.yaml" in word else word for word in command]

    ctx = PROGRAMS[program].make_context(program, words)
    while isinstance(ctx.command, click.Group):
        if ctx.command is celery:  # it loads the app, which its commands ask for the defaults of their options
            ctx.invoked_subcommand = ctx.args[0] if ctx.args else ctx._protected_args[0]
            ctx.invoke(celery.callback, **ctx.params)
        name, found, rest = ctx.command.resolve_command(ctx, [*ctx._protected_args, *ctx.args])
        assert found is not None
        ctx = found.make_context(name or "", rest, parent=ctx)


def environments() -> dict[str, dict[str, str]]:
    """The variables of each service of ours, and those of the manifests."""
    (config,) = [found["data"] for found in OBJECTS if found["kind"] == "ConfigMap"]
    secret = {"SYNC_ENCRYPTION_KEY": WRITTEN["SYNC_ENCRYPTION_KEY"]}
    return {name: filled(service["environment"]) for name, service in ours().items()} | {"kubernetes": config | secret}


@pytest.mark.parametrize("name", environments())
def test_variables_are_settings_with_values_that_they_take(name: str, tmp_path: Path) -> None:
    """Also what the gates before console and Dagster UI make of them together."""
    environ = environments()[name]

    assert set(environ) - SETTINGS <= OF_OTHERS
    settings = load_given(environ, root=tmp_path)
    for url, variable in ((settings.public_url, "SYNC_PUBLIC_URL"), (settings.dagster_url, "SYNC_DAGSTER_URL")):
        assert site_of(settings, url, variable).origin == url


def test_what_a_person_writes_is_in_the_example() -> None:
    """Each name that compose.yaml and the Caddyfile ask for, and no other."""
    asked = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXTS["compose.yaml"]))
    written = set(re.findall(r"^([A-Z_]+)=", TEXTS["env.example"], re.MULTILINE))

    assert asked == written == {*WRITTEN, "WORKERS", "SYNC_SENSOR_SECONDS"}
    assert set(re.findall(r"\{\$(\w+)\}", TEXTS["Caddyfile"])) == set(COMPOSE["services"]["proxy"]["environment"])
    assert set(re.findall(r"^#([A-Z_]+)=", TEXTS["env.example"], re.MULTILINE)) <= SETTINGS


def test_the_proxy_that_is_believed_is_ours() -> None:
    """One address, which no other container can have."""
    front = COMPOSE["services"]["proxy"]["networks"]["front"]["ipv4_address"]
    (subnet,) = COMPOSE["networks"]["front"]["ipam"]["config"]

    assert ip_address(front) in ip_network(subnet["subnet"])
    # Docker gives the addresses of this range to whichever container starts first.
    assert ip_address(front) not in ip_network(subnet["ip_range"])
    assert {service["environment"]["SYNC_TRUSTED_PROXIES"] for service in ours().values()} == {front}
    upstreams = set(re.findall(r"reverse_proxy (\w+):(\d+)|dynamic a (\w+) (\d+)", TEXTS["Caddyfile"]))
    named = {((host or dynamic), port or other) for host, port, dynamic, other in upstreams}
    served = {
        (name, ours()[name]["command"][-1])
        if name != "webserver"
        else (name, dict(zip(ours()[name]["command"], ours()[name]["command"][1:], strict=False))["--port"])
        for name in ("console", "webserver", "webhooks")
    }
    assert named == served


def test_a_backfill_waits_for_code_that_cannot_be_loaded() -> None:
    """Everywhere, by the variable that Dagster reads; otherwise it fails while the code server starts again."""
    ((name, value),) = BACKFILLS_WAIT.items()
    assert f'os.environ.get("{name}")' in inspect.getsource(asset_backfill)
    assert {found[name] for found in environments().values()} == {value}
    assert dagster_environ(load_given(), "")[name] == value


def test_a_user_whom_the_browser_names_is_removed_before_an_identity_provider_is_asked() -> None:
    """Caddy sets the header only where the provider's answer has one."""
    alternative = re.search(r"route \{(.*?)copy_headers \S+>X-Forwarded-User", TEXTS["Caddyfile"], re.DOTALL)
    assert alternative is not None
    assert alternative[1].index("request_header -X-Forwarded-User") < alternative[1].index("forward_auth")


def test_no_secret_is_written_into_a_file() -> None:
    """Passwords and keys are named by a variable or a Secret; settings that are secret have no value of their own."""
    for name, text in TEXTS.items():
        assert not re.findall(r"://[^\s/:@]*:(?!\$\{)[^\s/@]+@", text), name
    (config,) = [found["data"] for found in OBJECTS if found["kind"] == "ConfigMap"]
    assert {name for name in config if name in SECRETS} == {"SYNC_DATABASE_URL"}  # the password is PGPASSWORD
    assert not [found for found in OBJECTS if found["kind"] == "Secret"]
    assert not re.findall(r"^#?\w*(?:KEY|PASSWORD|HASH|TOKEN|SECRET)=.+", TEXTS["env.example"], re.MULTILINE)


def test_the_readme_names_services_and_files_that_exist() -> None:
    """In the commands of the fleet, and of Kubernetes."""
    shown: list[str] = re.findall(r"^\$ (.+)$", TEXTS["README.md"], re.MULTILINE)
    services = {name for line in shown for name in re.findall(r"(?:exec|run --rm|build)(?: --no-TTY)? (\w+)\b", line)}
    stopped = next(line.split()[3:] for line in shown if line.startswith("docker compose stop"))

    assert services - {"settings"} <= set(COMPOSE["services"]), services
    assert set(stopped) == set(ours()) - {"migrate"}
    files = set(re.findall(r"\bdeploy/([\w./-]+)", "\n".join(shown))) | {"env.example"}
    assert [file for file in files if not (DEPLOY / file).exists()] == []
    job = next(line for line in shown if line.startswith("kubectl wait"))
    assert f"job/migrate-{VERSION.replace('.', '-')}" in job
    assert f"--version {version('dagster')} " in next(line for line in shown if line.startswith("helm upgrade"))


def test_images_have_a_version() -> None:
    """Never `latest`, and ours the version that this is."""
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    found = [service["image"] for service in COMPOSE["services"].values()]
    found += [each["image"] for each in containers()] + [f"{code['image']['repository']}:{code['image']['tag']}"]
    found += re.findall(r"^ARG PYTHON_IMAGE=(\S+)", TEXTS["Dockerfile"], re.MULTILINE)

    tags = [image.rpartition(":")[2] for image in found]
    assert all(re.match(r"\d", tag) for tag in tags), found
    assert {tag for image, tag in zip(found, tags, strict=True) if "sync-pipeline" in image} == {VERSION}
    (job,) = [each["metadata"]["name"] for each in OBJECTS if each["kind"] == "Job"]
    assert job.endswith(VERSION.replace(".", "-"))


def test_dagster_takes_its_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instance of deploy/dagster.yaml has our launcher and as many places as there are workers."""
    (tmp_path / "dagster.yaml").write_text(TEXTS["dagster.yaml"])
    monkeypatch.setenv("WORKERS", "4")
    monkeypatch.setenv("SYNC_BROKER_URL", "redis://broker:6379/0")
    dagster_instance_config(str(tmp_path))

    instance = InstanceRef.from_dir(str(tmp_path))

    assert type(instance.run_launcher).__name__ == "CeleryLauncher"
    queue = instance.run_coordinator
    assert isinstance(queue, QueuedRunCoordinator)
    config = queue.get_run_queue_config()
    assert config.max_concurrent_runs == 4
    assert sum(limit["limit"] for limit in config.tag_concurrency_limits) < 4  # one is left for what changed just now


def test_the_code_has_the_name_that_history_knows(tmp_path: Path) -> None:
    """Sensors and schedules that were on with `dev` stay on, and a changed mapping is loaded: both go by this name."""
    (tmp_path / "workspace.yaml").write_text(TEXTS["workspace.yaml"])
    (origin,) = WorkspaceFileTarget([str(tmp_path / "workspace.yaml")]).create_origins()
    (server,) = VALUES["dagsterWebserver"]["workspace"]["servers"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]

    assert origin.location_name == server["name"] == LOCATION
    assert origin.host in COMPOSE["services"]  # type: ignore[attr-defined]
    assert (server["host"], server["port"]) == (code["name"], code["port"])


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: f"{found['kind']} {found['metadata']['name']}")
def test_a_manifest_has_the_fields_of_its_kind(found: dict[str, Any]) -> None:
    """And no other; what selects pods selects ours, and no Service's name would become a variable like a setting."""
    kubernetes_validate.validate(found, KUBERNETES, strict=True)

    if found["kind"] == "Service":
        pods = [each["spec"]["template"]["metadata"]["labels"] for each in OBJECTS if each["kind"] == "Deployment"]
        assert found["spec"]["selector"] in pods
        assert not found["metadata"]["name"].startswith("sync")


def test_the_image_has_what_the_launchers_are_made_of() -> None:
    """The tests have more packages than the image: it has those of the extras that it installs."""
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", TEXTS["Dockerfile"])
    optional = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    installed = {re.split(r"[\[<>=]", each)[0] for extra in extras.split(",") for each in optional[extra]}
    launchers = {getattr(dagster_k8s, VALUES["runLauncher"]["type"]), CeleryRunLauncher}

    needed = {each.__module__.partition(".")[0].replace("_", "-") for each in launchers}

    assert needed == {"dagster-k8s", "dagster-celery"}
    assert needed <= installed


def test_a_pod_with_the_instance_of_the_chart_may_use_its_launcher() -> None:
    """Outside the daemon, too: who cancels a run has its Job deleted. It is the account of a release called dagster."""
    pods = [each["spec"]["template"]["spec"] for each in OBJECTS if each["kind"] == "Deployment"]
    with_instance = [pod for pod in pods if "dagster-instance" in str(pod.get("volumes"))]

    assert {pod["containers"][0]["name"] for pod in with_instance} == {"console", "webserver"}
    for pod in with_instance:
        assert pod["serviceAccountName"] == "dagster"
        assert pod.get("automountServiceAccountToken", True)
        assert "DAGSTER_PG_PASSWORD" in str(pod["containers"][0]["env"])


def test_the_job_of_a_run_has_the_fields_of_its_kind() -> None:
    """As Dagster's launcher makes it from our values."""
    config = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    snake = {re.sub("[A-Z]", lambda big: f"_{big[0].lower()}", key): of for key, of in config["runK8sConfig"].items()}
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image=f"{code['image']['repository']}:{code['image']['tag']}",
            dagster_home=VALUES["global"]["dagsterHome"],
            image_pull_policy=config["imagePullPolicy"],
            service_account_name="dagster",
            instance_config_map="dagster-instance",
            postgres_password_secret=VALUES["global"]["postgresqlSecretName"],
            env_config_maps=[each["name"] for each in config["envConfigMaps"]],
            env_secrets=[each["name"] for each in config["envSecrets"]],
        ),
        args=["dagster", "api", "execute_run", "{}"],
        job_name="dagster-run-64a687e2",
        user_defined_k8s_config=UserDefinedDagsterK8sConfig.from_dict(snake),  # type: ignore[no-untyped-call]
    )

    document = ApiClient().sanitize_for_serialization(job)

    kubernetes_validate.validate(document, KUBERNETES, strict=True)
    pod = document["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 10001
    sources = [source for source in pod["containers"][0]["envFrom"] if source]
    assert sources == [{"configMapRef": {"name": "settings"}}, {"secretRef": {"name": "settings"}}]

"""Procfile, supervisor and compose start the same processes."""

import configparser
import json
import re
import shutil
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from composed import BIN, PROFILES, RUN, compose, compose_document
from operating import ran
from services import ROOT

from storage.roles import credentials
from storage.roles.roles import PROGRAMS, Role
from storage.settings import Settings
from web.access.exposure import SHORTEST_SECRET

# From these, Docker chooses the subnets of all networks that name none.
DOCKERS_POOLS = ("192.168.0.0/16", *(f"172.{number}.0.0/16" for number in range(17, 32)))


def test_web_stands_first_in_the_procfile() -> None:
    assert next(iter(RUN["procfile"]())) == "web"


@pytest.mark.parametrize("name", ["web", "worker", "housekeeper", "trainer"])
def test_compose_runs_the_procfiles_commands(name: str) -> None:
    command = compose()[name]["command"]
    assert isinstance(command, list)
    line = RUN["procfile"]()[name]
    assert command == ["sh", "-c", f"exec {line}".replace("$", "$$")]


@pytest.mark.parametrize("name", ["web", "worker", "housekeeper", "trainer"])
def test_containers_get_the_cpu_time_that_nice_gives_processes(name: str) -> None:
    """The kernel's weight of a process is 1024 / 1.25**nice; 1024 is Docker's default for a container."""
    nice = re.search(r"nice -n (\d+)", RUN["procfile"]()[name])
    weight = round(1024 / 1.25 ** int(nice[1] if nice else 0))
    assert compose()[name].get("cpu_shares", 1024) == weight


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of credentials that `segue roles` prepares."""
    folder = tmp_path_factory.mktemp("roles")
    subprocess.run([sys.executable, "-m", "segue", "roles", str(folder)], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize(
    ("service", "role"),
    [
        ("web", "web"),
        ("worker", "worker"),
        ("housekeeper", "housekeeper"),
        ("trainer", "trainer"),
        ("setup", "operator"),
    ],
)
def test_each_container_gets_only_the_secrets_of_its_role(roles: Path, service: str, role: Role) -> None:
    own = credentials.load_or_create(roles)[Role(role)]
    variables: Any = compose(roles=roles)[service]["environment"]
    assert variables["REDIS_URL"] == f"redis://{role}:{own.redis_password}@redis:6379/0"
    assert (variables["S3_ACCESS_KEY"], variables["S3_SECRET_KEY"]) == (role, own.s3_secret_key)
    assert ("S3_USERS" in variables) == (role == "operator")
    assert ("SESSION_SECRET" in variables) == (role == "web")
    assert ("SQL_URL" in variables) == (role not in ("worker", "trainer"))


def test_each_program_has_its_own_postgresql_user(roles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services: Any = compose(roles=roles)
    owner = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    operator = services["setup"]["environment"]
    assert operator["SQL_URL"] == f"postgresql+psycopg://segue:{owner}@postgres/segue"
    monkeypatch.setenv("SQL_USERS", operator["SQL_USERS"])
    passwords = {role: secret.get_secret_value() for role, secret in Settings().sql_users.items()}
    assert set(passwords) == {"web", "housekeeper"}
    assert len({owner, *passwords.values()}) == 3
    for role, password in passwords.items():
        variables = services[role]["environment"]
        assert variables["SQL_URL"] == f"postgresql+psycopg://{role}:{password}@postgres/segue"
        assert owner not in str(variables)
    assert len(services["web"]["environment"]["SESSION_SECRET"]) >= SHORTEST_SECRET


def run_roles(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ran(None, "roles", folder, *arguments)


def test_roles_of_servers_elsewhere(tmp_path: Path) -> None:
    sql = "postgresql+psycopg://db.example.com/segue?sslmode=verify-full"
    done = run_roles(tmp_path, "--redis", "rediss://cache.example.com:6380/0", "--sql", sql)
    assert done.returncode == 0, done.stderr
    own = credentials.load_or_create(tmp_path)[Role.WEB]
    password = (tmp_path / "web" / "sql_password").read_text()
    web = (tmp_path / "web.env").read_text()
    assert f"\nREDIS_URL=rediss://web:{own.redis_password}@cache.example.com:6380/0\n" in f"\n{web}"
    assert f"\nSQL_URL={sql.replace('//', f'//web:{password}@')}\n" in web
    owner = (tmp_path / "postgres_password").read_text()
    assert f"SQL_URL={sql.replace('//', f'//segue:{owner}@')}\n" in (tmp_path / "operator.env").read_text()


@pytest.mark.parametrize(
    ("option", "url"), [("--redis", "cache.example.com:6379"), ("--sql", "postgresql://me:pw@db/x")]
)
def test_roles_refuses_addresses_that_it_cannot_complete(tmp_path: Path, option: str, url: str) -> None:
    done = run_roles(tmp_path / "roles", option, url)
    assert done.returncode == 1
    assert "must be scheme://host:port/database, without a user" in done.stderr
    assert "pw@" not in done.stderr
    assert not (tmp_path / "roles").exists()


def test_setup_creates_minio_users_with_the_same_secrets(roles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    services: Any = compose(roles=roles)
    operator = services["setup"]["environment"]
    monkeypatch.setenv("S3_USERS", operator["S3_USERS"])
    users = {role: secret.get_secret_value() for role, secret in Settings().s3_users.items()}
    assert users == {role: services[role]["environment"]["S3_SECRET_KEY"] for role in PROGRAMS}
    root = services["minio"]["environment"]
    assert root["MINIO_ROOT_USER"] == operator["S3_ACCESS_KEY"]
    assert root["MINIO_ROOT_PASSWORD"] == operator["S3_SECRET_KEY"]


def test_redis_in_a_container_gets_digests_only(roles: Path) -> None:
    redis: Any = compose(roles=roles)["redis"]
    assert {"type": "bind", "source": str(roles / "redis.acl")}.items() <= redis["volumes"][1].items()
    acl = (roles / "redis.acl").read_text()
    assert not [own for own in credentials.load_or_create(roles).values() if own.redis_password in acl]
    readable = [file.name for file in roles.rglob("*") if file.is_file() and file.stat().st_mode & 0o077]
    assert readable == ["redis.acl"]


def test_without_credentials_no_service_starts_unprotected() -> None:
    redis: Any = compose()["redis"]
    bind = redis["volumes"][1]["bind"]
    assert bind["create_host_path"] is False  # a missing file stops `up`; otherwise compose would create a folder
    assert "--aclfile" in redis["command"]


def test_a_gpu_changes_the_worker_and_nothing_else() -> None:
    plain, gpu = compose(), compose("compose.gpu.yml")
    worker = gpu.pop("worker")
    build, environment = dict(worker["build"]), dict(worker["environment"])  # type: ignore[call-overload]
    assert worker["command"] == plain.pop("worker")["command"]
    assert (build["args"]["REQUIREMENTS"], environment["ENGINE"]) == ("gpu", "tensorflow")
    assert (ROOT / "requirements" / "gpu.txt").is_file()
    assert gpu == plain


def test_seaweedfs_replaces_minio_and_nothing_else(roles: Path) -> None:
    plain: Any = compose(roles=roles)
    other: Any = compose("compose.seaweedfs.yml", roles=roles)
    minio, seaweedfs = plain.pop("minio"), other.pop("minio")
    assert other["setup"]["environment"].pop("S3_USERS") == "{}"
    assert plain["setup"]["environment"].pop("S3_USERS") != "{}"
    assert other == plain
    for kept in ("networks", "read_only", "cap_drop", "security_opt", "mem_limit", "logging", "pids_limit"):
        assert seaweedfs[kept] == minio[kept]
    assert "-s3.port=9000" in seaweedfs["command"]
    assert plain["web"]["environment"]["S3_URL"] == "http://minio:9000"
    folder = next(one for one in seaweedfs["volumes"] if one["target"] == "/etc/seaweedfs")
    assert (folder["source"], folder["read_only"]) == (str(roles / "seaweedfs"), True)
    assert not [name for name in seaweedfs["environment"] if name.startswith("MINIO")]


def test_seaweedfs_identities_have_the_secrets_of_the_roles(roles: Path) -> None:
    listed = json.loads((roles / "seaweedfs" / "s3.json").read_text())["identities"]
    own = credentials.load_or_create(roles)
    assert {one["name"]: one["credentials"][0]["secretKey"] for one in listed} == {
        role: secrets.s3_secret_key for role, secrets in own.items()
    }
    security = (roles / "seaweedfs" / "security.toml").read_text()
    assert set(re.findall(r'"(/.*)/\w+\.pem"', security)) == {"/etc/seaweedfs"}


def test_compose_publishes_on_loopback_only() -> None:
    services: Any = compose()
    ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(ports) == {"nginx", "prometheus", "grafana"}
    assert all(port["host_ip"] == "127.0.0.1" for published in ports.values() for port in published)


def test_another_address_reaches_nginx_which_then_requires_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADDRESS", "192.0.2.1")
    nginx: Any = compose()["nginx"]
    assert nginx["ports"][0]["host_ip"] == nginx["environment"]["ADDRESS"] == "192.0.2.1"


def test_the_web_servers_trust_only_the_network_that_they_share_with_nginx() -> None:
    document = compose_document()
    [pool] = document["networks"]["web"]["ipam"]["config"]
    web = document["services"]["web"]
    assert web["environment"]["TRUSTED_PROXY"] == pool["subnet"]
    assert web["deploy"]["replicas"] == 2
    assert not [one for one in DOCKERS_POOLS if ip_network(one).overlaps(ip_network(pool["subnet"]))]
    assert {name for name, one in document["services"].items() if "web" in one["networks"]} == {"nginx", "web"}


def test_nginx_mounts_its_script_and_configuration() -> None:
    nginx: Any = compose()["nginx"]
    mounts = {one["target"]: one for one in nginx["volumes"]}
    assert nginx["entrypoint"] == ["sh", "/etc/segue/nginx.sh"]
    for target, source in (("nginx.sh", "nginx.sh"), ("nginx", "nginx")):
        mount = mounts[f"/etc/segue/{target}"]
        assert (mount["source"], mount["read_only"]) == (str(ROOT / "deploy" / source), True)
    assert nginx["environment"]["TLS_KEY"].startswith("/etc/segue/tls/")
    assert "/etc/segue/tls" in mounts


def test_every_container_has_limits_and_a_health_check() -> None:
    services: Any = compose()
    for name, service in services.items():
        assert int(service["mem_limit"]) > 0, name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert ("healthcheck" in service) == (name != "setup"), name  # setup ends


def test_settings_env_sets_settings_of_every_program(tmp_path: Path) -> None:
    """Docker Compose finds the file beside docker-compose.yml, so the test works on copies."""
    for name in ("docker-compose.yml", "Dockerfile"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "settings.env").write_text("RETENTION_S=60\n")
    command = [str(BIN / "docker-compose"), *PROFILES, "config", "--format", "json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    services = json.loads(done.stdout)["services"]
    for name in ("web", "worker", "housekeeper", "trainer", "setup"):
        assert services[name]["environment"]["RETENTION_S"] == "60"


def test_every_build_takes_the_base_image_and_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_IMAGE", "mirror.example/python:3.11")
    services: Any = compose("compose.gpu.yml")
    builds = {name: service["build"] for name, service in services.items() if "build" in service}
    assert set(builds) == {"web", "worker", "housekeeper", "trainer", "setup"}
    for build in builds.values():
        assert build["args"]["PYTHON_IMAGE"] == "mirror.example/python:3.11"
        assert {"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"} <= set(build["args"])
        assert [secret["source"] for secret in build["secrets"]] == ["ca"]


def test_every_image_can_be_pinned_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/run-in-production.md lists the variables."""
    document = (ROOT / "docs" / "run-in-production.md").read_text()
    pinned = {}
    for variable, tag in re.findall(r"^([A-Z]+_IMAGE)=(\S+)@sha256:…", document, re.MULTILINE):
        pinned[variable] = f"{tag}@sha256:{'0' * 64}"
    images = {str(service["image"]) for service in compose().values() if "build" not in service}
    assert images == {image.partition("@")[0] for name, image in pinned.items() if name != "PYTHON_IMAGE"}
    for variable, image in pinned.items():
        monkeypatch.setenv(variable, image)
    services: Any = compose()
    pulled = {service["image"] for service in services.values() if "build" not in service}
    bases = {service["build"]["args"]["PYTHON_IMAGE"] for service in services.values() if "build" in service}
    assert pulled | bases == set(pinned.values())


def test_the_build_context_contains_what_the_dockerfile_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(copied) > 5
    assert {source.partition("/")[0] for source in copied} <= allowed


@pytest.mark.parametrize(
    "name", ["grafana", "housekeeper", "minio", "nginx", "postgres", "prometheus", "redis", "setup", "web", "worker"]
)
def test_every_container_is_hardened(name: str) -> None:
    service: Any = compose()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["pids_limit"] > 0
    assert "privileged" not in service
    if "build" not in service:
        assert re.search(r":[^:/]*\d[^:/]*\.[^:/]*\d|:RELEASE\.", service["image"]), "an exact tag"
    assert name == "minio" or "build" in service or service["user"] not in ("0", "root")


def test_each_server_is_reachable_only_by_its_clients() -> None:
    services: Any = compose()
    assert all(services.values()), "compose has services"
    networks = {name: set(service["networks"]) for name, service in services.items()}
    for server in ("redis", "postgres", "minio"):
        assert networks[server] == {server}
    assert networks["worker"] == {"redis", "minio", "metrics"}
    assert networks["grafana"] == {"monitoring"}
    assert networks["prometheus"] == {"monitoring", "metrics"}
    assert {name for name, joined in networks.items() if "front" in joined} == {"nginx"}
    declared = compose_document()["networks"]
    assert {name for name, one in declared.items() if not one.get("internal")} == {"front", "monitoring"}


def test_prometheus_finds_every_program() -> None:
    services: Any = compose()
    [job] = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    [found] = job["dns_sd_configs"]
    assert found["names"] == ["web", "worker", "housekeeper", "trainer"]
    for name in found["names"]:
        assert services[name]["environment"]["METRICS_PORT"] == str(found["port"])
        assert "metrics" in services[name]["networks"]


def test_monitoring_and_training_are_optional() -> None:
    profiles = {name: one["profiles"] for name, one in compose().items() if one.get("profiles")}
    assert profiles == {"prometheus": ["monitoring"], "grafana": ["monitoring"], "trainer": ["training"]}


def test_monitoring_mounts_files_that_exist() -> None:
    services: Any = compose()
    for name in ("prometheus", "grafana"):
        mounts = [one for one in services[name]["volumes"] if one["type"] == "bind"]
        assert mounts
        assert all(Path(one["source"]).is_dir() and one["read_only"] for one in mounts)
    grafana = {one["target"] for one in services["grafana"]["volumes"]}
    provider = yaml.safe_load((ROOT / "deploy" / "grafana" / "provisioning" / "dashboards" / "segue.yml").read_text())
    assert {one["options"]["path"] for one in provider["providers"]} <= grafana


def test_redis_in_compose_keeps_the_queue() -> None:
    command = str(compose()["redis"]["command"])
    assert "'--maxmemory', '1gb'" in command
    script = (ROOT / "deploy" / "redis.sh").read_text()
    for option in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "listpack-value 1024"):
        words = [word for word in re.split(r"[\s-]+", option) if word]
        assert all(word in command for word in words), option
        assert option in re.sub(r"\s+", " ", script.replace("\\", "").replace("hash-max-", "hash-max-")), option


def test_the_supervisor_restarts_every_process(tmp_path: Path) -> None:
    text = RUN["supervisor_config"](tmp_path, {"worker": 3, "trainer": 2}, own={})
    assert text.count("autorestart=true") == len(RUN["procfile"]())
    for name, count in (("worker", 3), ("trainer", 2)):
        assert f"numprocs={count}" in text.partition(f"[program:{name}]")[2].partition("[program:")[0]


def test_without_trainers_the_supervisor_starts_none(tmp_path: Path) -> None:
    text = RUN["supervisor_config"](tmp_path, {"worker": 1, "trainer": 0}, own={})
    assert "[program:worker]" in text
    assert "[program:trainer]" not in text


def test_the_supervisor_stops_the_programs_together_and_the_servers_last(tmp_path: Path) -> None:
    config = configparser.RawConfigParser()
    config.read_string(RUN["supervisor_config"](tmp_path, {"worker": 1, "trainer": 1}, own={}))
    groups = [config[name] for name in config.sections() if name.startswith("group:")]
    first_stopped, last_stopped = sorted(groups, key=lambda group: -int(group["priority"]))
    assert set(last_stopped["programs"].split(",")) == {"redis", "s3"}
    assert set(first_stopped["programs"].split(",")) == set(RUN["procfile"]()) - {"redis", "s3"}


def test_the_environment_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1234")
    first, second = RUN["environment"](tmp_path), RUN["environment"](tmp_path)
    assert first == second
    assert first["PORT"] == "1234"


def test_every_role_keeps_its_secrets_for_the_next_run(tmp_path: Path) -> None:
    first, second = (RUN["own_variables"](tmp_path, {"REDIS_PORT": "1"}) for _ in range(2))
    assert first == second
    keys = {Path(first[role]["S3_SECRET_KEY_FILE"]).read_text() for role in Role}
    urls = {Path(first[role]["REDIS_URL_FILE"]).read_text() for role in Role}
    assert len(keys) == len(urls) == len(Role)
    assert all(len(key) >= 32 for key in keys)


def test_an_external_server_gets_the_callers_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_URL", "http://elsewhere")
    monkeypatch.setenv("S3_SECRET_KEY", "the caller's")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    monkeypatch.setenv("SESSION_SECRET", "the caller's too")
    env = RUN["environment"](tmp_path)
    assert (env["S3_SECRET_KEY"], env["REDIS_URL"]) == ("the caller's", "redis://elsewhere")
    assert not any(RUN["own_variables"](tmp_path, env).values())


def test_credentials_without_an_external_server_are_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("S3_SECRET_KEY", "for something else")
    monkeypatch.setenv("REDIS_URL_FILE", "/for/something/else")
    assert not {"S3_SECRET_KEY", "REDIS_URL_FILE"} & set(RUN["environment"](tmp_path))


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_the_lock_files_pin_by_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        pins = re.findall(r"^[a-z0-9][^ ]*==", text, re.MULTILINE)
        blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
        assert len(pins) == len(blocks) > 0
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text

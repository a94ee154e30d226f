"""The two cluster files: valid for Ray, closed to the world, true to the repository."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.cluster import SUBMIT
from tests.source_rules import repo_files

REPO = Path(__file__).resolve().parents[2]
FILES = ("cluster.yaml", "cluster.local.yaml")
AWS = "cluster.yaml"
WORLD = ("0.0.0.0/0", "::/0", "0.0.0.0")


def read(name: str) -> str:
    return (REPO / name).read_text("utf-8")


def load(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(read(name))
    return config


def starts(config: dict[str, Any]) -> list[str]:
    """Return the commands that start a node, the head's first."""
    commands = config["head_start_ray_commands"] + config["worker_start_ray_commands"]
    return [command for command in commands if "ray start" in command]


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what Ray notes about clusters out of this machine's."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))


# --- both


@pytest.mark.parametrize("name", FILES)
def test_ray_takes_it(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = prepare_config(load(name))
    for kind in config["available_node_types"].values():
        kind.setdefault("resources", {})  # on AWS Ray asks for it, see below
    validate_config(config)
    with pytest.raises(Exception, match="spot_price"):
        validate_config(config | {"spot_price": 1})


@pytest.mark.parametrize("name", FILES)
def test_every_node_demands_the_token(name: str) -> None:
    config = load(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert len(starts(config)) == 2
    for command in starts(config):
        before, _ = command.split("ray start")
        assert re.search(r"export .*\bRAY_AUTH_MODE=token\b", before)


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_told_and_nothing_shown(name: str) -> None:
    config = load(name)
    for command in starts(config):
        before, _ = command.split("ray start")
        assert re.search(r"export .*\bRAY_USAGE_STATS_ENABLED=0\b", before)
        assert "unset OMP_NUM_THREADS;" in before
        assert not any(address in command for address in WORLD)
    assert "--include-dashboard=false" in starts(config)[0]


@pytest.mark.parametrize("name", FILES)
def test_it_copies_what_the_project_is_installed_from(name: str) -> None:
    mounts = {there: here for there, here in load(name)["file_mounts"].items() if here[0] != "~"}
    for there, here in mounts.items():
        assert there == f"~/seed-search/{here}"
        assert (REPO / here).exists()
        assert not (REPO / here / ".venv").exists(), "Ray would read 6 GB before it starts"
    project = tomllib.loads(read("pyproject.toml"))
    packages = project["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {pattern.rstrip("*") for pattern in packages}
    files = {project["project"]["readme"], *project["project"]["license-files"]}
    others = {"pyproject.toml", "requirements.lock", "spaces"}
    assert folders | files | others == set(mounts.values())


@pytest.mark.parametrize("name", FILES)
def test_nothing_of_the_project_or_of_results_is_left_out(name: str) -> None:
    parts = {part for path in repo_files() for part in path.relative_to(REPO).parts}
    assert {"data", "search"} <= parts
    # As in ARCHITECTURE.md, "Results folder": `ray rsync-down` leaves the same names out.
    parts |= {"study", "confirm", "best", "test", "report", "export", "results"}
    excluded = load(name)["rsync_exclude"]
    assert excluded
    assert not [part for part in parts for pattern in excluded if fnmatch(part, pattern)]


@pytest.mark.parametrize("name", FILES)
def test_every_node_gets_the_tested_versions(name: str) -> None:
    commands = load(name)["setup_commands"]
    (version,) = re.findall(r"--python (3\.\d+) ", "".join(commands))
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lowest = re.search(r">=3\.(\d+)", project["requires-python"])
    assert lowest is not None
    assert int(version.split(".")[1]) >= int(lowest[1])
    (install,) = [command for command in commands if "uv pip install" in command]
    pinned = "-c requirements.lock -b requirements.lock -e ."
    assert pinned in install.replace('".', ".")
    assert pinned in read("Makefile").replace('".', "."), "as make setup does"
    for extra in re.findall(r"\.\[(\w+)\]", install):
        assert extra in project["optional-dependencies"]


def test_the_two_set_nodes_up_alike() -> None:
    aws, local = load(AWS), load("cluster.local.yaml")
    plain = [command.replace('".[aws]"', ".") for command in aws["setup_commands"]]
    assert plain == local["setup_commands"]
    assert aws["file_mounts"] == local["file_mounts"]
    assert aws["rsync_exclude"] == local["rsync_exclude"]
    assert aws["worker_start_ray_commands"] == local["worker_start_ray_commands"]


@pytest.mark.parametrize("name", FILES)
def test_what_is_the_users_is_marked(name: str) -> None:
    lines = read(name).splitlines()
    made_up = [line for line in lines if re.search("0123456789|192.0.2|~/.ssh", line)]
    assert len(made_up) >= 3
    assert all("# change" in line for line in made_up)


def test_studies_are_submitted_as_the_readme_says() -> None:
    command = r"-m search\.run .* --address auto"
    command = SUBMIT.format(command=command, log=r"run\.log", environment="")
    assert re.search(f'ray exec cluster.local.yaml "{command}"', read("README.md"))


# --- AWS


def test_the_head_runs_no_trials_and_workers_come_and_go() -> None:
    config = load(AWS)
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"] == {"CPU": 0}
    workers = [kind for name, kind in kinds.items() if name != config["head_node_type"]]
    assert len(workers) == 2
    for kind in workers:
        assert kind["min_workers"] == 0 < kind["max_workers"] <= config["max_workers"]
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["idle_timeout_minutes"] <= 10
    assert config["provider"]["cache_stopped_nodes"] is False


def test_no_rule_is_open_to_the_world() -> None:
    config = load(AWS)
    assert not any(address in read(AWS) for address in WORLD)
    assert "security_group" not in config["provider"], "Ray adds its own open rule to one of these"
    for kind in config["available_node_types"].values():
        assert kind["node_config"]["SecurityGroupIds"]
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"


def test_the_head_may_end_no_machines_but_its_own() -> None:
    words = "".join(line.lstrip("# ") for line in read(AWS).splitlines() if line[:1] == "#")
    policy, _ = json.JSONDecoder().raw_decode(words[words.index('{"Version"') :])
    for statement in policy["Statement"]:
        actions = statement["Action"]
        assert "*" not in "".join([actions] if isinstance(actions, str) else actions)
        if actions == "ec2:TerminateInstances":
            owner = statement["Condition"]["StringEquals"]["ec2:ResourceTag/ray-cluster-name"]
            assert owner == load(AWS)["cluster_name"]
        else:
            assert "ec2:TerminateInstances" not in actions


@pytest.fixture(scope="module")
def aws() -> Iterator[Any]:
    """Serve an AWS on 127.0.0.1, that all of boto3 and Ray talk to; return its EC2."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }
    before = dict(os.environ)
    os.environ.update(variables)
    yield boto3.resource("ec2", region_name=load(AWS)["provider"]["region"])
    os.environ.clear()
    os.environ.update(before)
    server.stop()


@pytest.fixture(scope="module")
def own(aws: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make what the file asks its user to make, and return the file with it in place."""
    import boto3

    config = load(AWS)
    image = aws.register_image(Name="ubuntu-24.04").id
    key = aws.create_key_pair(KeyName="mine")
    path = tmp_path_factory.mktemp("key") / "mine.pem"
    path.write_text(key.key_material)
    group = aws.create_security_group(GroupName="seed-search", Description="Seed Search")
    iam = boto3.client("iam", region_name="us-east-1")
    profile = iam.create_instance_profile(InstanceProfileName="seed-search-head")
    config["auth"]["ssh_private_key"] = str(path)
    for kind in config["available_node_types"].values():
        kind["node_config"] |= {"ImageId": image, "KeyName": "mine", "SecurityGroupIds": [group.id]}
        if "IamInstanceProfile" in kind["node_config"]:
            kind["node_config"]["IamInstanceProfile"] = {"Arn": profile["InstanceProfile"]["Arn"]}
    return config


def bootstrap(config: dict[str, Any]) -> dict[str, Any]:
    """Do what `ray up` does before it starts a machine."""
    from ray.autoscaler._private.commands import _bootstrap_config

    return dict(_bootstrap_config(copy.deepcopy(config), no_config_cache=True))


@pytest.fixture(scope="module")
def ready(own: dict[str, Any]) -> dict[str, Any]:
    return bootstrap(own)


def open_rules(ec2: Any) -> list[str]:
    """Return the names of the groups that let the whole world in."""
    groups = ec2.security_groups.all()
    rules = [(group.group_name, rule) for group in groups for rule in group.ip_permissions]
    ranges = [(name, each["CidrIp"]) for name, rule in rules for each in rule["IpRanges"]]
    return [name for name, address in ranges if address in WORLD]


def test_ray_up_makes_nothing_of_its_own_on_aws(aws: Any, ready: dict[str, Any]) -> None:
    import boto3

    assert [group.group_name for group in aws.security_groups.all()].count("seed-search") == 1
    assert len(list(aws.security_groups.all())) == 2, "the account's default one, and ours"
    assert open_rules(aws) == []
    assert boto3.client("iam", region_name="us-east-1").list_roles()["Roles"] == []
    kinds = ready["available_node_types"]
    assert kinds["head"]["resources"] == {"CPU": 0}
    assert kinds["cpu_worker"]["resources"]["CPU"] == 8
    assert kinds["gpu_worker"]["resources"]["GPU"] == 1


def test_aws_starts_every_kind_of_machine(aws: Any, ready: dict[str, Any]) -> None:
    from ray.autoscaler._private.providers import _get_node_provider

    provider = _get_node_provider(ready["provider"], ready["cluster_name"])
    for name, kind in ready["available_node_types"].items():
        provider.create_node(kind["node_config"], {"ray-user-node-type": name}, 1)
    machines = list(aws.instances.all())
    assert {machine.instance_type for machine in machines} == {
        kind["node_config"]["InstanceType"] for kind in load(AWS)["available_node_types"].values()
    }
    for machine in machines:
        assert {"Key": "ray-cluster-name", "Value": "seed-search"} in machine.tags
        assert [group["GroupName"] for group in machine.security_groups] == ["seed-search"]
        is_head = {"Key": "ray-user-node-type", "Value": "head"} in machine.tags
        assert bool(machine.iam_instance_profile) is is_head
        assert (machine.instance_lifecycle == "spot") is not is_head


def test_ray_left_alone_lets_the_world_try_ssh(aws: Any, own: dict[str, Any]) -> None:
    """Last of all: why the file names a group, and that the tests above would see it."""
    config = copy.deepcopy(own)
    for kind in config["available_node_types"].values():
        del kind["node_config"]["SecurityGroupIds"]
    bootstrap(config)
    assert open_rules(aws) == ["ray-autoscaler-seed-search"]

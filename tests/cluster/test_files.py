"""The files beside docs/cluster.md, as far as they can be checked without a cloud."""

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "cluster"
yaml = pytest.importorskip("yaml")


def commands(text: str) -> list[str]:
    """Calls of hyperstem, their lines joined."""
    return [line[line.index("hyperstem separate") :] for line in text.splitlines() if "hyperstem separate" in line]


def test_rays_launcher_takes_the_cluster_file():
    util = pytest.importorskip("ray.autoscaler._private.util")
    config = util.prepare_config(yaml.safe_load((FOLDER / "aws.yaml").read_text()))
    util.validate_config(config)
    assert config["available_node_types"]["head"]["resources"]["CPU"] == 0
    broken = config | {"provider": {}}
    with pytest.raises(Exception, match="type"):
        util.validate_config(broken)


def test_the_job_for_kubernetes_has_a_cluster_and_a_command():
    job = yaml.safe_load((FOLDER / "kuberay.yaml").read_text())
    groups = job["spec"]["rayClusterSpec"]
    for group in (groups["headGroupSpec"], *groups["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        assert container["image"] == "IMAGE"
        assert container["envFrom"] == [{"secretRef": {"name": "store"}}]
    assert all(isinstance(value, str) for value in groups["headGroupSpec"]["rayStartParams"].values())


def test_the_script_for_slurm_is_one():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)


@pytest.mark.parametrize("name", ["kuberay.yaml", "slurm.sh"])
def test_their_commands_parse(name):
    import shlex

    from hyperstem.cli import build_parser

    found = [line for line in commands((FOLDER / name).read_text()) if "SOURCES" not in line]
    assert found
    for line in found:
        args = build_parser("separate").parse_args(shlex.split(line)[1:])
        assert args.ray

"""What a launch line asks for: what is not there is refused in a sentence, and the script for Slurm queues again."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from diffalign.errors import ConfigError
from diffalign.training.loop import train
from diffalign.training.stop import TRY_AGAIN
from tests.training.toy import ToyPolicy, toy_pairs, toy_recipe

SCRIPT = Path(__file__).parents[3] / "configs" / "launch" / "slurm.sh"
STUBS = {
    "scontrol": 'echo "scontrol $@" >> "$CALLS"; if [ "$1" = show ]; then echo node-1; echo node-2; fi',
    "srun": 'export SLURM_PROCID=3 SLURM_NTASKS=16 SLURM_LOCALID=3 SLURM_NTASKS_PER_NODE=8; exec "$@"',
    "python": 'echo "python $@ rank $RANK of $WORLD_SIZE at $MASTER_ADDR" >> "$CALLS"; exit "$STATUS_OF_RUN"',
}


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_a_launch_that_splits_the_network_is_refused_before_anything_is_written(tmp_path, monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ConfigError, match=f"asks for {name}.*each process holds the whole network"):
        train(toy_recipe(tmp_path / "run"), policy=ToyPolicy(), pairs=toy_pairs())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("status", [0, 2, TRY_AGAIN])
@pytest.mark.parametrize("begun", [False, True])
def test_the_script_resumes_what_has_begun_and_queues_again_what_lost_its_machine(tmp_path, status, begun):
    for name, text in STUBS.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IEXEC)
    output, calls = tmp_path / "my run", tmp_path / "calls"
    if begun:
        output.mkdir()
        (output / "run.json").write_text("{}")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    environment |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node-[1-2]", "STATUS_OF_RUN": str(status)}
    done = subprocess.run(["bash", str(SCRIPT), "recipe.yaml", str(output)], env=environment, check=False)
    said = calls.read_text()
    resumed = " --resume" if begun else ""
    assert f"train recipe.yaml --set output={output}{resumed} rank 3 of 16 at node-1" in said
    assert done.returncode == status and ("scontrol requeue 7" in said) == (status == TRY_AGAIN)

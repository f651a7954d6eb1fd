"""Where the peers live: a Python environment of their own, and our examples."""

import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = ROOT / "target/peers"
PYTHON = ENVIRONMENT / "bin/python"
OURS = ROOT / "target/release/examples"


def prepare(example):
    """Installs what is missing and builds one of our examples."""
    if not PYTHON.exists():
        print("installing PyTorch, transformers and TRL into target/peers (some gigabytes) ...", file=sys.stderr)
        venv.create(ENVIRONMENT, with_pip=True)
    requirements = HERE / "requirements.txt"
    subprocess.run([PYTHON, "-m", "pip", "install", "-q", "-r", requirements], check=True)
    # The whole workspace, so that nothing is built with other features than the program's.
    subprocess.run(["cargo", "build", "--release", "--workspace", "--example", example], cwd=ROOT, check=True)

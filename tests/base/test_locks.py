"""Locks end with the process that has them."""

import subprocess
import sys
from pathlib import Path

from colbert_lab.base.locks import one_maker


def test_one_maker_at_a_time(tmp_path: Path) -> None:
    """Processes that find a cache missing at once: one makes it, the others wait and find it; also after a kill."""
    code = (
        "import sys, time; from pathlib import Path; from colbert_lab.base.locks import one_maker\n"
        f"path = Path({str(tmp_path)!r}) / 'deep' / 'cache'\n"
        "with one_maker(path):\n"
        "    if not path.exists():\n"
        "        print('making', flush=True); time.sleep(float(sys.argv[1])); path.write_text('made')\n"
    )

    def start(seconds: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", code, seconds], stdout=subprocess.PIPE, text=True)

    killed = start("60")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "making\n"
    others = [start("0.3") for _ in range(4)]
    killed.kill()
    killed.communicate()
    assert sorted(each.communicate()[0] for each in others) == ["", "", "", "making\n"]
    assert (tmp_path / "deep" / "cache").read_text() == "made"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["cache"]


def test_a_folder_that_cannot_be_written_keeps_nobody_waiting() -> None:
    with one_maker(Path("/dev/null/cache")):
        pass

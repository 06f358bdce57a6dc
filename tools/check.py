"""Every check of the project, one after the other; the last line counts them. `.ci/run` sets up `.venv` and runs this."""
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from filecmp import dircmp
from hashlib import sha256
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.test import test_nb

BROWSERS = "chromium", "chromium-browser", "google-chrome"
TESTED = Path(".tested")  # one empty file for each notebook that passed, named after what it passed with
count = Counter()


def say(what: str, ok: bool, start: float) -> None:
    "Count a check and say how it went."
    count["passed" if ok else "failed"] += 1
    print(f"{'ok  ' if ok else 'FAIL'} {what} ({time.monotonic() - start:.0f} s)", flush=True)


def step(what: str, *commands: str) -> bool:  # whether every command succeeded
    "Run commands; what they print is shown where one fails."
    start = time.monotonic()
    for command in commands:
        run = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
        if run.returncode: print(f"$ {command}\n{run.stdout}")
        if run.returncode: break
    say(what, not run.returncode, start)
    return not run.returncode


def changes(old: dircmp) -> list[str]:  # the files that differ
    "Compare two folders and what is in them."
    here = [str(Path(old.right) / name) for name in old.left_only + old.right_only + old.diff_files]
    return here + [name for folder in old.subdirs.values() for name in changes(folder)]


def unchanged(what: str, folder: str, command: str) -> None:
    "Run a command that must not change a file of the folder."
    start = time.monotonic()
    with TemporaryDirectory() as before:
        shutil.copytree(folder, before, dirs_exist_ok=True, symlinks=True)
        run = subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
        changed = changes(dircmp(before, folder, ignore=["__pycache__", ".ipynb_checkpoints"]))
        if run.returncode: print(f"$ {command}\n{run.stdout}")
        for name in changed: subprocess.run(["diff", "--unified", Path(before) / Path(name).relative_to(folder), name])
    say(f"{what}{': ' + command + ' changed ' + ', '.join(changed) if changed else ''}", not run.returncode and not changed, start)


def fingerprint(*things: bytes) -> str:  # 40 hexadecimal digits
    "One name for a state of things."
    return sha256(b"\0".join(things)).hexdigest()[:40]


def notebooks() -> None:
    "Run each notebook as nbdev_test does, two at a time; skip one that passed with the same text, library and packages."
    library = [path.read_bytes() for path in sorted(Path("faceshifter").rglob("*")) if path.is_file() and path.suffix != ".pyc"]
    packages = " ".join(sorted(f"{package.name}=={package.version}" for package in distributions())).encode()
    stamps = {path: TESTED / fingerprint(path.read_bytes(), packages, *library) for path in sorted(nbglob(as_path=True))}
    todo = [path for path, stamp in stamps.items() if not stamp.exists()]
    count["skipped"] += len(stamps) - len(todo)
    TESTED.mkdir(exist_ok=True)
    cfg = get_config()
    with ProcessPoolExecutor(2) as pool:
        jobs = {pool.submit(test_nb, path.absolute(), skip_flags=cfg.tst_flags.split(), basepath=cfg.config_path): path for path in todo}
        for job in as_completed(jobs):
            path = jobs[job]
            ok, seconds = (False, 0) if job.exception() else job.result()
            if job.exception(): print(f"{path}: {job.exception()!r}")
            if ok: stamps[path].touch()
            say(f"{path.relative_to(cfg.nbs_path)}", ok, time.monotonic() - seconds)


def browser() -> None:
    "Install Chromium from Debian's packages where there is no browser."
    if any(map(shutil.which, BROWSERS)): return
    root = "" if os.geteuid() == 0 else "sudo "
    step("Chromium is installed", f"{root}apt-get update", f"{root}apt-get install --yes --no-install-recommends chromium fonts-liberation")


if __name__ == "__main__":
    # Two notebooks run side by side, so each gets one thread.
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "agg", "DEBIAN_FRONTEND": "noninteractive"}
    step("ruff: lint and import order", "ruff check faceshifter tools")
    unchanged("the library is what the notebooks export", "faceshifter", "nbdev_export")
    unchanged("the notebooks are clean", "nbs", "nbdev_clean")
    step("README.md is what nbs/index.ipynb gives", "python tools/docs.py check-readme")
    step("no output names a folder of this machine", "! grep --recursive --include='*.ipynb' site-packages nbs")
    notebooks()
    step("the site builds", "python tools/docs.py site")
    browser()
    step("the site in Chromium: links, equations, search, sidebar, phone width", "python tools/check_docs.py")
    step("the page of `faceshifter serve` in Chromium: upload, swap, bad files, two people at once, keyboard, phone", "python tools/check_demo.py")
    print(f"{count['passed']} passed, {count['failed']} failed" + (f", {count['skipped']} skipped" if count["skipped"] else ""))
    sys.exit(bool(count["failed"]))

"What pip needs to know; every value is read from settings.ini, the one place where they are written."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

parser = ConfigParser(delimiters=["="])
parser.read("settings.ini", encoding="utf-8")
config = parser["DEFAULT"]


def requirements(key: str) -> list[str]: return config.get(key, "").split()


extras = {name: requirements(f"{name}_requirements") for name in ("dev", "docs", "demo", "video", "offline") if config.get(f"{name}_requirements")}

setup(
    name=config["lib_name"],
    version=config["version"],
    description=config["description"],
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    author=config["author"],
    author_email=config["author_email"],
    license="Apache-2.0",
    url=config["git_url"],
    keywords=config["keywords"],
    packages=find_packages(include=["faceshifter", "faceshifter.*"]),
    include_package_data=True,
    python_requires=f">={config['min_python']}",
    install_requires=requirements("requirements"),
    extras_require=extras,
    entry_points={"console_scripts": config.get("console_scripts", "").split(), "nbdev": [f"{config['lib_path']}={config['lib_path']}._modidx:d"]},
    zip_safe=False,
)
